"""A page to try a network in the browser: a video, and its curves of valence and arousal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abaw_va import synthetic
from abaw_va.config import DemoConfig, Perception
from abaw_va.data.layout import TARGETS
from abaw_va.model.network import VaModel
from abaw_va.overlay import write_overlay
from abaw_va.perception import Perceiver
from abaw_va.predict import COLUMNS, VideoPrediction, figure, predict
from shared_core.data.faces import Person
from shared_core.data.tables import write_csv
from shared_core.files import VIDEO_SUFFIXES
from shared_core.launch.devices import chosen_device
from shared_core.serving.parts import Choice, Example, Output, Page, Service
from shared_core.testing.media import write_media

MEANT = (
    "It estimates how a face and a voice appear to others, not what a person feels; it must not be the "
    "ground for decisions about people."
)


def service(checkpoint: str, config: DemoConfig) -> Service:
    """What the page of a network takes and shows.

    Raises:
        CheckpointError: nothing is there, it is damaged, or it holds another model.
        UsageError: a feature needs weights that were not given.
    """
    device = chosen_device(config.device)
    model = VaModel.from_pretrained(checkpoint, device=device)
    perceive = Perceiver(Perception(weights=config.weights), model.config.features, device)

    def answer(video: Path, out: Path, *, person: Person) -> Mapping[str, Any]:
        found = predict([model], video, perceive=lambda path: perceive(path, person=person))
        return _shown(video, found, out)

    return Service(
        title="Valence and arousal",
        about="Reads from a face and a voice, frame by frame, how pleasant (valence) and how excited "
        "(arousal) a person appears, each from -1 to 1.",
        paper="After Meng et al., Multi-modal Emotion Estimation for in-the-wild Videos, "
        "arXiv 2203.13032, 2022",
        takes="video",
        suffixes=VIDEO_SUFFIXES,
        controls=(
            Choice(
                name="person",
                label="Whose face",
                choices=("largest", "left", "right"),
                info="where several people are seen",
            ),
        ),
        outputs=(
            Output(name="means", kind="facts", label="Over the whole video"),
            Output(name="curves", kind="figure", label="Over time"),
            Output(name="overlay", kind="video", label="The video with its curves"),
            Output(name="files", kind="files", label="A row for each frame (CSV)"),
        ),
        answer=answer,
        notes=(MEANT,),
        device=device,
        examples=_examples,
    )


def _shown(video: Path, found: VideoPrediction, out: Path) -> Mapping[str, Any]:
    overlay, table = out / f"{video.stem}_curves.mp4", out / f"{video.stem}.csv"
    write_overlay(video, found, overlay)
    write_csv(table, COLUMNS, found.rows())
    means = {
        f"mean {target}": f"{np.mean(values):+.3f}"
        for target, values in zip(TARGETS, found.values.T, strict=True)
        if not np.isnan(values).all()
    }
    return {
        "means": {
            **means,
            "frames": len(found.times_s),
            "with a face": f"{found.face.mean():.0%}" if found.looked else "not looked for",
            "sound": "yes" if found.audio.any() else "none",
        },
        "curves": figure(found),
        "overlay": overlay,
        "files": [table],
    }


def _examples(folder: Path) -> Sequence[Example]:
    """A drawn face that moves, with its voice."""
    clip = synthetic.clip(seed=7, number=0, seconds=4.0)
    path = folder / "drawn-face.mp4"
    # Browsers play AAC in an MP4; the voice was drawn at 16 kHz.
    write_media(
        path, clip.frames, fps=synthetic.FRAME_RATE, sound=[(0.0, clip.sound)],
        rate=synthetic.SOUND_RATE, audio_codec="aac",
    )  # fmt: skip
    return [Example(path=path)]


PAGE = Page(
    program="abaw-va",
    service=service,
    runs="run/seed-*",
    taught=(
        "This network was taught by the demo, on drawn faces and voices: of films its numbers "
        "mean nothing."
    ),
)
