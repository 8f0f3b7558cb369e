"""The laws of the house: rooms, dependencies, imports, and what no source file may contain."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
SOURCES = sorted(
    path
    for folder in (ROOT / "shared_core" / "src", *(package / "src" for package in PACKAGES))
    for path in folder.rglob("*.py")
)
ROOMS = (
    "config", "data", "model", "method", "learner", "evaluate", "predict", "weights", "synthetic", "cli",
    "demo", "serve", "plan",
)  # fmt: skip


def _module(package: Path) -> str:
    return package.name.replace("-", "_")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_has_the_same_rooms(package):
    """Each room is a file, or a folder of the same name."""
    source = package / "src" / _module(package)
    missing = [
        room
        for room in ROOMS
        if not (source / f"{room}.py").is_file() and not (source / room / "__init__.py").is_file()
    ]
    assert not missing
    assert (source / "presets").is_dir()
    assert (package / "README.md").stat().st_size > 1000


def test_packages_import_the_core_and_never_one_another():
    """import-linter's contracts, which cover every package that exists."""
    settings = (ROOT / "pyproject.toml").read_text()
    for package in PACKAGES:
        assert f'"{_module(package)}"' in settings
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout


def _calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_executes_what_it_reads(path):
    """No eval, exec or pickle; torch.load only with weights_only=True; no YAML loader but a safe one."""
    tree = ast.parse(path.read_text())
    for call, name in _calls(tree):
        where = f"{path.relative_to(ROOT)}:{call.lineno} {name}"
        assert name not in {"eval", "exec", "compile", "os.system"}, where
        assert name not in {"pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"}, where
        if name.endswith("torch.load") or name == "torch.load":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given.get("weights_only") == "True", where
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.relative_to(ROOT)}:{node.lineno} bare except"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_names_a_path_of_a_machine(path):
    """Strings hold no absolute path of anybody's machine."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(^|\s)/(home|root|work|tmp|Users)/\w", node.value), node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_has_a_docstring(path):
    """Modules, public classes, functions and methods say what they are."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), path
    missing = []

    def visit(body, prefix=""):
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_"):
                continue
            overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
            setter = any(ast.unparse(d).endswith(".setter") for d in node.decorator_list)
            if not ast.get_docstring(node) and not overload and not setter:
                missing.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")

    visit(tree.body)
    assert not missing


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_public_api_is_small_and_there(package):
    """At most ten names, each of which can be imported."""
    module = importlib.import_module(_module(package))
    assert 0 < len(module.__all__) <= 10
    for name in module.__all__:
        assert getattr(module, name) is not None
    for name in {"train", "evaluate", "predict"} & set(module.__all__):
        importlib.import_module(f"{_module(package)}.{module._HOME[name]}")
        assert callable(getattr(module, name)), f"{name} is hidden by the room of its name"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_wheels_state_the_core_of_the_same_version(package):
    """A package needs the core that was released with it, and no path of a machine."""
    import tomllib

    def project(folder):
        return tomllib.loads((folder / "pyproject.toml").read_text())["project"]

    core, own = project(ROOT / "shared_core"), project(package)
    assert own["version"] == core["version"]
    needed = [entry for entry in own["dependencies"] if entry.startswith("shared-core")]
    assert len(needed) == 1
    assert needed[0].endswith(f"=={core['version']}")
