"""The command line: its help pages, and what they import."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaglimpse.cli import VERBS, main
from shared_core.testing.commands import assert_help_snapshots, modules_after

NAMES = [verb.name for verb in VERBS]
HEAVY = {"torch", "torchrl", "tensordict", "accelerate", "skimage"}


def test_every_verb_of_the_house_is_there():
    assert {"train", "evaluate", "predict", "convert", "demo"} <= set(NAMES)
    assert {"prepare check", "prepare imagenet"} <= set(NAMES)


def test_help_pages_are_those_that_are_kept():
    assert_help_snapshots(main, NAMES, Path(__file__).parent / "snapshots")


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_imports_nothing_heavy(name):
    """`--help` answers without torch (law 3)."""
    modules = modules_after(["adaglimpse", *name.split(), "--help"])
    assert "adaglimpse.cli" in modules
    assert not HEAVY & modules


def test_the_package_itself_costs_nothing():
    """`import adaglimpse` alone, as every command does."""
    modules = modules_after(["adaglimpse", "--version"])
    assert not (HEAVY | {"numpy", "tyro"}) & modules
