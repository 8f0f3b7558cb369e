"""Every member as its users get it: wheels, installed without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = [
    ROOT / "shared_core",
    *(p.parent for p in sorted(ROOT.glob("packages/*/pyproject.toml"))),
]
PROGRAMS = [folder.name for folder in MEMBERS[1:]]

pytestmark = pytest.mark.slow


def built(folder, out):
    """The wheel of a member, built as `python -m build` would."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return next(out.glob(f"{folder.name.replace('-', '_')}-*.whl"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The wheel of every member, by the member's name."""
    out = tmp_path_factory.mktemp("wheels")
    return {folder.name: built(folder, out) for folder in MEMBERS}


@pytest.mark.parametrize("folder", MEMBERS, ids=lambda folder: folder.name)
def test_a_wheel_holds_all_that_is_not_python_too(folder, wheels):
    """Presets, templates, and the marker that says that the package is typed."""
    (source,) = (path for path in (folder / "src").iterdir() if (path / "__init__.py").is_file())
    wanted = {
        path.relative_to(folder / "src").as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheels[folder.name]) as wheel:
        held = set(wheel.namelist())
    assert f"{source.name}/py.typed" in wanted
    assert wanted <= held


@pytest.mark.parametrize("folder", MEMBERS, ids=lambda folder: folder.name)
def test_a_wheel_names_no_place_of_the_machine_it_was_built_on(folder, wheels):
    with zipfile.ZipFile(wheels[folder.name]) as wheel:
        (metadata,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
        text = wheel.read(metadata).decode()
    assert "file:" not in text
    assert str(ROOT) not in text


@pytest.mark.parametrize("folder", MEMBERS, ids=lambda folder: folder.name)
def test_the_same_sources_give_the_same_bytes(folder, wheels, tmp_path):
    """Another place, another minute: whoever builds a release's commit gets the release's wheel."""
    copy = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__", "*_cache"))
    assert built(copy, tmp_path).read_bytes() == wheels[folder.name].read_bytes()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_package_works_alone_from_its_wheel(program, wheels, tmp_path):
    """In an environment that holds the dependencies, outside the checkout."""
    python = _environment(tmp_path / "env")
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    _run([*install, wheels["shared_core"], wheels[program]], tmp_path)
    command = python.with_name(program)
    place = _run(
        [python, "-c", f"import {program.replace('-', '_')} as m; print(m.__file__)"], tmp_path
    )
    assert place.startswith(str(tmp_path))
    assert "commands:" in _run([command, "--help"], tmp_path)
    version = wheels[program].name.split("-")[1]
    assert _run([command, "--version"], tmp_path).split() == [program, version]
    assert "--config" in _run([command, "train", "--help"], tmp_path)
    assert "demo" in _run([command, "train", "--help"], tmp_path)  # the presets came along


def _environment(folder: Path) -> Path:
    """A new environment that finds this one's dependencies, but none of its checkouts."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    # A .pth file adds folders without reading the .pth files in them, which name the checkouts.
    Path(own, "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return python


def _run(command: list[object], folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    outcome = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, f"{command}\n{outcome.stdout}\n{outcome.stderr}"
    return outcome.stdout.strip()
