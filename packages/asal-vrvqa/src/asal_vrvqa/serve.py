"""A page to try a network in the browser: a 360-degree video, and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from asal_vrvqa import synthetic
from asal_vrvqa.config import DemoConfig
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.predict import Prediction, plot_of, predict
from shared_core.files import VIDEO_SUFFIXES
from shared_core.launch.devices import chosen_device
from shared_core.serving.parts import Choice, Example, Number, Output, Page, Service, Switch

SECONDS: Mapping[str, Literal[7, 15]] = {"7 s": 7, "15 s": 15}
"""How long viewers of the data set watched."""

SEVERITIES = (0.1, 0.9)
"""Of the drawn examples: a good one and a bad one."""


def service(checkpoint: str, config: DemoConfig) -> Service:
    """What the page of a network takes and shows.

    Raises:
        CheckpointError: nothing is there, it is damaged, or it holds another model.
    """
    device = chosen_device(config.device)
    model = QualityModel.from_pretrained(checkpoint, device=device).for_evaluation()

    def answer(
        video: Path, _out: Path, *, seconds: str, yaw: float, pitch: float, repeat_last: bool
    ) -> Mapping[str, Any]:
        return _shown(
            predict(
                model,
                video,
                seconds=SECONDS[seconds],
                yaw=yaw,
                pitch=pitch,
                repeat_last=repeat_last,
            )
        )

    return Service(
        title="Quality of 360-degree video",
        about="Scores a 360-degree (equirectangular) video as viewers in a headset would who begin to watch "
        "it in a given direction; higher is better.",
        paper="After Zhou et al., Adaptive Score Alignment Learning for Continual Perceptual Quality "
        "Assessment of 360-Degree Videos in Virtual Reality, IEEE TVCG 2025, arXiv 2502.19644",
        takes="video",
        suffixes=VIDEO_SUFFIXES,
        controls=(
            Choice(name="seconds", label="Viewing time", choices=tuple(SECONDS)),
            Number(
                name="yaw", label="Start direction: to the right", value=0, low=-180, high=180,
                info="degrees from the frame's middle",
            ),
            Number(
                name="pitch", label="Start direction: down", value=0, low=-90, high=90,
                info="degrees below the horizon",
            ),
            Switch(name="repeat_last", label="A video that is too short repeats its last frame"),
        ),
        outputs=(
            Output(name="note", kind="note", label="Mind"),
            Output(name="score", kind="facts", label="Score"),
            Output(name="frames", kind="figure", label="Frame by frame"),
        ),
        answer=answer,
        device=device,
        examples=_examples,
    )  # fmt: skip


def _shown(found: Prediction) -> Mapping[str, Any]:
    scale = found.scale
    facts = {
        "score": f"{found.score:.3f}",
        "95 % interval": f"{found.low:.3f} to {found.high:.3f}",
        "scale": f"{scale.name}, {scale.low:g} to {scale.high:g}",
    }
    if found.sigma is not None:
        facts["the regressor's own deviation"] = f"{found.sigma:.3g}"
    return {"note": found.note, "score": facts, "frames": plot_of(found.to_json())}


def _examples(folder: Path) -> Sequence[Example]:
    """A drawn panorama that is hardly distorted, and one that is badly."""
    made = []
    for severity in SEVERITIES:
        path = folder / f"drawn-severity-{severity:g}.mp4"
        synthetic.write_video(
            path, synthetic.KINDS[0], severity, height=128, width=256, seconds=8, rate=2, seed=7
        )
        made.append(Example(path=path))
    return made


PAGE = Page(
    program="asal-vrvqa",
    service=service,
    runs="run/asal-*",
    taught=(
        "This network was taught by the demo, on drawn panoramas and how much they were distorted: of real "
        "videos its scores mean nothing."
    ),
)
