"""What a config class declares: its fields, their types, and the names it answers to."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

_CHANGES_NUMBERS = "changes_numbers"


def setting(
    default: Any = MISSING,
    *,
    default_factory: Callable[[], Any] | Any = MISSING,
    changes_numbers: bool = True,
) -> Any:
    """A field of a config that says whether it can change the numbers of a run.

    Args:
        default: the default value.
        default_factory: makes the default value; give this or `default`, or neither.
        changes_numbers: False for what only says where, by how many or how loudly a run is made
            (run folder, launch, workers, logging). Such a field stays out of the fingerprint, so
            that a run may be resumed with another value.
    """
    return dataclasses.field(
        default=default,
        default_factory=default_factory,
        metadata={_CHANGES_NUMBERS: changes_numbers},
    )


def changes_numbers(field: Field[Any]) -> bool:
    """Whether a field belongs in the fingerprint; a plain dataclass field does."""
    return bool(field.metadata.get(_CHANGES_NUMBERS, True))


def is_config(annotation: Any) -> bool:
    """Whether a type is a dataclass."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


@cache
def fields_of(cls: type) -> dict[str, Field[Any]]:
    """The fields that can be set, by name, in the order in which they are declared."""
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


@cache
def annotations_of(cls: type) -> dict[str, Any]:
    """The type of every field, by name, without what `Annotated` adds."""
    hints = get_type_hints(cls)
    return {name: hints[name] for name in fields_of(cls)}


def default_of(field: Field[Any]) -> Any:
    """The default value of a field, or `dataclasses.MISSING`."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def members_of(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def kinds_of(annotation: Any) -> dict[str, type]:
    """The dataclasses among the members of a type, by kind."""
    return {kind_of(member): member for member in members_of(annotation) if is_config(member)}


def kind_of(cls: type) -> str:
    """The name of a union's member in YAML and on the line: `FclstmXl` is `fclstm-xl`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<!^)(?=[A-Z][a-z])", "-", cls.__name__).lower()


def flags_of(cls: type, prefix: str = "") -> Iterator[str]:
    """The flags a config has on the line, such as `--model.hidden-size` and `--no-resume`.

    Those of every member of a union are among them. An entry that ends in a point stands for the
    entries of a dictionary, whose names are free.
    """
    for field, annotation in annotations_of(cls).items():
        name = field.replace("_", "-")
        members = members_of(annotation)
        for member in filter(is_config, members):
            yield from flags_of(member, f"{prefix}{name}.")
        if all(is_config(member) or member is types.NoneType for member in members):
            continue
        yield f"--{prefix}{name}"
        if bool in members:
            yield f"--{prefix}no-{name}"
        if any(get_origin(member) is dict for member in members):
            yield f"--{prefix}{name}."


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one, or all where none is near."""
    from difflib import get_close_matches  # on the way to an error message only

    names = list(names)
    if close := get_close_matches(name, names, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(names)}." if names else "."
