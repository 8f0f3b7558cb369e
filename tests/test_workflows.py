"""The CI's files: they parse, pin what they run, grant little, and cover every package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MEMBERS = {"shared-core", *(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))}


def read(path):
    return yaml.safe_load(path.read_text())


def check(tool, *arguments):
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path):
    for step in steps(read(path)):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_granted_but_what_a_job_asks_for(path):
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert "pull_request_target" not in workflow[True]  # YAML reads the key `on` as a truth value
    for job in workflow["jobs"].values():
        assert set(job["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
        assert job["timeout-minutes"] <= 90
        assert all(
            step["with"]["persist-credentials"] is False
            for step in job["steps"]
            if "actions/checkout@" in step.get("uses", "")
        )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_expression_is_pasted_into_a_shell(path):
    """A branch may be called `$(...)`: values reach the shell through the environment alone."""
    assert all("${{" not in step.get("run", "") for step in steps(read(path)))


def test_the_matrix_is_every_member_on_every_python():
    matrix = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["package"]["strategy"][
        "matrix"
    ]
    assert set(matrix["package"]) == MEMBERS
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_installs_is_pinned_by_hash(path):
    workflow = read(path)
    runs = [step["run"] for step in steps(workflow) if "run" in step]
    for run in runs:
        if "pip install" in run:
            assert "--require-hashes --requirement requirements/tools.txt" in run
    if any("hatch run" in run for run in runs):
        assert workflow["env"]["UV_CONSTRAINT"] == "requirements/ci.txt"
        assert workflow["env"]["UV_BUILD_CONSTRAINT"] == "requirements/ci.txt"


def test_the_strictest_auditor_finds_nothing():
    """zizmor, offline; what it is told to pass over has its reason in .github/zizmor.yml."""
    check("zizmor", "--quiet", "--offline", "--persona=auditor", ".github")


@pytest.mark.parametrize(
    ("schema", "paths"),
    [("github-workflows", WORKFLOWS), ("dependabot", [ROOT / ".github" / "dependabot.yml"])],
)
def test_the_schema_knows_every_key(schema, paths):
    check("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, paths))


def test_updates_wait_and_come_together():
    updates = read(ROOT / ".github" / "dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
    for update in updates:
        assert update["schedule"] == {"interval": "weekly"}
        assert update["cooldown"]["default-days"] >= 7
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def test_every_member_has_an_environment_of_its_own():
    environments = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    for name in MEMBERS:
        wanted = {"shared_core", "shared_core" if name == "shared-core" else f"packages/{name}"}
        assert {member["path"] for member in environments[name]["workspace"]["members"]} == wanted
        assert "test" in environments[name]["scripts"]


def test_types_and_coverage_know_every_package():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    for name in MEMBERS - {"shared-core"}:
        assert f"packages/{name}/src" in tools["mypy"]["files"]
        assert name.replace("-", "_") in tools["coverage"]["run"]["source_pkgs"]


def test_the_ci_script_is_a_program_that_runs_the_readmes_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    told = script.read_text()
    for name in ("test", "lint", "types", "docs", "slow", "faults"):
        assert f"step hatch run {name}" in told
    assert "--require-hashes --requirement requirements/tools.txt" in told
    assert "UV_CONSTRAINT=requirements/ci.txt" in told
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
