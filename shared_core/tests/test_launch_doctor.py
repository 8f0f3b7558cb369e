"""What doctor says of machines, and what a run records of its own."""

import getpass
import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from shared_core.launch import doctor
from shared_core.launch.config import DoctorConfig
from shared_core.launch.environment import environment
from shared_core.launch.presets import Preset, names

BARE = doctor.Machine(gpus=0, modules=frozenset(), linux=True)
FULL = doctor.Machine(gpus=2, modules=frozenset({"deepspeed", "transformers"}), linux=True)


def obstacles(machine: doctor.Machine) -> dict[str, str]:
    found = {name: doctor.obstacle(Preset.named(name), machine) for name in names()}
    return {name: reason for name, reason in found.items() if reason}


def test_a_full_machine_runs_every_preset():
    assert obstacles(FULL) == {}


def test_a_bare_machine_runs_the_presets_of_the_cpu():
    found = obstacles(BARE)
    assert set(names()) - set(found) == {"cpu", "cpu-2"}
    assert found["ddp"] == "no GPU that torch can use"
    assert 'pip install "shared-core[deepspeed]"' in found["zero2"]


def test_deepspeed_needs_linux_and_its_modules():
    cpu = replace(FULL, gpus=0)
    assert set(obstacles(cpu)) == {"gpu", "ddp", "fsdp2", "multi-node"}
    assert obstacles(replace(cpu, linux=False))["zero1"] == "DeepSpeed runs on Linux"
    assert "no transformers" in obstacles(replace(cpu, modules=frozenset({"deepspeed"})))["zero3"]


@pytest.mark.parametrize(("require", "status"), [(None, 0), ("cpu", 0), ("zero2", 1)])
def test_a_required_preset_decides_the_status(monkeypatch, capsys, require, status):
    monkeypatch.setattr(doctor.Machine, "here", classmethod(lambda cls: BARE))
    assert doctor.command(DoctorConfig(require=require, json=True)) == status
    report = json.loads(capsys.readouterr().out)
    assert set(report["presets"]) == set(names())
    assert report["presets"]["zero2"]["obstacle"]
    assert report["presets"]["cpu"]["obstacle"] is None


def test_the_tables_name_every_preset_and_every_extra(capsys):
    assert doctor.command(DoctorConfig()) == 0
    printed = capsys.readouterr().out
    for name in [*names(), *(extra.name for extra in doctor.extras())]:
        assert name in printed


def test_an_extra_that_is_missing_comes_with_its_install_line(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "h5py" else "1")
    missing = {extra.name: extra for extra in doctor.extras() if extra.missing}
    assert set(missing) == {"features"}
    assert missing["features"].install == 'pip install "shared-core[features]"'


def test_the_record_of_a_run_names_no_person_host_or_path():
    text = json.dumps(environment())
    assert str(platform.python_version()) in text
    for private in (platform.node(), str(Path.home()), str(Path.cwd())):
        assert private not in text
    if len(getpass.getuser()) > 4:  # shorter ones are parts of words
        assert getpass.getuser() not in text
