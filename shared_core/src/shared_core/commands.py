"""The command line of a package: its verbs, and how the end of one is told to the shell.

A package's `cli.py` names its verbs and hands over:

    VERBS = (
        Verb("train", "abaw_va.config:TrainConfig", "abaw_va.learner:train_command", "Train."),
        ...
    )

    def main() -> int:
        return commands.main("abaw-va", "abaw_va", VERBS)

Nothing is imported before it is needed: the list of verbs costs no more than Python itself, the
help of a verb needs its config class and tyro, and only a command that runs imports torch.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_core.errors import UsageError, UserError

_SIGNALLED = 128
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_HELP = ("-h", "--help")


@dataclass(frozen=True)
class Verb:
    """One command of a package.

    Args:
        name: the word or words on the command line: "train", "prepare annotations".
        config: the class of its settings as "module:Class"; the module imports no torch.
        run: the function that runs it as "module:function"; takes the config, and returns an exit
            status or None for 0.
        help: one line for the list of verbs.
        launch: whether it trains, in several processes if asked to; its config then has `launch`,
            `processes` and `run`, the folder to supervise.
    """

    name: str
    config: str
    run: str
    help: str
    launch: bool = False


_DOCTOR = Verb(
    "doctor",
    config="shared_core.launch.config:DoctorConfig",
    run="shared_core.launch.doctor:command",
    help="Say what this machine can run, what is missing, and what a training will need.",
)
_SUPERVISE = Verb(
    "supervise",
    config="shared_core.launch.config:SuperviseConfig",
    run="shared_core.launch.supervise:supervise",
    help="Start a training command anew when it dies.",
)


def say(line: str) -> None:
    """Tell the user something on standard output: what a command wrote, what it found."""
    sys.stdout.write(f"{line}\n")


def main(
    program: str, module: str, verbs: Sequence[Verb], argv: Sequence[str] | None = None
) -> int:
    """Run the command that the line asks for.

    Args:
        program: the name of the command, such as `abaw-va`.
        module: the import name of the package; `python -m MODULE` must be the same program. Its
            docstring's first line opens the help, its `presets` folder is what `--config` offers.
        verbs: what the program can do, in the order of the help; `supervise` and `doctor` are
            added.
        argv: the arguments; None takes those of the process.

    Returns:
        The exit status: 0, what the verb returns, 2 for a mistake in what was asked, 1 for one in
        the data or an output that is full, 130 after Ctrl-C, 141 when the reader of the output
        went away. An exception that is not the user's mistake leaves with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _make_writable()
    try:
        status = _run(program, module, (*verbs, _SUPERVISE, _DOCTOR), arguments)
        sys.stdout.flush()
    except UserError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        if error.filename is not None or not _is_of_the_output(error):  # a stream has no name
            raise
        if isinstance(error, BrokenPipeError):
            return _BROKEN_PIPE
        sys.stderr.write(f"{program}: standard output cannot be written: {error.strerror}\n")
        return 1
    except SystemExit as end:  # tyro ends so, after help (0) or a message of its own (2)
        if isinstance(end.code, str):
            raise
        return end.code or 0
    return status


def _run(program: str, module: str, verbs: Sequence[Verb], arguments: list[str]) -> int:
    if arguments == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"{program} {version(module)}\n")
        return 0
    verb = _find(verbs, arguments)
    if verb is None:
        asked = bool(arguments) and arguments[-1] in _HELP
        words = arguments[:-1] if asked else arguments
        overview = _overview(program, module, _beginning_with(words, verbs))
        (sys.stdout if asked else sys.stderr).write(overview)
        return 0 if asked else UsageError.exit_status
    rest = arguments[len(verb.name.split()) :]
    if verb is _SUPERVISE and rest not in (["-h"], ["--help"]):
        return _supervise(program, module, verbs, rest)
    if verb is _DOCTOR and "--" in rest:
        return _plan(program, module, verbs, rest)
    from shared_core.config import parse

    config = parse(_resolve(verb.config), rest, program=f"{program} {verb.name}", presets=module)
    if verb.launch:
        from shared_core.launch import ranks

        if ranks.needs_ranks(config):
            words = [*verb.name.split(), *rest]
            return ranks.start(module, words, preset=config.launch, processes=config.processes)
        return _together(_resolve(verb.run), config)
    return _resolve(verb.run)(config) or 0


