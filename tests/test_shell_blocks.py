"""What a page tells a reader to type works: its blocks are run, its flags exist, its presets too.

A block of shell or Python is run as it stands, one after another in one folder for each page, unless the
line before it says why not (`<!-- not run: needs a GPU -->`) or where it is (`<!-- run by PATH -->`).
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from shared_core.config.presets import offered
from shared_core.testing.commands import help_page

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
PROGRAMS = {folder.name: folder.name.replace("-", "_") for folder in PACKAGES}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "shared_core" / "README.md",
    *(folder / "README.md" for folder in PACKAGES),
    *sorted(ROOT.glob("docs/*.md")),
]
REASONS = (
    r"needs [\w' -]*data sets?( of [\w ]+)?",
    r"needs the authors' files",
    r"needs (a GPU|[\w ]*GPUs)",
    r"needs the (network|hub)",
    r"needs several machines",
    r"takes (hours|minutes)",
)
"""Why a block may not be run; more words may follow behind a comma."""

SECONDS = 900
"""After which a block is said to hang."""

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>sh|bash|python)\n(?P<text>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        page: where it stands.
        line: of its fence, from 1.
        kind: `sh` or `python`.
        text: what is typed.
        mark: what the comment before it says; none: it is run here.
    """

    page: Path
    line: int
    kind: str
    text: str
    mark: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return tuple(
        Block(
            page=page,
            line=text.count("\n", 0, found.start("kind")) + 1,
            kind="python" if found["kind"] == "python" else "sh",
            text=found["text"],
            mark=found["mark"],
        )
        for found in _FENCE.finditer(text)
    )


def commands(block: Block) -> Iterator[list[str]]:
    """Words of every command of a shell block."""
    if block.kind == "python":
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in (*lexer, ";"):
            if word not in ("&&", "||", "|", "&", ";"):
                words.append(word)
            elif words:
                yield words
                words = []


