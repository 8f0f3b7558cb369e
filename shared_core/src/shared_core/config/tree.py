"""A config <-> a plain tree of mappings, lists, text and numbers, as YAML and JSON hold it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

from shared_core.config.fields import (
    annotations_of,
    default_of,
    fields_of,
    is_config,
    kind_of,
    kinds_of,
    members_of,
    nearest,
)
from shared_core.errors import ConfigError, UsageError

T = TypeVar("T")
Keep = Callable[[Field[Any]], bool]
Make = Callable[[type, dict[str, Any], "Place"], Any]

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Place:
    """Where a value stands: a file or command, and the dotted name of the setting in it."""

    source: str = ""
    name: str = ""

    def __truediv__(self, key: str) -> Place:
        return replace(self, name=f"{self.name}.{key}" if self.name else key)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.name) if part)

    def error(self, message: str) -> UsageError:
        """A message that begins with this place."""
        return UsageError(f"{self}: {message}" if str(self) else message)

    def expected(self, what: str, found: object) -> UsageError:
        """The message that something else was expected here."""
        shown = repr(found)
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}..."
        return self.error(f"expected {what}, found {shown}.")


def to_dict(config: Any) -> dict[str, Any]:
    """The plain tree of a config: paths as text, tuples as lists, union members with their kind.

    Raises:
        ConfigError: a number is NaN.
    """
    return tree_of(config, keep=lambda _: True)


def tree_of(config: Any, keep: Keep, place: Place | None = None) -> dict[str, Any]:
    """The plain tree of the fields that `keep` wants, at every depth."""
    cls: type = type(config)
    annotations, place = annotations_of(cls), place or Place()
    return {
        name: _plain(annotations[name], getattr(config, name), keep, place / name)
        for name, field in fields_of(cls).items()
        if keep(field)
    }


def _plain(annotation: Any, value: Any, keep: Keep, place: Place) -> Any:
    if is_config(type(value)):
        kind = {"kind": kind_of(type(value))} if len(kinds_of(annotation)) > 1 else {}
        return kind | tree_of(value, keep, place)
    if value is None:
        return None
    annotation = _by_closeness(annotation, value)[0]
    if get_origin(annotation) is tuple:
        types = _item_types(annotation, len(value))
        return [_plain(t, item, keep, place) for t, item in zip(types, value, strict=True)]
    if get_origin(annotation) is dict:
        item_type = get_args(annotation)[1]
        return {key: _plain(item_type, item, keep, place / key) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if annotation is float:
        if math.isnan(value):
            raise ConfigError(place.name, value, "a number")
        return float(value)  # 1 and 1.0 are the same setting, and have the same fingerprint
    return value


def from_dict(cls: type[T], tree: Mapping[str, Any], *, where: str = "") -> T:
    """The config that a plain tree describes; what the tree does not name keeps its default.

    Args:
        cls: the class of the config.
        tree: what `to_dict` gives, or any part of it.
        where: the file it was read from, for messages.

    Raises:
        UsageError: a name is unknown (the nearest one is named), a required one is missing, or a
            value has the wrong type; the message holds the dotted name, what was expected and what
            was found.
        ConfigError: a value is refused by the config's own rules.
    """
    return read(cls, tree, Place(where), make=_construct)  # type: ignore[no-any-return]


def read(cls: type, tree: Any, place: Place, make: Make, base: Any = None) -> Any:
    """Read the fields of one config; `make` builds it.

    Args:
        cls: the class of the config.
        tree: the mapping of its settings.
        place: where the mapping stands.
        make: called with the class, the values that were found, and the place.
        base: an instance whose values are used for the names the tree lacks, instead of the
            defaults.
    """
    if not isinstance(tree, Mapping):
        raise place.expected("a mapping of settings", tree)
    annotations = annotations_of(cls)
    for key in tree:
        if key not in annotations:
            raise place.error(f"unknown setting {key!r}" + nearest(str(key), annotations))
    values: dict[str, Any] = {}
    for name, field in fields_of(cls).items():
        default = default_of(field) if base is None else getattr(base, name)
        if name in tree:
            values[name] = _value(annotations[name], tree[name], place / name, make, default)
        elif default is not MISSING:
            values[name] = default
    return make(cls, values, place)


def _construct(cls: type, values: dict[str, Any], place: Place) -> Any:
    if missing := [name for name in fields_of(cls) if name not in values]:
        raise place.error(f"{missing[0]!r} must be given: it has no default.")
    try:
        return cls(**values)
    except ConfigError as error:
        if str(place):  # the message begins with the field's own name: complete it
            error.args = (f"{place}{'.' if place.name else ': '}{error}",)
        raise


def _value(annotation: Any, value: Any, place: Place, make: Make, default: Any) -> Any:
    """One value, read as a type; `default` supplies what a nested mapping does not name."""
    kinds = kinds_of(annotation)
    if kinds and isinstance(value, Mapping):
        cls, tree = _chosen(kinds, value, place)
        return read(cls, tree, place, make, default if type(default) is cls else None)
    if value is None and NoneType in members_of(annotation):
        return None
    candidates = [m for m in _by_closeness(annotation, value) if m is not NoneType]
    if len(candidates) == 1:
        return _single(candidates[0], value, place, make)
    for candidate in candidates:
        try:
            return _single(candidate, value, place, make)
        except UsageError:
            continue
    raise place.expected(_described(annotation), value)


def _chosen(
    kinds: dict[str, type], tree: Mapping[str, Any], place: Place
) -> tuple[type, Mapping[str, Any]]:
    """The member of a union that `kind` names, and the settings left for it."""
    if len(kinds) == 1:
        return next(iter(kinds.values())), tree
    choices = " or ".join(kinds)
    if "kind" not in tree:
        raise place.error(f"'kind' must be given: {choices}.")
    kind = tree["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise (place / "kind").error(f"unknown kind {kind!r}" + nearest(str(kind), kinds))
    return kinds[kind], {key: item for key, item in tree.items() if key != "kind"}


def _single(annotation: Any, value: Any, place: Place, make: Make) -> Any:
    """A value read as a type that is no union."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and isinstance(value, list | tuple):
        types = _item_types(annotation, len(value))
        if len(types) == len(value):
            return tuple(
                _value(item_type, item, place / str(index), make, MISSING)
                for index, (item_type, item) in enumerate(zip(types, value, strict=True))
            )
    elif origin is dict and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {
            key: _value(arguments[1], item, place / key, make, MISSING)
            for key, item in value.items()
        }
    elif not is_config(annotation) and (found := _scalar(annotation, value)) is not None:
        return found
    raise place.expected(_described(annotation), value)


