"""Which run is this: the settings that change its numbers, their hash, and how two sets differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from shared_core.config.fields import changes_numbers
from shared_core.config.tree import tree_of

_ABSENT = object()


def numbers(config: Any) -> dict[str, Any]:
    """The plain tree of the settings that change the numbers of a run, at every depth."""
    return tree_of(config, keep=changes_numbers)


def fingerprint(config: Any) -> str:
    """The sha256, in hexadecimal, of the canonical JSON of `numbers(config)`.

    Canonical: keys sorted, no spaces, ASCII, floats in their shortest exact form (infinity is
    `Infinity`). Equal settings have equal fingerprints, in whichever order and spelling they were
    given.
    """
    canonical = json.dumps(numbers(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The settings that differ between two plain trees, as `model.layers: 4 -> 6`, a before b.

    Two members of a union that are of different kinds differ in their kind, and their fields are
    not compared. A setting that only one tree has is shown as `(absent)`.
    """
    return list(_differences(a, b, ""))


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str) -> Iterator[str]:
    names = ["kind"] if a.get("kind") != b.get("kind") else list(a) + [n for n in b if n not in a]
    for name in names:
        old, new = a.get(name, _ABSENT), b.get(name, _ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif _shown(old) != _shown(new):  # as the fingerprint sees them: -0.0 is not 0.0
            yield f"{prefix}{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "(absent)"
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
