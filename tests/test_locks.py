"""The locks cover what is declared, on every Python, pin every file by hash, and name no place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from tools import lock
from tools.release import members

ROOT = Path(__file__).resolve().parents[1]
LOCKS = (lock.HOUSE, lock.TOOLS)
PYTHONS = ("3.11.9", "3.12.9", "3.13.2")
LINE = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+))?")


def project(member: str) -> dict:
    return tomllib.loads((members()[member] / "pyproject.toml").read_text())["project"]


def with_extras(member: str, extras: set[str], seen: set[tuple[str, str]]) -> Iterator[Requirement]:
    """What a member needs with these extras; its own kin are followed instead of listed."""
    settings = project(member)
    wanted = [("", settings["dependencies"])]
    wanted += [(extra, settings["optional-dependencies"][extra]) for extra in sorted(extras)]
    for extra, lines in wanted:
        if (member, extra) in seen:
            continue
        seen.add((member, extra))
        for requirement in map(Requirement, lines):
            if requirement.name in members():
                yield from with_extras(requirement.name, requirement.extras, seen)
            else:
                yield requirement


def declared() -> list[Requirement]:
    hatch = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    found = [Requirement(line) for line in hatch["default"]["dependencies"]]
    found += [Requirement(line) for line in hatch["alone"]["dependencies"]]
    for member in members():
        found += with_extras(member, {"all"}, set())
        found += map(Requirement, ["hatchling>=1.27"])  # the build backend of every member
    return found


def versions(path: Path, name: str, python: str) -> list[str]:
    """What the lock installs of a distribution on Linux with that Python."""
    place = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    entries = lock.entries(path.read_text()).get(lock.normalised(name), [])
    lines = [LINE.match(entry) for entry in entries]
    return [
        line["version"]
        for line in lines
        if line["marker"] is None or Marker(line["marker"]).evaluate(place)
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_declared_is_locked_within_its_bounds(python):
    for requirement in declared():
        place = {"python_full_version": python, "sys_platform": "linux"}
        if requirement.marker is None or requirement.marker.evaluate(place):
            (version,) = versions(lock.HOUSE, requirement.name, python)
            assert requirement.specifier.contains(version, prereleases=True), requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_what_runs_before_an_environment_is_locked_too(python):
    for requirement in map(Requirement, lock.BEFORE):
        (version,) = versions(lock.TOOLS, requirement.name, python)
        assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_entry_is_one_version_with_the_hashes_of_its_files(path):
    entries = lock.entries(path.read_text())
    assert len(entries) > 50
    for entry in (entry for same in entries.values() for entry in same):
        first, *rest = [line.strip().removesuffix("\\").strip() for line in entry.splitlines()]
        assert LINE.fullmatch(first), first
        assert rest
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in rest), first


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_index_and_no_place(path):
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^(-|\.|/)", text, re.MULTILINE)  # an option, or a path
    assert not set(members()) & set(lock.entries(text))


def test_a_part_of_a_lock_keeps_hashes_and_every_version_of_a_name():
    text = (
        "# made by uv\n"
        "alpha==1.0 \\\n    --hash=sha256:aa\n"
        "beta-two==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:bb\n"
        "beta-two==2.0 ; python_full_version >= '3.12' \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n"
    )
    locked = lock.entries(text)
    assert list(locked) == ["alpha", "beta-two"]
    assert lock.chosen(locked, ["Beta_Two"]) == text[text.index("beta") :]
    assert lock.entries(lock.chosen(locked, locked)) == locked


def test_what_is_not_locked_is_not_installed():
    with pytest.raises(KeyError, match="gamma"):
        lock.chosen(lock.entries("alpha==1.0 \\\n    --hash=sha256:aa\n"), ["gamma"])
