"""Settings: frozen dataclasses <-> YAML <-> the command line, strict in all directions.

A config is a frozen dataclass; the docstrings under its fields are the help text. A field may be an
`int`, `float`, `bool`, `str`, `Path` or `Literal`, any of these or None, a `tuple[X, ...]`,
`tuple[X, Y]` or `dict[str, X]`, a nested dataclass, a union of dataclasses, and `Annotated` around
any of them.

What holds everywhere:

- Later wins: the defaults, then `--config`, then the flags; each overrides only what it names.
- A union of dataclasses is a mapping with `kind:` in YAML and a sub-command on the line; the kind
  is the class name in kebab-case (`FclstmXl` is `fclstm-xl`).
- Names are snake_case in YAML and kebab-case on the line. An unknown name is refused with the
  nearest one that exists.
- A float may be written as a whole number, and `3e-4` is a number; an int takes neither a float nor
  a boolean. Infinity must be written as such (`.inf`), and NaN is no setting: it does not equal
  itself.
- `load_yaml(type(c), dump_yaml(c)) == c`.

This package imports no torch; tyro is imported by `parse` alone.
"""

from shared_core.config.fields import setting
from shared_core.config.fingerprint import differences, fingerprint, numbers
from shared_core.config.line import parse
from shared_core.config.tree import from_dict, to_dict
from shared_core.config.yaml_text import dump_yaml, load_yaml

__all__ = [
    "differences",
    "dump_yaml",
    "fingerprint",
    "from_dict",
    "load_yaml",
    "numbers",
    "parse",
    "setting",
    "to_dict",
]
