"""The command line of a config: tyro's, with presets, and with messages of one line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from shared_core.config.fields import (
    annotations_of,
    default_of,
    fields_of,
    flags_of,
    is_config,
    kind_of,
    members_of,
    nearest,
)
from shared_core.config.presets import offered, settings_text
from shared_core.config.tree import Place, from_dict, read, to_dict
from shared_core.config.yaml_text import dump_yaml, parse_yaml
from shared_core.errors import UsageError

T = TypeVar("T")


def parse(cls: type[T], argv: Sequence[str], *, program: str, presets: str | None) -> T:
    """The config that a command line asks for: the defaults, then `--config`, then the flags.

    `--config NAME|FILE` and `--dump-config` may stand anywhere before a bare `--`. Flags override
    only what they name, inside a union too: `--config upstream --model.dropout 0` keeps the model
    of the preset, `--config upstream model:fclstm-xl` takes another with its own defaults. The
    rules of the classes (`__post_init__`) judge the result, not the preset alone.

    Args:
        cls: the class of the config.
        argv: the arguments after the verb.
        program: how help and messages call the command, such as `abaw-va train`.
        presets: the import name of the package whose `presets/*.yaml` are offered, or None.

    Raises:
        UsageError: an unknown flag, preset or setting (the nearest one is named), or a wrong value.
        SystemExit: help or `--dump-config` was asked for (0), or tyro refused a flag's value, after
            saying why on stderr (2).
    """
    import tyro  # 0.3 s that only a command line pays, not every import of a config

    source, dump, rest = _split(argv)
    _refuse_unknown_flags(cls, rest)
    default = None
    if source is not None:
        text, where = settings_text(source, cls, presets)
        default = read(cls, parse_yaml(text, where), Place(where), make=_draft)
    parsed = tyro.cli(
        cls,
        args=_with_members_named(cls, rest, default),
        prog=program,
        description=_description(cls, presets) if {"-h", "--help"} & set(rest) else "",
        default=tyro.MISSING_NONPROP if default is None else default,
        # Flags of the whole command may follow a sub-command too.
        config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.HelptextFromCommentsOff),
    )
    config = from_dict(cls, to_dict(parsed))  # a line passes the same checks as a file
    if dump:
        sys.stdout.write(dump_yaml(config))
        raise SystemExit(0)
    return config


def _split(argv: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    """What `--config` says, whether `--dump-config` was given, and the other arguments."""
    end = argv.index("--") if "--" in argv else len(argv)
    arguments, rest = iter(argv[:end]), list[str]()
    configs: list[str] = []
    dump = False
    for argument in arguments:
        if argument == "--config":
            configs.append(next(arguments, ""))
        elif argument.startswith("--config="):
            configs.append(argument.removeprefix("--config="))
        elif argument == "--dump-config":
            dump = True
        else:
            rest.append(argument)
    if any(not value or value.startswith("--") for value in configs):
        raise UsageError("--config: expected the name of a preset or a file, found nothing.")
    if len(configs) > 1:
        raise UsageError(f"--config: expected once, found {len(configs)} times.")
    return configs[0] if configs else None, dump, [*rest, *argv[end:]]


def _refuse_unknown_flags(cls: type, argv: Sequence[str]) -> None:
    """A misspelt flag is refused in one line; tyro says the rest (values, misplaced flags)."""
    known = ["--help", "--config", "--dump-config", *flags_of(cls)]
    free = tuple(flag for flag in known if flag.endswith("."))
    for argument in argv:
        if argument == "--":
            return
        flag = argument.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known and not flag.startswith(("--tyro-", *free)):
            raise UsageError(f"no flag is called {flag!r}" + nearest(flag, known))


def _with_members_named(cls: type, argv: Sequence[str], default: Any) -> list[str]:
    """The line, with the sub-command written out where only a flag of the default member is.

    tyro 1.0 does so itself for `--model.width 3`, but not for `--model.no-bias`.
    """
    named = list(argv)
    for path, member in _default_members(cls, default):
        flags = set(flags_of(member, f"{path}."))
        if any(argument.startswith(f"{path}:") for argument in named):
            continue
        for index, argument in enumerate(named):
            if argument.partition("=")[0].replace("_", "-") in flags:
                named.insert(index, f"{path}:{kind_of(member)}")
                break
    return named


def _default_members(cls: type, default: Any, prefix: str = "") -> Iterator[tuple[str, type]]:
    """The place of each union on the line, and the member it has without a sub-command."""
    for name, annotation in annotations_of(cls).items():
        value = default_of(fields_of(cls)[name]) if default is None else getattr(default, name)
        if is_config(type(value)):
            path = prefix + name.replace("_", "-")
            if len(members_of(annotation)) > 1:
                yield path, type(value)
            yield from _default_members(type(value), value, f"{path}.")


def _draft(cls: type, values: dict[str, Any], _: Place) -> Any:
    """An instance for tyro to read defaults from: not judged yet, with holes for flags to fill."""
    import tyro

    instance: Any = object.__new__(cls)
    for name in fields_of(cls):
        object.__setattr__(instance, name, values.get(name, tyro.MISSING))
    return instance


def _description(cls: type, package: str | None) -> str:
    """What stands above the flags in the help."""
    presets = offered(cls, package)
    width = max(map(len, presets), default=0)
    return "\n".join(
        [
            inspect.cleandoc(cls.__doc__ or ""),
            "",
            "Flags that are no settings, anywhere on the line:",
            "  --config NAME|FILE  start from a preset or a YAML file; flags override it",
            "  --dump-config       print the resulting settings as YAML, and stop",
            *(["", "Presets:"] if presets else []),
            *(f"  {name:<{width}}  {summary}".rstrip() for name, summary in presets.items()),
        ]
    )
