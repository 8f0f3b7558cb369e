"""The commands of every page exist, and every file that a page names."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "shared_core" / "README.md"]
PAGES += sorted([*ROOT.glob("packages/*/README.md"), *ROOT.glob("docs/*.md")])
PROGRAMS = {
    path.parent.name: path.parent.name.replace("-", "_")
    for path in ROOT.glob("packages/*/pyproject.toml")
}
HEADINGS = (
    "Install",
    "Quick start",
    "Predict",
    "Try it in the browser",
    "Train on the embedded data",
    "Train on real data",
    "Evaluate",
    "Convert and share",
    "Results",
    "What differs from the authors' code",
    "Limits",
    "Citation",
)
"""Of a package's page, in this order."""

every_package = pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml")),
    ids=lambda p: p.name,
)


def blocks(text):
    return re.findall(r"```(?:sh|bash)\n(.*?)```", text, flags=re.DOTALL)


def commands(text):
    """Words of every command, each line of a block by itself, joined where it ends in a backslash."""
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.partition("#")[0].split("&&"):
                if part.strip():
                    yield shlex.split(part)


def test_the_first_two_blocks_are_the_two_commands():
    """One installs and runs the demo, the other installs and runs the tests; each by itself."""
    start = "python3 -m venv .venv && .venv/bin/pip install hatch && .venv/bin/hatch run"
    assert [block.strip() for block in blocks(TEXT)[:2]] == [f"{start} demo", f"{start} test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists(page):
    """hatch's scripts and environments, the programs' verbs, tools, and folders to install."""
    environments = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    for words in commands(page.read_text()):
        match words:
            case [program, "run", "python", "-m", module, *_] if program.endswith("hatch"):
                assert importlib.util.find_spec(module), words
            case [program, "run", name, *_] if program.endswith("hatch"):
                environment, _, script = name.rpartition(":")
                assert script in environments[environment or "default"]["scripts"], words
            case ["hatch", "-e", environment, "run", program, *rest]:
                assert environment in environments, words
                assert_verb(program, rest)
            case [program, *rest] if program in PROGRAMS:
                assert_verb(program, rest)
            case ["accelerate", "launch", *rest]:
                module = rest[rest.index("-m") + 1]
                assert module in PROGRAMS.values(), words
            case ["pip", "install", *targets]:
                local = [target for target in targets if target.startswith("./")]
                assert all((ROOT / target / "pyproject.toml").is_file() for target in local), words


def assert_verb(program, rest):
    cli = importlib.import_module(f"{PROGRAMS[program]}.cli")
    verbs = [*(verb.name for verb in cli.VERBS), "supervise", "doctor", "--help", "--version"]
    line = " ".join(rest)
    assert any(line == verb or line.startswith(f"{verb} ") for verb in verbs), f"{program} {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_the_tree_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_package_that_exists_is_in_the_table():
    for program in PROGRAMS:
        assert f"(packages/{program}/README.md)" in TEXT


@every_package
def test_a_page_of_a_package_has_the_same_headings_in_the_same_order(folder):
    text = re.sub(r"```.*?```", "", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert tuple(re.findall(r"^## (.*)$", text, flags=re.MULTILINE)) == HEADINGS


@every_package
def test_a_page_of_a_package_begins_with_a_sentence_and_a_picture(folder):
    """The picture is small, and lies beside the page."""
    head = (folder / "README.md").read_text().partition("\n## ")[0]
    (place,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", head)
    assert (folder / place).is_file()
    assert (folder / place).stat().st_size < 120_000