def _supervise(program: str, module: str, verbs: Sequence[Verb], arguments: list[str]) -> int:
    """Supervise the training command after `--`; a mistake in its line is found before it starts."""
    settings, config, words = _with_training(program, module, verbs, _SUPERVISE, arguments)
    return int(_resolve(_SUPERVISE.run)(module, words, run=config.run, settings=settings))


def _plan(program: str, module: str, verbs: Sequence[Verb], arguments: list[str]) -> int:
    """Say what the training command after `--` will need."""
    settings, config, _ = _with_training(program, module, verbs, _DOCTOR, arguments)
    if not settings.plan:
        raise UsageError("doctor: a training command after -- is what --plan is for.")
    from shared_core.launch import plan_report

    return plan_report.command(settings, _resolve(f"{module}.plan:cost"), config)


def _with_training(
    program: str, module: str, verbs: Sequence[Verb], outer: Verb, arguments: list[str]
) -> tuple[Any, Any, list[str]]:
    """The settings of a command, those of the training command after its `--`, and its words."""
    from shared_core.config import parse

    end = arguments.index("--") if "--" in arguments else len(arguments)
    words = arguments[end + 1 :]
    verb = _find(verbs, words)
    if verb is None or not verb.launch:
        found = words[0] if words else "nothing"
        raise UsageError(
            f"{outer.name}: expected a training command after --, found {found}.\n"
            f"Such as: {program} {outer.name} -- train --run runs/night"
        )
    own = f"{program} {outer.name}"
    settings = parse(_resolve(outer.config), arguments[:end], program=own, presets=module)
    rest = words[len(verb.name.split()) :]
    config = parse(_resolve(verb.config), rest, program=f"{program} {verb.name}", presets=module)
    return settings, config, words


def _together(run: Callable[[Any], int | None], config: Any) -> int:
    """Run what other processes may run too; an end that all of them reach is reached together."""
    from shared_core.launch.collectives import part

    try:
        status = run(config) or 0
    except UserError as error:
        if error.exit_status > _SIGNALLED:  # all ranks agreed to stop
            part()
        raise
    part()
    return status


def _find(verbs: Sequence[Verb], arguments: Sequence[str]) -> Verb | None:
    """The verb whose words open the line; the longest, where one opens another."""
    matching = [
        verb for verb in verbs if (words := verb.name.split()) == list(arguments[: len(words)])
    ]
    return max(matching, key=lambda verb: len(verb.name), default=None)


def _beginning_with(words: list[str], verbs: Sequence[Verb]) -> list[Verb]:
    """The verbs that begin with some words; all of them for none.

    Raises:
        UsageError: no verb begins so; names the nearest one.
    """
    if listed := [verb for verb in verbs if verb.name.split()[: len(words)] == words]:
        return listed
    from shared_core.config.fields import nearest

    names = [verb.name for verb in verbs]
    if group := [name for name in names if name.split()[0] == words[0]]:
        asked, names = " ".join(words[:2]), group
    else:
        asked = words[0]
    raise UsageError(f"no command is called {asked!r}{nearest(asked, names)}")


def _overview(program: str, module: str, verbs: Sequence[Verb]) -> str:
    """The help of the whole program: one line for each verb."""
    about = (importlib.import_module(module).__doc__ or "").strip().partition("\n")[0]
    width = max(len(verb.name) for verb in verbs)
    return "\n".join(
        [
            f"usage: {program} COMMAND [OPTIONS]",
            *(["", about] if about else []),
            "",
            "commands:",
            *(f"  {verb.name:<{width}}  {verb.help}" for verb in verbs),
            "",
            f"`{program} COMMAND --help` shows the settings of a command.",
            f"`{program} --version` shows the version.",
            "",
        ]
    )


def _resolve(path: str) -> Any:
    """The object that "module:name" stands for."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _make_writable() -> None:
    """Let every message out: where a shell closed the output, and where a file's name is no text."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # `program >&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_of_the_output(error: OSError) -> bool:
    """Whether it is our own output that cannot be written; then what is still flushed goes nowhere."""
    try:
        sys.stdout.write("\n")  # a flush alone forgets what it could not write
        sys.stdout.flush()
    except OSError as again:
        if again.errno == error.errno:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return True
    return False
