"""The files of each source, and its place in the report."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gaze_da.config import PredictConfig
from gaze_da.overlay import drawn
from gaze_da.predict.sources import Seen, Sources, is_video
from shared_core.data.atomic import replacing
from shared_core.data.images import open_picture
from shared_core.data.tables import read_json, write_json
from shared_core.data.video import VideoWriter, probe
from shared_core.predicting import DEPENDS_ON, is_finished
from shared_core.reporting.page import MEDIA_TYPES, Page

LARGEST_IN_REPORT = 960
"""Pixels of the longer side of a picture in the report, so that a page of many pictures opens."""

COLUMNS = (
    "source", "frame", "time_s", "person", "x0", "y0", "x1", "y1", "x", "y", "inside", "angle"
)  # fmt: skip
"""Of the table of all people in all sources."""


@dataclass(frozen=True)
class Files:
    """The files about a source.

    Attributes:
        source: a picture or video.
        begin: folder, and what their names begin with (see `shared_core.predicting.beginnings`).
    """

    source: Path
    begin: Path

    @property
    def json(self) -> Path:
        """What was seen in each frame."""
        return Path(f"{self.begin}.json")

    @property
    def overlay(self) -> Path:
        """The picture or video with what was seen drawn into it."""
        return Path(f"{self.begin}_gaze{'.mp4' if is_video(self.source) else '.jpg'}")


def is_written(files: Files, depends_on: Mapping[str, Any], config: PredictConfig) -> bool:
    """Whether the files of a source are there already, made of the same things."""
    overlay_lacks = config.overlay and not files.overlay.is_file()
    return not overlay_lacks and is_finished(files.json, depends_on)


def write(files: Files, sources: Sources, depends_on: Mapping[str, Any]) -> int:
    """Look at a source and write its overlay, then its JSON: its presence says that the source is finished.

    Returns:
        How many people were seen.
    """
    source, config = files.source, sources.config
    if is_video(source):
        seen = _write_video(files, sources)
    else:
        of_picture, image = sources.picture(source)
        seen = [of_picture]
        if config.overlay:
            picture = drawn(np.asarray(image), of_picture.people)
            with replacing(files.overlay) as temporary:
                Image.fromarray(picture).save(temporary, "JPEG", quality=92)
    write_json(
        files.json,
        {
            "source": source.name,
            "notes": sources.notes,
            DEPENDS_ON: depends_on,
            "frames": [one.to_json() for one in seen],
        },
    )
    return len({person.person for one in seen for person in one.people})


def _write_video(files: Files, sources: Sources) -> list[Seen]:
    source = files.source
    seen: list[Seen] = []
    if not sources.config.overlay:
        return [found for _, found in sources.video(source) if found is not None]
    # Of a file without moving pictures, `frames` says so.
    rate = next((stream.rate for stream in probe(source).video), 1.0)
    with VideoWriter(files.overlay, rate=rate) as writer:
        for frame, found in sources.video(source):
            if found is not None:
                # Only the frames to come need a heat map; a long video has many.
                seen[-1:] = [_without_heatmaps(one) for one in seen[-1:]]
                seen.append(found)
            writer.write(drawn(frame.image, seen[-1].people), frame.time_s)
    seen[-1:] = [_without_heatmaps(one) for one in seen[-1:]]
    return seen


def _without_heatmaps(seen: Seen) -> Seen:
    nothing = np.zeros((0, 0), np.float32)
    people = [replace(person, heatmap=nothing) for person in seen.people]
    return replace(seen, people=people)


def rows_of(files: Files) -> Iterator[dict[str, Any]]:
    """Rows of the table, one for each person in each frame, by the names in `COLUMNS`."""
    for frame in read_json(files.json)["frames"]:
        for person in frame["people"]:
            numbers = dict(zip(("x0", "y0", "x1", "y1"), person["box"], strict=True))
            x, y = person["point"]
            yield {
                "source": files.source.name,
                "frame": frame["frame"],
                "time_s": frame["time_s"],
                **{key: person[key] for key in ("person", "inside", "angle")},
                **numbers,
                "x": x,
                "y": y,
            }


def show(page: Page, files: Files, config: PredictConfig) -> None:
    """Add a finished source to the report, from its files."""
    source, overlay = files.source, files.overlay
    content = read_json(files.json)
    section = page.section(source.name)
    if config.overlay and not is_video(source):
        section.picture(_reduced(overlay), MEDIA_TYPES[".jpg"], alt=f"gaze in {source.name}")
    elif config.overlay:
        section.link(overlay.name, overlay.name)
    first = content["frames"][0]["people"] if content["frames"] else []
    if not is_video(source):
        section.table(
            ["person", "looks at x", "y", "inside", "angle"],
            [[p["person"], *p["point"], p["inside"], p["angle"]] for p in first],
            caption="Fractions of the picture; degrees, 0 to the right, 90 down.",
        )


def _reduced(overlay: Path) -> bytes:
    """The bytes of an overlay as the report shows it."""
    picture = open_picture(overlay)
    if max(picture.size) <= LARGEST_IN_REPORT:
        return overlay.read_bytes()
    picture.thumbnail((LARGEST_IN_REPORT, LARGEST_IN_REPORT))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return content.getvalue()
