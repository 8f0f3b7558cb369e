"""A page to try a network in the browser: a picture or video, and where the people in it look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gaze_da import synthetic
from gaze_da.config import DemoConfig, PredictConfig
from gaze_da.model.network import GazeModel
from gaze_da.predict.sources import Sources
from gaze_da.predict.writing import COLUMNS, Files, rows_of, write
from shared_core.data.images import SUFFIXES
from shared_core.data.tables import write_csv
from shared_core.files import VIDEO_SUFFIXES
from shared_core.launch.devices import chosen_device
from shared_core.serving.parts import Example, Output, Page, Service, Words

NOBODY = "No face was found. Give the head boxes, or take a picture with larger faces."


def service(checkpoint: str, config: DemoConfig) -> Service:
    """What the page of a network takes and shows.

    Raises:
        CheckpointError: nothing is there, it is damaged, or it holds another model.
    """
    device = chosen_device(config.device)
    model = GazeModel.from_pretrained(checkpoint, device=device)

    def sources(source: Path, out: Path, heads: str) -> Sources:
        head = tuple(heads.split())
        asked = PredictConfig(
            sources=(source,), checkpoint=checkpoint, out=out, head=head, device=config.device
        )
        return Sources(asked, model)

    def answer(source: Path, out: Path, *, heads: str) -> Mapping[str, Any]:
        files = Files(source, out / source.stem)
        write(files, sources(source, out, heads), {})
        return _shown(files, list(rows_of(files)))

    return Service(
        title="Where people look",
        about="Finds the people in a picture or video, and says for each where they look: a heat map of the "
        "target, and how probable it is that the target is in the picture at all.",
        paper="After Tonini, Beyan and Ricci, Multimodal Across Domains Gaze Target Detection, ICMI 2022, "
        "doi 10.1145/3536221.3556624",
        takes="picture or video",
        suffixes=SUFFIXES | VIDEO_SUFFIXES,
        controls=(
            Words(
                name="heads",
                label="Head boxes",
                placeholder="found by a detector",
                info="x0,y0,x1,y1 in pixels, a space between two people; of a video, for all its frames",
            ),
        ),
        outputs=(
            Output(name="note", kind="note", label="Mind"),
            Output(name="picture", kind="picture", label="Head, line of gaze and heat map"),
            Output(name="video", kind="video", label="Head, line of gaze and heat map"),
            Output(
                name="people", kind="table", label="Fractions of the picture; degrees, 90 is down"
            ),
            Output(name="files", kind="files", label="A row for each person and frame (CSV)"),
        ),
        answer=answer,
        notes=tuple(sources(Path(), Path(), "").notes),
        device=device,
        examples=_examples,
    )


def _shown(files: Files, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    overlay, table = files.overlay, files.json.with_suffix(".csv")
    write_csv(table, COLUMNS, rows)
    first = [row for row in rows if row["frame"] == rows[0]["frame"]]
    return {
        "note": "" if rows else NOBODY,
        "video" if overlay.suffix == ".mp4" else "picture": overlay,
        "people": [_row(row) for row in first],
        "files": [table],
    }


def _row(row: Mapping[str, Any]) -> dict[str, object]:
    """A person of the first frame that shows any, as the page's table has it."""
    return {
        "person": row["person"],
        "inside": "not known" if row["inside"] is None else f"{row['inside']:.3f}",
        "looks at x": f"{row['x']:.3f}",
        "y": f"{row['y']:.3f}",
        "angle": f"{row['angle']:.1f}",
    }


def _examples(folder: Path) -> Sequence[Example]:
    """Drawn people, whose heads no detector of faces would find."""
    made = []
    for number in range(3):
        draw = np.random.default_rng((7, number))
        scene = synthetic.compose(draw)
        path = folder / f"drawn-{number}.png"
        Image.fromarray(synthetic.render(scene, "flat", draw)[0]).save(path)
        boxes = (",".join(f"{v:.0f}" for v in person.head_px) for person in scene.people)
        made.append(Example(path=path, values={"heads": " ".join(boxes)}))
    return made


PAGE = Page(
    program="gaze-da",
    service=service,
    runs="run/*",
    taught=(
        "This network was taught by the demo, on drawings of 160 by 120 pixels: on photographs "
        "its answers mean nothing."
    ),
)