def _scalar(annotation: Any, value: Any) -> Any:
    """A value as a scalar type, or None if it is none of that type."""
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return next((c for c in choices if type(c) is type(value) and c == value), None)
    if annotation is float:
        return _float(value)
    if annotation is Path:
        return Path(value) if isinstance(value, str | Path) and "\0" not in str(value) else None
    if annotation in (bool, int, str):
        return value if type(value) is annotation else None
    if get_origin(annotation) in (tuple, dict):
        return None
    raise TypeError(f"a config cannot hold {annotation!r}")


def _float(value: object) -> float | None:
    """A number as float, also from its spelling; None for anything else, NaN included.

    Text of a number too large for a float is refused: infinity must be written as such.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
        return number if math.isfinite(number) else None
    if type(value) in (int, float):
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:
            return None
        return None if math.isnan(number) else number
    return None


def _by_closeness(annotation: Any, value: object) -> list[Any]:
    """The members of a union, those first that hold the value as it is."""

    def distance(member: Any) -> int:
        origin = get_origin(member)
        if origin is Literal:
            return 0 if value in get_args(member) else 2
        if type(value) is (origin or member):
            return 0
        return 1 if member is float and isinstance(value, int) else 2

    return sorted(members_of(annotation), key=distance)


def _item_types(annotation: Any, length: int) -> tuple[Any, ...]:
    """The type of each item of a tuple of that length."""
    arguments = get_args(annotation)
    return (arguments[0],) * length if Ellipsis in arguments else arguments


def _described(annotation: Any) -> str:
    """A type in words."""
    members = members_of(annotation)
    if len(members) > 1:
        return " or ".join(_described(member) for member in members)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin is tuple and Ellipsis in arguments:
        return f"a list of items that are each {_described(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(map(_described, arguments))}"
    if is_config(annotation):
        return "a mapping of settings"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    words |= {Path: "a path", dict: "a mapping", NoneType: "null"}
    return words.get(origin or annotation, str(annotation))
