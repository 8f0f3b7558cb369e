"""The shipped presets: valid for accelerate, and read the same by us."""

from typing import get_args

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from shared_core.errors import LaunchError
from shared_core.launch.config import PresetName
from shared_core.launch.presets import Preset, names, preset_path, processes_asked

WANTED = {"cpu", "cpu-2", "gpu", "ddp", "fsdp2", "zero1", "zero2", "zero3", "multi-node"}


def test_the_presets_are_those_that_doctor_offers():
    assert set(names()) == set(get_args(PresetName)) == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_accelerate_reads_every_preset_as_we_do(name):
    theirs = load_config_from_file(str(preset_path(name)))
    ours = Preset.named(name)
    kind = {"none": {"NO", "MULTI_GPU"}, "fsdp": {"FSDP"}, "deepspeed": {"DEEPSPEED"}}
    assert theirs.distributed_type.value in kind[ours.sharding]
    assert theirs.num_processes == (ours.processes or -1)
    assert theirs.num_machines == ours.machines
    assert theirs.use_cpu == ours.use_cpu
    assert theirs.deepspeed_config.get("zero_stage") == ours.zero_stage


def test_only_the_presets_of_the_cpu_and_deepspeed_run_without_a_gpu():
    without = {name for name in names() if not Preset.named(name).needs_gpu}
    assert without == {"cpu", "cpu-2", "zero1", "zero2", "zero3"}


def test_a_preset_of_a_fixed_number_takes_no_other():
    assert processes_asked(Preset.named("cpu-2"), None) == 2
    assert processes_asked(Preset.named("cpu-2"), 2) == 2
    assert processes_asked(Preset.named("zero2"), 3) == 3
    assert processes_asked(Preset.named("zero2"), None) is None
    assert processes_asked(None, None) is None
    with pytest.raises(LaunchError, match="--launch cpu-2 is 2 processes, --processes asks for 3"):
        processes_asked(Preset.named("cpu-2"), 3)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(LaunchError, match="Did you mean 'zero2'"):
        Preset.named("zero-2")
