"""Every preset that a package ships is one of a command's settings."""

from __future__ import annotations

import importlib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml

from shared_core.config import parse
from shared_core.config.presets import offered
from shared_core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PRESETS = sorted(ROOT.glob("packages/*/src/*/presets/*.yaml"))


def configs(package):
    """The config class of every verb of a package, by the verb."""
    for verb in importlib.import_module(f"{package}.cli").VERBS:
        module, _, name = verb.config.partition(":")
        yield verb.name, getattr(importlib.import_module(module), name)


def required(cls, text):
    """Flags for what has no default and is not in the preset: the user's own folders."""
    given = yaml.safe_load(text) or {}
    for field in fields(cls):
        absent = field.default is MISSING and field.default_factory is MISSING
        if absent and field.name not in given:
            yield from folder(field.name)


def folder(name):
    """The flag of a folder of the user's own."""
    return f"--{name.replace('_', '-')}", "somewhere"


def parsed(cls, line, **where):
    """The settings; a preset may ask for one more folder, such as the data to adapt to."""
    try:
        return parse(cls, line, **where)
    except ConfigError as error:
        if "found None" not in str(error):
            raise
        return parse(cls, [*line, *folder(error.field)], **where)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_loads_as_the_settings_of_its_command(path):
    package = path.parent.parent.name
    takers = {verb: cls for verb, cls in configs(package) if path.stem in offered(cls, package)}
    assert takers, "no command takes it: a key is misspelt, or belongs to another command"
    for verb, cls in takers.items():
        line = ["--config", path.stem, *required(cls, path.read_text())]
        config = parsed(cls, line, program=verb, presets=package)
        assert isinstance(config, cls)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_says_in_its_first_line_what_it_is_for(path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    "package", sorted(ROOT.glob("packages/*/src/*")), ids=lambda path: path.name
)
def test_every_package_ships_a_preset_for_its_demo(package):
    assert (package / "presets" / "demo.yaml").is_file()
