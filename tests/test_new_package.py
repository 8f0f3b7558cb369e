"""The scaffold: a package with every room whose own tests are green, registered where it must be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.new_package.__main__ import main
from tools.new_package.register import register

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "config", "data", "model", "method", "learner", "evaluate", "predict", "weights", "synthetic", "plan",
    "cli",
)  # fmt: skip


@pytest.fixture
def package(tmp_path):
    """A package outside the tree."""
    folder = tmp_path / "zoo-contact"
    assert main(["zoo-contact", "--no-register", "--into", str(folder)]) == 0
    return folder


def test_it_has_every_room_and_a_test_for_each(package):
    for room in ROOMS:
        assert (package / "src" / "zoo_contact" / f"{room}.py").is_file()
        assert (package / "tests" / f"test_{room}.py").is_file()
    assert (package / "src" / "zoo_contact" / "py.typed").is_file()
    assert (package / "src" / "zoo_contact" / "presets" / "demo.yaml").is_file()
    assert len((package / "README.md").read_text()) > 1000


def test_it_is_clean_before_anybody_touches_it(package):
    source = str(package / "src")
    settings = ["--config", str(ROOT / "pyproject.toml"), source]
    for tool in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *tool, *settings]
        outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_own_tests_are_green(package):
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(package), "-p", "no:cacheprovider", str(package / "tests")]
    variables = {**os.environ, "PYTHONPATH": str(package / "src"), "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        command, cwd=package, env=variables, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout[-4000:]
    assert " passed" in outcome.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_types_are_clean(package):
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    command += [str(package / "src")]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


def test_registering_adds_it_to_every_list_once(tmp_path):
    places = ["pyproject.toml", "hatch.toml", ".github/workflows/ci.yml"]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    register("zoo-contact", tmp_path)
    settings, environments, matrix = ((tmp_path / place).read_text() for place in places)
    assert settings.count('"zoo_contact"') == 5
    assert settings.count('"packages/zoo-contact/src"') == 1
    assert environments.count("[envs.zoo-contact]") == 1
    assert ", zoo-contact]" in matrix


def test_a_list_that_moved_is_said_and_nothing_is_written(tmp_path):
    for place in ("pyproject.toml", "hatch.toml", ".github/workflows/ci.yml"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("nothing\n")
    with pytest.raises(ValueError, match="files"):
        register("zoo-contact", tmp_path)
    assert (tmp_path / "hatch.toml").read_text() == "nothing\n"


@pytest.mark.parametrize("name", ["Zoo", "zoo_contact", "zoo-", "zoo/../x"])
def test_a_name_that_cannot_be_is_refused(name, tmp_path, capsys):
    assert main([name, "--no-register", "--into", str(tmp_path / "x")]) == 2
    assert "a-z" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