def calls(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Every call of a program of a package: the program, and its arguments."""
    for words in commands(block):
        if "-m" in words and words[0] == "accelerate":
            after = words[words.index("-m") + 1 :]
            yield after[0].replace("_", "-"), after[1:]
        found = [word for word in words if word in PROGRAMS]
        if found:
            program, *rest = words[words.index(found[0]) :]
            yield program, rest


def verb_of(program: str, arguments: list[str]) -> str:
    """The longest verb that the arguments begin with; of the program alone none."""
    cli = importlib.import_module(f"{PROGRAMS[program]}.cli")
    names = [*(verb.name for verb in cli.VERBS), "supervise", "doctor"]
    fitting = [name for name in names if arguments[: len(name.split())] == name.split()]
    return max(fitting, key=len, default="")


@cache
def flags(program: str, verb: str) -> frozenset[str]:
    """Every flag in the help of a verb, and in that of each network that can follow it."""
    main = importlib.import_module(f"{PROGRAMS[program]}.cli").main
    text = help_page(main, *verb.split())
    for choice in sorted(set(re.findall(r"\b\w+:[a-z-]+(?=[,}])", text))):
        text += help_page(main, *verb.split(), choice)
    return frozenset(re.findall(r"--[a-z][\w.-]*", text))


@cache
def all_flags(program: str) -> frozenset[str]:
    """The flags of all verbs of a program."""
    cli = importlib.import_module(f"{PROGRAMS[program]}.cli")
    names = ["", *(verb.name for verb in cli.VERBS), "supervise", "doctor"]
    return frozenset().union(*(flags(program, name) for name in names))


def by_name(value: Path) -> str:
    return str(value.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=by_name)
every_package = pytest.mark.parametrize("folder", PACKAGES, ids=by_name)


@every_page
def test_a_block_that_is_not_run_says_why_or_where(page):
    """Only by the reasons that no test can mend; a test that is named exists and has the command."""
    for block in blocks(page):
        if block.mark is None:
            continue
        way, _, what = block.mark.partition(": " if ":" in block.mark else " by ")
        if way == "not run":
            assert any(re.match(rf"{reason}(,|$)", what) for reason in REASONS), f"{block}: {what}"
            continue
        assert way == "run", f"{block}: {block.mark}"
        assert (ROOT / what).is_file(), f"{block}: no {what}"
        held = (ROOT / what).read_text(encoding="utf-8").replace("_", "-")
        for word in telling_words(block):
            assert word in held, f"{block}: {what} has no {word}"


def telling_words(block: Block) -> Iterator[str]:
    """What tells that a file runs a block: verbs and flags, or the names in its Python."""
    if block.kind == "python":
        yield from (name.replace("_", "-") for name in re.findall(r"\w{4,}", block.text))
    for words in commands(block):
        if words[0] in PROGRAMS:
            verb, named = verb_of(words[0], words[1:]), [w for w in words if w.startswith("--")]
            yield from (*verb.split(), *(word.strip("-") for word in named))
        elif "-m" in words:
            yield words[words.index("-m") + 1].rpartition(".")[2].replace("_", "-")
        else:
            yield from (Path(word).name for word in words[1:3])


@every_page
def test_every_fence_of_code_is_read(page):
    """None is indented, misspelt or left open, so that it would escape."""
    fences = re.findall(
        r"^\s*```[ \t]*(?:sh|bash|shell|console|python|py)\b", page.read_text(), re.M
    )
    assert len(fences) == len(blocks(page))


@every_package
def test_a_page_of_a_package_can_be_copied_from_nothing_to_a_prediction(folder):
    """Blocks that are run train, resume, evaluate and predict."""
    run = [call for b in blocks(folder / "README.md") if b.mark is None for call in calls(b)]
    verbs = {verb_of(*call) for call in run}
    assert {"train", "evaluate", "predict"} <= verbs
    assert any("--resume" in arguments for _, arguments in run)


@every_page
def test_every_flag_of_a_command_is_one_of_its_verb(page):
    for block in blocks(page):
        for program, arguments in calls(block):
            before, _, started = " ".join(arguments).partition(" -- ")
            for line in filter(None, (before, started)):
                verb = verb_of(program, line.split())
                used = {flag.partition("=")[0] for flag in re.findall(r"--[a-z][\w.=-]*", line)}
                unknown = {flag.replace("_", "-") for flag in used} - flags(program, verb)
                assert not unknown, f"{block}: {program} {verb} has no {unknown}"


@every_page
def test_every_preset_of_a_command_is_shipped(page):
    for block in blocks(page):
        for program, arguments in calls(block):
            for name in re.findall(r"--config (\S+)", " ".join(arguments)):
                if name.endswith(".yaml"):
                    continue
                verb = verb_of(
                    program,
                    arguments[arguments.index("--") + 1 :] if "--" in arguments else arguments,
                )
                cli = importlib.import_module(f"{PROGRAMS[program]}.cli")
                (config,) = (v.config for v in cli.VERBS if v.name == verb)
                module, _, cls = config.partition(":")
                shipped = offered(getattr(importlib.import_module(module), cls), PROGRAMS[program])
                assert name in shipped, f"{block}: {program} {verb} has no preset {name}"


@every_package
def test_every_flag_that_a_page_names_is_one_of_the_program(folder):
    """In the text and in the tables, but for the columns of what the authors' programs have."""
    text = re.sub(r"```.*?```", "", (folder / "README.md").read_text(), flags=re.DOTALL)
    theirs, named = False, []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            theirs = False
        elif cells[0].strip("| ") in ("theirs", "the authors' code"):
            theirs = True
        spans = re.findall(r"`([^`]+)`", " ".join(cells[1:] if theirs else cells))
        named += [flag for span in spans for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", span)]
    foreign = {"--config-file", "--num-processes", "--machine-rank", "--multi-gpu"}
    unknown = set(named) - all_flags(folder.name) - foreign
    assert not unknown, sorted(unknown)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 4)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.mark is None for b in blocks(page))], ids=by_name
)
def test_every_block_of_a_page_runs_as_printed(page, tmp_path):
    """In order, in one folder that is empty at first, and with nothing from a network."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for block in blocks(page):
        if block.mark is None:
            shell = ["bash", "-euo", "pipefail", "-c", block.text]
            words = shell if block.kind == "sh" else [sys.executable, "-c", block.text]
            status, told = run(words, tmp_path, environment)
            assert status == 0, f"{block} ended with {status}\n{block.text}\n{told}"


def run(words: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Status and words of a command; whatever it started ends with it."""
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w+b") as told:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=told, stderr=told, start_new_session=True
        )
        try:
            status = process.wait(SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return status, log.read_text(errors="replace")[-4000:]
