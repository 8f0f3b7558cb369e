"""A package's command line: what it imports, how it ends, and what it says on the way."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from shared_core import commands
from shared_core.commands import Verb
from shared_core.errors import ConfigError, DataError
from shared_core.launch import ranks
from shared_core.testing.commands import (
    assert_help_snapshots,
    assert_snapshot,
    help_page,
    modules_after,
)
from shared_core.testing.processes import run_ranks
from shared_core.training.guards import Stopped

HERE = "commands_under_test"
HEAVY = {"torch", "transformers", "accelerate"}
PACKAGE = {
    "__init__.py": '"""Measures things.\n\nMore about it.\n"""\n',
    "__main__.py": """
        import sys
        from shared_core.commands import Verb, main
        VERBS = (
            Verb("train", "NAME.config:TrainConfig", "NAME.work:train", "Train.", launch=True),
            Verb("prepare cuts", "NAME.config:PrepareConfig", "NAME.work:show", "Cut the videos."),
            Verb("prepare folds", "NAME.config:PrepareConfig", "NAME.work:show", "Make folds."),
            Verb("print", "NAME.config:PrepareConfig", "NAME.work:print_forever", "Print lines."),
            Verb("name", "NAME.config:PrepareConfig", "NAME.work:name", "Print a name."),
            Verb("wait", "NAME.config:PrepareConfig", "NAME.work:wait", "Wait for Ctrl-C."),
        )
        if __name__ == "__main__":
            sys.exit(main("measure", "NAME", VERBS))
        """,
    "config.py": '''
        from dataclasses import dataclass, field
        from shared_core.training.config import TrainSettings

        @dataclass(frozen=True, kw_only=True)
        class Small:
            """A small model."""
            width: int = 4
            """Units in a layer."""

        @dataclass(frozen=True, kw_only=True)
        class LargeXl:
            """A large model."""
            width: int = 4096
            """Units in a layer."""

        @dataclass(frozen=True, kw_only=True)
        class TrainConfig(TrainSettings):
            """Settings of a run."""
            model: Small | LargeXl = field(default_factory=Small)
            """Which model."""

        @dataclass(frozen=True, kw_only=True)
        class PrepareConfig:
            """Settings of a preparation."""
            folds: int = 5
            """How many parts."""
        ''',
    "work.py": """
        import time

        def train(config):
            print(f"trained {config.model} for {config.epochs} epochs")

        def show(config):
            print(config)

        def name(config):
            print("\\xe9 \\udcff")

        def print_forever(config):
            while True:
                print("a line")

        def wait(config):
            print("waiting", flush=True)
            time.sleep(60)
        """,
    "presets/large.yaml": "# The large one; not measured.\nmodel: {kind: large-xl}\nepochs: 3\n",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder of an importable package with commands, and its name."""
    name = "package_with_commands"
    root = tmp_path_factory.mktemp("site")
    for path, text in PACKAGE.items():
        target = root / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = text.replace("NAME", name).split("\n")
        indent = 8 if path not in ("__init__.py", "presets/large.yaml") else 0
        target.write_text("\n".join(line[indent:] for line in lines))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(root)
    sys.path.insert(0, str(root))
    yield name
    sys.path.remove(str(root))
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=120
    )


# --- what is imported -----------------------------------------------------------------------------


def test_help_imports_neither_torch_nor_the_settings(package):
    modules = modules_after([package, "--help"])
    assert "shared_core.commands" in modules
    assert not (HEAVY | {"tyro", "yaml", "numpy", f"{package}.config"}) & modules


@pytest.mark.parametrize(
    "words", [["train", "--help"], ["doctor", "--help"], ["train", "--config", "large", "--help"]]
)
def test_help_of_a_verb_imports_no_torch(package, words):
    modules = modules_after([package, *words])
    assert "tyro" in modules
    assert not (HEAVY | {"numpy", f"{package}.work"}) & modules


@pytest.mark.parametrize("words", [["--epohcs", "3"], ["--epochs", "0"], ["--config", "lrge"]])
def test_a_wrong_line_is_refused_before_the_work_is_imported(package, words):
    assert not (HEAVY | {f"{package}.work"}) & modules_after([package, "train", *words])


# --- as a user meets it ---------------------------------------------------------------------------


def test_a_preset_and_flags_reach_the_verb(package):
    done = command(package, "train", "--config", "large", "--model.width", "7")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "trained LargeXl(width=7) for 3 epochs\n"


