"""A page to try a model in the browser: a picture or video, and where the model looked in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from adaglimpse import synthetic
from adaglimpse.config import DemoConfig
from adaglimpse.drawing import animation, grid_picture, write_gif
from adaglimpse.model.network import GlimpseModel
from adaglimpse.predict import Prediction, predict
from adaglimpse.predict.writing import story_of, write_png
from shared_core.data.images import SUFFIXES
from shared_core.files import VIDEO_SUFFIXES
from shared_core.launch.devices import chosen_device
from shared_core.serving.parts import Example, Number, Output, Page, Service

SHOWN = 8
"""Frames of a video whose glimpses are drawn."""


def service(checkpoint: str, config: DemoConfig) -> Service:
    """What the page of a model takes and shows.

    Raises:
        CheckpointError: nothing is there, it is damaged, or it holds another model.
    """
    device = chosen_device(config.device)
    model = GlimpseModel.from_pretrained(checkpoint, device=device)
    return Service(
        title="Where a model looks",
        about="Looks at a picture through a few small glimpses, chooses the place and scale of each by "
        "what it has seen so far, and says after every one what it takes the picture for.",
        paper="After Pardyl et al., AdaGlimpse: Active Visual Exploration with Arbitrary Glimpse Position "
        "and Scale, ECCV 2024, arXiv 2404.03482",
        takes="picture or video",
        suffixes=SUFFIXES | VIDEO_SUFFIXES,
        controls=(
            Number(
                name="glimpses",
                label="Glimpses",
                value=model.config.num_glimpses,
                low=1,
                high=max(24, model.config.num_glimpses),
                info=f"it was taught with {model.config.num_glimpses}",
            ),
            Number(
                name="every",
                label="Of a video, look at every so many frames",
                value=30,
                low=1,
                high=300,
            ),
        ),
        outputs=(
            Output(name="note", kind="note", label="Mind"),
            Output(name="said", kind="facts", label="After the last glimpse"),
            Output(name="moving", kind="picture", label="Glimpse by glimpse"),
            Output(name="steps", kind="pictures", label="All steps"),
            Output(name="table", kind="table", label="What was said"),
        ),
        answer=partial(_answer, model),
        device=device,
        examples=_examples,
    )


def _answer(
    model: GlimpseModel, source: Path, out: Path, *, glimpses: float, every: float
) -> Mapping[str, Any]:
    found = predict(model, [source], num_glimpses=int(glimpses), every=int(every))
    first, steps = found[0], []
    for number, prediction in enumerate(found[:SHOWN]):
        path = out / f"{number}.png"
        write_png(path, grid_picture(story_of(prediction)))
        steps.append((path, prediction.name))
    moving = out / f"{first.name}.gif"
    write_gif(moving, animation(story_of(first)))
    return {
        "note": first.note,
        "said": _said(first),
        "moving": moving,
        "steps": steps,
        "table": _rows(found),
    }


def _said(prediction: Prediction) -> dict[str, object]:
    """The last answer, with what else was likely."""
    last = prediction.steps
    if prediction.config.task == "reconstruction":
        return {"RMSE, levels of 255": f"{prediction.rmse(last):.2f}", "glimpses": last}
    shares = {name: f"{share:.1%}" for name, share in prediction.classes(last)}
    return {"answer": next(iter(shares), "none"), **shares, "glimpses": last}


def _rows(found: Sequence[Prediction]) -> list[dict[str, object]]:
    """A row for each step of each image; of a video, with its frame."""
    return [
        {
            **({} if prediction.frame is None else {"frame": prediction.frame}),
            "glimpses": step,
            "said": prediction.caption(step),
        }
        for prediction in found
        for step in range(prediction.steps + 1)
    ]


def _examples(folder: Path) -> Sequence[Example]:
    """Scenes that no model was taught on."""
    made = []
    for number in range(3):
        scene = synthetic.compose(number, part="val", size=64, seed=7, kind="near")
        path = folder / f"drawn-{scene.badge.mark}.png"
        Image.fromarray(scene.picture).save(path)
        made.append(Example(path=path))
    return made


PAGE = Page(
    program="adaglimpse",
    service=service,
    runs="run/*-[0-9]",
    taught=(
        "This model was taught by the demo, on drawn scenes of 64 by 64 pixels: of photographs "
        "its answers mean nothing."
    ),
)
