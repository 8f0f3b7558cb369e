"""A plain tree <-> YAML text, for files that people write and strangers send.

The scalars are those of YAML's core schema: `3e-4` is a number, `on`, `no` and `12:30` are text. Of
the rest only mappings and lists remain: anchors, aliases, tags, duplicate keys and keys that are
not text are refused, and so are files that are deep or large.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml

from shared_core.config.tree import Place, from_dict, to_dict
from shared_core.errors import UsageError

T = TypeVar("T")

_MAX_DEPTH = 16
_MAX_BYTES = 64 * 1024
_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,4000}", "-+0123456789"),  # Python reads at most 4300 digits
    ("float", r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)", "-+."),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes, and refuses what a settings file does not need."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  filled below, as PyYAML expects it
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _refused(event, "anchors and aliases are not read: write the values out")
        if event.tag is not None:
            raise _refused(event, "tags are not read: write a plain value")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _refused(event, f"nested deeper than {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Writes text that `_Loader` reads back as the same tree."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  filled below, as PyYAML expects it


for _name, _pattern, _first in _CORE_SCHEMA:
    for _class in (_Loader, _Dumper):
        _first_characters = [*_first, ""] if _name == "null" else list(_first)
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first_characters
        )
_Dumper.add_representer(
    str,
    # Only between double quotes are all line breaks and invisible characters escaped, and kept.
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True)
)


def dump_yaml(config: Any) -> str:
    """The whole config as YAML, defaults included; `load_yaml` reads it back as an equal one."""
    tree = to_dict(config)
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def load_yaml(cls: type[T], source: str | Path) -> T:
    """The config that a YAML text (str) or a YAML file (Path) describes.

    Raises:
        UsageError: the file cannot be read, is not YAML of the kind described above, or does not
            fit the class; the message names the file, and the line or the setting.
        ConfigError: a value is refused by the config's own rules.
    """
    where = str(source) if isinstance(source, Path) else ""
    text = read_file(source) if isinstance(source, Path) else source
    return from_dict(cls, parse_yaml(text, where), where=where)


def read_file(path: Path) -> str:
    """The text of a settings file.

    Raises:
        UsageError: it is absent, unreadable, no text, or larger than 64 KiB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path}: expected at most {_MAX_BYTES} bytes, found more.")
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the settings: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected UTF-8 text, found other bytes.") from error


def parse_yaml(text: str, where: str = "") -> dict[str, Any]:
    """The plain tree of a YAML text; an empty text is an empty tree.

    Raises:
        UsageError: it is not YAML of the kind this module reads; names `where` and the line.
    """
    place = Place(where)
    try:
        node = _Loader(text).get_single_node()
        tree = None if node is None else _plain(node)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise place.error(f"{line}{error.problem}.") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise place.error(f"{' '.join(str(error).split())}.") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise place.expected("a mapping of settings", tree)
    return tree


def _plain(node: yaml.Node) -> Any:
    """The value of a node whose tag the core schema gave."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _plain(key_node)
            if not isinstance(key, str):
                raise _refused(key_node, f"expected text as a key, found {key!r:.80}")
            if key in tree:
                raise _refused(key_node, f"{key!r} is given twice")
            tree[key] = _plain(value_node)
        return tree
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return node.value.lower() == "true"
        case "int":
            return int(node.value)
        case "float":
            number = float(node.value.lower().replace(".inf", "inf"))
            if math.isinf(number) and "inf" not in node.value.lower():
                raise _refused(node, "the number is too large; infinity is written .inf")
            return number
    return node.value


def _refused(place: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)
