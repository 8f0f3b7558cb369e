"""The Accelerator has what was asked for, or there is none."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from shared_core.errors import LaunchError
from shared_core.launch.accelerator import accelerator, deepspeed_config, fsdp_plugin
from shared_core.launch.presets import Preset, preset_path
from shared_core.testing.processes import Child

TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR")


@dataclass(frozen=True, kw_only=True)
class Settings:
    launch: str | None = None
    processes: int | None = None
    precision: str = "fp32"
    device: str = "cpu"
    batch_size: int = 8
    accumulate: int = 1
    clip_norm: float | None = 5.0
    compile: bool = False
    threads: int | None = None


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """As in a plain process: nobody has told anything. accelerate writes into the environment."""
    for name in list(os.environ):
        if name in TOLD or name.startswith(("ACCELERATE_", "SHARED_CORE_", "FSDP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


def test_one_process_has_what_the_settings_say(monkeypatch):
    before = torch.get_num_threads()
    # `accelerate launch` would overrule a plain argument by this.
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    try:
        connected = accelerator(Settings(accumulate=3, threads=1))
        assert connected.num_processes == 1
        assert connected.device.type == "cpu"
        assert connected.gradient_accumulation_steps == 3
        assert connected.mixed_precision == "no"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_second_run_in_the_same_process_may_have_another_precision():
    assert accelerator(Settings()).mixed_precision == "no"
    assert accelerator(Settings(precision="bf16")).mixed_precision == "bf16"
    assert accelerator(Settings()).mixed_precision == "no"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(processes=2), "asked for 2 connected processes, found 1"),
        (Settings(launch="cpu-2"), "asked for 2 connected processes, found 1"),
        (Settings(launch="zero2", processes=1), "needs processes that are started for it"),
        (Settings(launch="cpu", processes=2), "--launch cpu is one process"),
        (Settings(launch="gpu"), "needs a GPU"),
        (Settings(launch="ddp"), "needs a GPU"),
        (Settings(launch="cpu", device="cuda"), "--device cuda is asked for"),
        (Settings(precision="fp16"), "fp16 needs a GPU"),
        (Settings(launch="zero9"), "Did you mean 'zero"),
    ],
)
def test_what_is_not_there_is_refused(settings, message):
    with pytest.raises(LaunchError, match=message) as refused:
        accelerator(settings)
    assert refused.value.exit_status == 2


@pytest.mark.parametrize(
    ("told", "settings", "message"),
    [
        # What `accelerate launch --cpu --num_processes 2` tells the one process it starts.
        (
            {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
            Settings(),
            "asked for several processes .* and runs one",
        ),
        ({}, Settings(processes=2), "asked for 2 connected processes, found 1"),
        ({"WORLD_SIZE": "4", "RANK": "0"}, Settings(processes=2), "asked for 2 .* found 4"),
        ({"WORLD_SIZE": "4", "RANK": "0"}, Settings(launch="cpu-2"), "asked for 2 .* found 4"),
        ({"ACCELERATE_USE_CPU": "True"}, Settings(device="cuda"), "--device cuda is asked for"),
        (
            {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
            Settings(launch="zero3"),
            "zero3 is asked for, accelerate launch runs DeepSpeed ZeRO-2",
        ),
        (
            {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
            Settings(launch="cpu"),
            "cpu is asked for, accelerate launch runs DeepSpeed ZeRO-2",
        ),
        ({}, Settings(launch="fsdp2"), "fsdp2 is asked for, accelerate launch runs no sharding"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, Settings(), "Say --precision bf16"),
        (
            {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
            Settings(accumulate=2),
            "Say --accumulate 4",
        ),
        ({"ACCELERATE_GRADIENT_CLIPPING": "1.0"}, Settings(), "Say --clip-norm 1.0"),
    ],
)
def test_inside_accelerate_launch_another_wish_is_refused(monkeypatch, told, settings, message):
    for name, value in {"ACCELERATE_MIXED_PRECISION": "no", **told}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=message):
        accelerator(settings)


def test_deepspeed_is_configured_by_the_settings():
    settings = Settings(batch_size=10, accumulate=2, clip_norm=None, precision="bf16")
    config = deepspeed_config(settings, Preset.named("zero3"), 2)
    assert config["zero_optimization"]["stage"] == 3
    assert config["train_micro_batch_size_per_gpu"] == 3  # 10 items over 4 shares, filled up
    assert config["gradient_accumulation_steps"] == 2
    assert config["gradient_clipping"] == 0.0
    assert config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert "torch_autocast" not in deepspeed_config(Settings(), Preset.named("zero2"), 2)


def test_the_fsdp2_preset_is_valid():
    plugin = fsdp_plugin(Preset.named("fsdp2"))
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.min_num_params == 1_000_000
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"


# --- the real `accelerate launch` -----------------------------------------------------------------

LAUNCHED = '''
"""A train command in miniature: connects, sums the ranks, reports."""
import sys
import torch
from shared_core.errors import UserError
from shared_core.launch.accelerator import accelerator
from shared_core.testing.processes import load_module
from pathlib import Path

Settings = load_module(Path(sys.argv[1])).Settings
launch, processes = sys.argv[2:]
asked = Settings(launch=launch or None, processes=int(processes) if processes else None)
try:
    connected = accelerator(asked)
except UserError as error:
    print("refused:", error, flush=True)
    sys.exit(error.exit_status)
ranks = connected.reduce(torch.tensor([connected.process_index + 1.0]), "sum")
kind = connected.distributed_type.value
print(f"{kind} connected {connected.num_processes} sum {ranks.item():g}", flush=True)
connected.end_training()
'''


def under_accelerate(folder: Path, *flags: str | Path, launch: str = "", processes: str = ""):
    (folder / "launched.py").write_text(LAUNCHED)
    command = ["python", "-m", "accelerate.commands.launch", *flags, "-m", "launched"]
    return Child([*command, __file__, launch, processes], folder=folder)


@pytest.mark.slow
def test_the_trap_of_the_cpu_flag_is_refused(tmp_path):
    """accelerate runs one process there, without a word."""
    with under_accelerate(tmp_path, "--cpu", "--num_processes", "2") as child:
        assert child.wait(200) == 1  # accelerate hides our 2
        assert child.output.count("refused: accelerate launch was asked for several") == 1


@pytest.mark.slow
def test_the_trap_of_unconnected_processes_is_avoided(tmp_path):
    """MULTI_GPU with use_cpu, where a plain Accelerator() leaves two processes alone."""
    with under_accelerate(tmp_path, "--config_file", preset_path("cpu-2")) as child:
        assert child.wait(200) == 0, child.output
        assert child.output.count("connected 2 sum 3") == 2


@pytest.mark.slow
@pytest.mark.deepspeed
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra deepspeed is missing"
)
def test_the_file_of_zero2_connects_processes_on_the_cpu(tmp_path):
    flags = ("--config_file", preset_path("zero2"), "--num_processes", "2")
    with under_accelerate(tmp_path, *flags, launch="zero2", processes="2") as child:
        assert child.wait(280) == 0, child.output
        assert child.output.count("DEEPSPEED connected 2 sum 3") == 2


@pytest.mark.slow
def test_equal_wishes_pass_inside_accelerate_launch_and_others_do_not(tmp_path):
    flags = ("--config_file", preset_path("cpu-2"))
    with under_accelerate(tmp_path, *flags, launch="cpu-2", processes="2") as child:
        assert child.wait(200) == 0, child.output
        assert child.output.count("connected 2 sum 3") == 2
    with under_accelerate(tmp_path, *flags, processes="3") as child:
        assert child.wait(200) != 0
        assert "refused: asked for 3 connected processes, found 2" in child.output
