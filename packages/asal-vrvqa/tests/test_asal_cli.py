"""The command line: its help pages, and what they import."""

from __future__ import annotations

from pathlib import Path

import pytest

from asal_vrvqa.cli import VERBS, main
from shared_core.testing.commands import assert_help_snapshots, modules_after

NAMES = [verb.name for verb in VERBS]
HEAVY = {"torch", "transformers", "accelerate"}


def test_every_verb_of_the_house_is_there():
    assert {"train", "evaluate", "predict", "convert", "demo"} <= set(NAMES)
    assert {"prepare frames", "prepare viewports", "compare", "landscape"} <= set(NAMES)


def test_help_pages_are_those_that_are_kept():
    assert_help_snapshots(main, NAMES, Path(__file__).parent / "snapshots")


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_imports_nothing_heavy(name):
    """`--help` answers without torch (law 3)."""
    modules = modules_after(["asal_vrvqa", *name.split(), "--help"])
    assert "asal_vrvqa.cli" in modules
    assert not HEAVY & modules


def test_the_package_itself_costs_nothing():
    """`import asal_vrvqa` alone, as every command does."""
    modules = modules_after(["asal_vrvqa", "--version"])
    assert not (HEAVY | {"numpy", "tyro"}) & modules
