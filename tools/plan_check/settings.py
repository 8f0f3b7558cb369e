"""A small training of each package, large enough that Python's own part of it is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

UPDATES = 14
"""Of a training's epoch, or a little more."""

_ALONE = {
    "trackers": (),
    "threads": 1,
    "log_every": 1,
    "keep_last": 1,
    "device": "cpu",
    "epochs": 1,
}


def setting(program: str, folder: Path) -> tuple[Any, int]:
    """The settings of a program's training in an empty folder, and the items of its epoch."""
    config = _SETTINGS[program]({**_ALONE, "run": folder / "run"}, folder)
    return config, UPDATES * config.batch_size


def _abaw_va(usual: dict[str, Any], folder: Path) -> Any:
    from abaw_va.config import TrainConfig, Transformer

    model = Transformer(layers=2, ffn_width=8192, chunk_length=50)
    return TrainConfig(data=folder, model=model, batch_size=4, **usual)


def _gaze_da(usual: dict[str, Any], folder: Path) -> Any:
    from gaze_da.config import Network, TrainConfig

    layers = {f"{part}_layers": (1, 1, 1, 1, 1) for part in ("scene", "depth", "face")}
    return TrainConfig(
        source_dataset_dir=folder,
        target_dataset_dir=folder,
        network=Network(width=16, input_size=128, output_size=40, **layers),
        head_da=True,
        rgb_depth_da=True,
        test=False,
        batch_size=6,
        **usual,
    )


def _asal_vrvqa(usual: dict[str, Any], folder: Path) -> Any:
    from asal_vrvqa.config import Network, TrainConfig

    network = Network(parts=2, channels=24, height=64, width=128)
    return TrainConfig(labels=folder, frames=folder, network=network, batch_size=4, **usual)


def _adaglimpse(usual: dict[str, Any], folder: Path) -> Any:
    from adaglimpse.config import TrainConfig

    return TrainConfig(
        data_dir=folder,
        image_size=(96, 96),
        backbone_size="tiny",
        backbone_training_type="constant",
        num_glimpses=3,
        rl_batch_size=16,
        replay_buffer_size=2000,
        batch_size=8,
        **usual,
    )


def _refine_iqa(usual: dict[str, Any], folder: Path) -> Any:
    from refine_iqa.config import TrainConfig
    from refine_iqa.model.tiny import build

    return TrainConfig(
        model=str(build(folder / "model", width=256, layers=4)),
        data=(folder,),
        num_generations=4,
        max_completion_length=16,
        max_pixels=3136,
        batch_size=2,
        **usual,
    )


_SETTINGS = {
    "abaw-va": _abaw_va,
    "gaze-da": _gaze_da,
    "asal-vrvqa": _asal_vrvqa,
    "adaglimpse": _adaglimpse,
    "refine-iqa": _refine_iqa,
}