def test_a_broken_rule_is_one_line_and_status_2(package):
    done = command(package, "train", "--epochs", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "measure: epochs: expected 1 or more, found 0.\n"


def test_a_reader_that_leaves_ends_the_command_quietly(package):
    process = subprocess.Popen(
        [sys.executable, "-m", package, "print"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"a line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_a_full_output_is_said_in_one_line(package):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    with full.open("w") as output:
        outcome = subprocess.run(
            [sys.executable, "-m", package, "--help"], stdout=output, stderr=subprocess.PIPE
        )
    assert outcome.returncode == 1
    assert outcome.stderr.count(b"\n") == 1
    assert b"standard output cannot be written: No space left" in outcome.stderr


def test_a_closed_output_stops_nothing(package):
    line = f"{sys.executable} -m {package} --help >&-"
    outcome = subprocess.run(line, shell=True, stderr=subprocess.PIPE)
    assert (outcome.returncode, outcome.stderr) == (0, b"")


def test_what_the_output_cannot_encode_is_escaped(package):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    outcome = subprocess.run(
        [sys.executable, "-m", package, "name"], capture_output=True, env=environment
    )
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert outcome.stdout == b"\\xe9 \\udcff\n"


def test_ctrl_c_ends_with_130_and_no_traceback(package):
    process = subprocess.Popen(
        [sys.executable, "-m", package, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130


# --- dispatch -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a verb."""

    folds: int = 5
    """How many parts."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ConfigError("folds", self.folds, "2 or more")


@dataclass(frozen=True, kw_only=True)
class Launched(Settings):
    """Settings of a verb that can run in several processes."""

    launch: str | None = None
    """A preset."""
    processes: int | None = None
    """How many."""


@dataclass
class Work:
    """Stands for the functions of a package."""

    seen: list[object] = field(default_factory=list)

    def note(self, config: object) -> None:
        self.seen.append(config)

    def seven(self, config: object) -> int:
        return 7

    def bad_data(self, config: object) -> None:
        raise DataError(Path("a.h5"), "NaN", where="row 3", remedy="Remove the row.")

    def bug(self, config: object) -> None:
        raise KeyError("a bug")

    def broken_pipe_of_a_worker(self, config: object) -> None:
        raise BrokenPipeError("a worker went away")


@pytest.fixture
def program(monkeypatch):
    """A program whose verbs live in this file, as a function of its words, and what they saw."""
    work = Work()
    module = SimpleNamespace(
        __doc__="Does things.",
        Settings=Settings,
        Launched=Launched,
        **{name: getattr(work, name) for name in dir(work) if not name.startswith("_")},
    )
    monkeypatch.setitem(sys.modules, HERE, module)
    verbs = [
        Verb(name, f"{HERE}:Settings", f"{HERE}:{run}", f"Do {name}.")
        for name, run in {
            "predict": "note",
            "prepare cuts": "note",
            "prepare": "seven",
            "data": "bad_data",
            "bug": "bug",
            "pipe": "broken_pipe_of_a_worker",
        }.items()
    ]
    verbs.append(Verb("train", f"{HERE}:Launched", f"{HERE}:note", "Train.", launch=True))
    monkeypatch.setattr("shared_core.config.presets._files", lambda package: {})

    def run(*words: str) -> int:
        return commands.main("tool", HERE, verbs, words)

    return SimpleNamespace(run=run, seen=work.seen)


def test_a_verb_gets_its_settings_and_ends_with_0(program):
    assert program.run("predict", "--folds", "3") == 0
    assert program.seen == [Settings(folds=3)]


def test_a_verb_may_have_two_words_and_the_longest_wins(program):
    assert program.run("prepare", "cuts", "--folds", "4") == 0
    assert program.seen == [Settings(folds=4)]
    assert program.run("prepare") == 7


def test_a_mistake_in_the_data_is_a_message_and_status_1(program, capsys):
    assert program.run("data") == 1
    assert capsys.readouterr().err == "tool: a.h5, row 3: NaN.\nRemove the row.\n"


def test_a_bug_keeps_its_traceback(program):
    with pytest.raises(KeyError, match="a bug"):
        program.run("bug")
    with pytest.raises(BrokenPipeError, match="a worker"):
        program.run("pipe")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predcit"], "no command is called 'predcit'; did you mean 'predict'?"),
        (["zzz"], "no command is called 'zzz'; there are: predict, prepare cuts, prepare, data"),
        (["--hlep"], "no command is called '--hlep'; there are: predict"),
        (["predict", "--fold", "3"], "no flag is called '--fold'; did you mean '--folds'?"),
        (["predict", "--config", "demo"], "--config: no preset is called 'demo'."),
        (["predict", "--folds", "1"], "folds: expected 2 or more, found 1."),
    ],
)
def test_a_mistake_in_the_line_is_a_message_and_status_2(words, message, program, capsys):
    assert program.run(*words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tool: {message}")
    assert said.count("\n") == 1


def test_a_wrong_value_ends_with_status_2(program, capsys):
    assert program.run("predict", "--folds", "x") == 2
    assert "--folds" in capsys.readouterr().err


def test_help_lists_the_verbs_and_doctor_is_one_of_them(program, capsys):
    assert program.run("--help") == 0
    page = capsys.readouterr().out
    assert page.startswith("usage: tool COMMAND [OPTIONS]\n\nDoes things.\n")
    for verb in ("predict", "prepare cuts", "data", "train", "doctor"):
        assert f"\n  {verb:<12}  " in page


def test_no_command_is_a_mistake_that_shows_the_commands(program, capsys):
    assert program.run() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "predict" in shown.err


def test_the_words_of_a_group_list_the_group(package, capsys):
    import importlib

    verbs = importlib.import_module(f"{package}.__main__").VERBS
    assert commands.main("measure", package, verbs, ["prepare", "--help"]) == 0
    page = capsys.readouterr().out
    assert "prepare cuts" in page
    assert "train" not in page
    assert commands.main("measure", package, verbs, ["prepare", "cut"]) == 2
    assert "did you mean 'prepare cuts'?" in capsys.readouterr().err


def test_version_is_that_of_the_distribution(capsys):
    assert commands.main("shared-core", "shared_core", [], ["--version"]) == 0
    assert capsys.readouterr().out == "shared-core 0.1.0\n"


def test_a_verb_starts_ranks_where_its_settings_ask_for_them(program, monkeypatch):
    started = []

    def start(module, argv, *, preset, processes):
        started.append((module, list(argv), preset, processes))
        return 9

    monkeypatch.setattr(ranks, "needs_ranks", lambda config: config.processes == 2)
    monkeypatch.setattr(ranks, "start", start)
    words = ["train", "--launch", "cpu-2", "--processes", "2", "--folds", "3"]
    assert program.run(*words) == 9
    assert started == [(HERE, words, "cpu-2", 2)]
    assert program.seen == []
    assert program.run("train", "--processes", "1") == 0
    assert program.seen == [Launched(processes=1)]


# --- help pages kept as files ---------------------------------------------------------------------


def test_help_pages_are_compared_and_written_on_request(program, tmp_path, monkeypatch):
    monkeypatch.delenv("UPDATE_SNAPSHOTS", raising=False)
    verbs = ["predict", "prepare cuts"]
    main = lambda words: program.run(*words)  # noqa: E731
    with pytest.raises(AssertionError, match="UPDATE_SNAPSHOTS=1 writes it"):
        assert_help_snapshots(main, verbs, tmp_path)
    monkeypatch.setenv("UPDATE_SNAPSHOTS", "1")
    assert_help_snapshots(main, verbs, tmp_path)
    monkeypatch.delenv("UPDATE_SNAPSHOTS")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "predict.txt",
        "prepare-cuts.txt",
        "program.txt",
    ]
    assert_help_snapshots(main, verbs, tmp_path)
    kept = tmp_path / "predict.txt"
    kept.write_text(kept.read_text().replace("default: 5", "default: 6"))
    with pytest.raises(AssertionError, match=r"-.*default: 6.*\n.*\+.*default: 5"):
        assert_help_snapshots(main, verbs, tmp_path)


def test_a_help_page_has_no_frames_and_no_width_of_its_own(program, monkeypatch):
    page = help_page(lambda words: program.run(*words), "predict")
    assert "--folds INT How many parts. (default: 5)\n" in page
    assert page.isascii()
    monkeypatch.setenv("COLUMNS", "60")
    assert help_page(lambda words: program.run(*words), "predict") == page
    assert os.environ["COLUMNS"] == "60"


def test_a_snapshot_is_written_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("UPDATE_SNAPSHOTS", "1")
    assert_snapshot("text\n", tmp_path / "new" / "page.txt")
    assert (tmp_path / "new" / "page.txt").read_text() == "text\n"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What a command in several processes is told."""

    folder: str
    launch: str | None = None
    processes: int | None = None
    stopped: bool = False


def ends_late(config: Shared) -> int:
    if os.environ["RANK"] == "1":
        time.sleep(1)
        Path(config.folder, "late").touch()
    if config.stopped:
        raise Stopped(signal.SIGTERM, "stopped")
    return 0


def on_a_rank(folder: str, flags: list[str]) -> list[object]:
    config = commands.Verb("train", f"{__name__}:Shared", f"{__name__}:ends_late", "", launch=True)
    status = commands.main("late", __name__, [config], ["train", "--folder", folder, *flags])
    return [status, Path(folder, "late").exists(), dist.is_initialized()]


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--stopped"], 143)])
def test_ranks_wait_for_each_other_before_they_end(tmp_path, flags, status):
    ends = run_ranks(on_a_rank, arguments={"folder": tmp_path, "flags": flags})
    assert ends == [[status, True, False]] * 2
