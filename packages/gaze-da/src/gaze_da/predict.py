"""Where the people in a user's own pictures and videos look."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor

from gaze_da.config import PredictConfig
from gaze_da.data.pictures import depth_colours, depth_picture, face, read_depth, shrunk
from gaze_da.data.views import normalised
from gaze_da.depth_models import DepthModel
from gaze_da.heads import Head, HeadTable, Unit, from_texts, head_from_face, in_pixels
from gaze_da.method.boxes import Box, Point, expanded
from gaze_da.method.targets import head_mask
from gaze_da.model.network import GazeModel
from gaze_da.model.views import Views
from gaze_da.overlay import drawn
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.data.face_detectors import detector
from shared_core.data.faces import Detector, follow_all
from shared_core.data.images import SUFFIXES, open_picture
from shared_core.data.tables import read_json, write_csv, write_json
from shared_core.data.video import Frame, VideoWriter, frames, probe
from shared_core.errors import DataError, NonFiniteError, UsageError, UserError
from shared_core.files import VIDEO_SUFFIXES, find_files
from shared_core.launch.devices import chosen_device
from shared_core.metrics.gaze import peak
from shared_core.predicting import (
    DEPENDS_ON,
    digest,
    each,
    is_finished,
    make_writable,
    refuse_equal_names,
)
from shared_core.reporting.page import MEDIA_TYPES, Page

FRAMES_AT_ONCE = 8
"""Frames of a video whose depth is worked out in one pass."""

UNTRAINED = "the model's in/out head was never trained: whether the target is inside is not known"
NO_DEPTH = "no depth was given: the network saw black instead, and predicts worse than it can"
DEPTH_UNUSED = "the model was trained without depth: the depth that was given is not used"

LARGEST_IN_REPORT = 960
"""Pixels of the longer side of a picture in the report, so that a page of many pictures opens."""

COLUMNS = (
    "source", "frame", "time_s", "person", "x0", "y0", "x1", "y1", "x", "y", "inside", "angle"
)  # fmt: skip
"""Of the table of all people in all sources."""


@dataclass(frozen=True, kw_only=True)
class GazePrediction:
    """Where one person looks.

    Attributes:
        person: who.
        box: head box, fractions of the picture.
        heatmap: what the network says of each cell, of any scale; the highest counts.
        point: middle of the highest cell, fractions of the picture.
        inside: probability that the target is in the picture; None where the model cannot say.
        angle: direction from the middle of the head to the point, degrees in pixels with y pointing
            down: 0 to the right, 90 down, in (-180, 180].
    """

    person: str
    box: Box
    heatmap: Float32[np.ndarray, "O O"]
    point: Point
    inside: float | None
    angle: float

    def to_json(self) -> dict[str, Any]:
        """Everything but the heat map."""
        angle = round(self.angle, 3)
        return {
            "person": self.person,
            "box": [round(float(value), 6) for value in self.box],
            "point": [round(float(value), 6) for value in self.point],
            "inside": None if self.inside is None else round(self.inside, 6),
            "angle": 180.0 if angle == -180.0 else angle,
        }


Depth = np.ndarray | DepthModel | Path | str | None


def predict(
    model: GazeModel,
    picture: Path | str | Image.Image | np.ndarray,
    heads: Sequence[Box | Head],
    *,
    units: Unit = "fractions",
    depth: Depth = None,
    batch_size: int = 16,
) -> list[GazePrediction]:
    """Where each person in a picture looks; the picture and its depth are prepared once for all.

    Args:
        model: in evaluation mode.
        picture: a file, or RGB pixels.
        heads: head boxes, in the order of the results.
        units: of the boxes.
        depth: a model, a file, or a map [height, width] in which larger is nearer; None: black.
        batch_size: people in a pass.

    Raises:
        DataError: a file is missing or damaged, a head box is empty or outside the picture, or the
            depth is not finite or no map.
        NonFiniteError: the network predicts a value that is not finite.
    """
    name = Path(picture) if isinstance(picture, Path | str) else Path("picture")
    image = _opened(picture)
    named = [h if isinstance(h, Head) else Head(person=str(n), box=h) for n, h in enumerate(heads)]
    placed = in_pixels(named, units, image.width, image.height, name)
    return _predicted(model, image, placed, _depth_map(depth, image, name), name, batch_size)


def _opened(picture: Path | str | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Path | str):
        return open_picture(picture)
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        found = f"{picture.dtype} {list(picture.shape)}"
        raise DataError("picture", found, expected="RGB pixels, uint8 [height, width, 3]")
    return Image.fromarray(picture)


def _depth_map(depth: Depth, image: Image.Image, name: Path) -> np.ndarray | None:
    """uint8 or uint16, larger is nearer."""
    if depth is None:
        return None
    if isinstance(depth, DepthModel):
        return depth_picture(depth([np.array(image)])[0])
    if isinstance(depth, Path | str):
        return read_depth(depth)
    if depth.ndim != 2:
        raise DataError(name, f"depth of shape {list(depth.shape)}", expected="[height, width]")
    if not np.isfinite(depth).all():
        raise DataError(name, "values that are not finite", expected="a depth map of numbers")
    return depth if depth.dtype in (np.uint8, np.uint16) else depth_picture(depth)


def _predicted(
    model: GazeModel,
    image: Image.Image,
    heads: Sequence[Head],
    depth: np.ndarray | None,
    name: Path,
    batch_size: int,
) -> list[GazePrediction]:
    if not heads:
        return []
    shared = _Picture.of(model, image, depth)
    found: list[GazePrediction] = []
    for first in range(0, len(heads), batch_size):
        some = heads[first : first + batch_size]
        heatmaps, inout = shared.look([head.box for head in some])
        if not (np.isfinite(heatmaps).all() and np.isfinite(inout).all()):
            raise NonFiniteError(f"{name}: the network predicts a value that is not finite.")
        points = peak(torch.from_numpy(heatmaps), centre=True).tolist()
        found += [
            _prediction(head, image, heatmap, (x, y), float(p) if shared.knows_inside else None)
            for head, heatmap, (x, y), p in zip(some, heatmaps, points, inout, strict=True)
        ]
    return found


def _prediction(
    head: Head, image: Image.Image, heatmap: np.ndarray, point: Point, inside: float | None
) -> GazePrediction:
    x0, y0, x1, y1 = head.box
    dx = point[0] * image.width - (x0 + x1) / 2
    dy = point[1] * image.height - (y0 + y1) / 2
    angle = math.degrees(math.atan2(dy, dx))
    width, height = image.size
    return GazePrediction(
        person=head.person,
        box=(x0 / width, y0 / height, x1 / width, y1 / height),
        heatmap=heatmap,
        point=point,
        inside=inside,
        angle=180.0 if angle == -180.0 else angle,
    )


@dataclass(frozen=True)
class _Picture:
    """A picture as the network sees it, before it is told whose gaze is asked for."""

    model: GazeModel
    image: Image.Image
    whole: Tensor
    depth: Tensor

    @classmethod
    def of(cls, model: GazeModel, image: Image.Image, depth: np.ndarray | None) -> _Picture:
        size = model.config.network.input_size
        device = next(model.parameters()).device
        colours = torch.zeros(3, size, size, dtype=torch.uint8)
        if depth is not None and model.config.reading.depth == "files":
            colours = depth_colours(depth, size)
        whole = normalised(shrunk(image, size)[None].to(device))
        return cls(model, image, whole, colours[None].to(device).float() / 255)

    @property
    def knows_inside(self) -> bool:
        return self.model.config.inout_trained

    @torch.inference_mode()
    def look(self, heads: Sequence[Box]) -> tuple[np.ndarray, np.ndarray]:
        """Heat maps [people, O, O] and probabilities of being inside [people]."""
        config, rows = self.model.config, len(heads)
        size, reading = config.network.input_size, config.reading
        boxes = [
            expanded(box, reading.head_expansion, symmetric=reading.symmetric_expansion)
            for box in heads
        ]
        width, height = self.image.size
        masks = np.stack([head_mask(box, width, height, size) for box in boxes])
        faces = torch.stack([face(self.image, box, size) for box in boxes])
        device = self.whole.device
        output = self.model(
            Views(
                images=self.whole.expand(rows, -1, -1, -1),
                depths=self.depth.expand(rows, -1, -1, -1),
                masks=torch.from_numpy(masks)[:, None].to(device).float(),
                faces=normalised(faces.to(device)),
            )
        )
        inside = output.inout[:, 0].float().sigmoid()
        return output.heatmaps[:, 0].float().cpu().numpy(), inside.cpu().numpy()


# --- the command ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What is written of a picture or of one frame."""

    frame: int
    time_s: float | None
    people: list[GazePrediction]

    def to_json(self) -> dict[str, Any]:
        people = [person.to_json() for person in self.people]
        return {"frame": self.frame, "time_s": self.time_s, "people": people}


class _Command:
    """What every source of one command shares."""

    def __init__(self, config: PredictConfig, model: GazeModel) -> None:
        self.config = config
        self.model = model.for_evaluation()
        self.notes = [] if model.config.inout_trained else [UNTRAINED]
        self.table = HeadTable(config.heads) if config.heads is not None else None
        self.given = from_texts(config.head)
        self.detector: Detector | None = None
        if self.table is None and not self.given:
            self.detector = detector(config.detector, config.detector_weights)
        self.reads_depth = model.config.reading.depth == "files"
        self.depth_model = None
        if config.depth_model is not None and self.reads_depth:
            device = chosen_device(config.device)
            self.depth_model = DepthModel(
                config.depth_model, revision=config.depth_revision, device=device
            )
        given = config.depth_model is not None or config.depth_files is not None
        if given != self.reads_depth:
            self.notes.append(DEPTH_UNUSED if given else NO_DEPTH)
        self._network = digest(model)

    def depends_on(self, source: Path) -> dict[str, Any]:
        config, depth_file = self.config, self._depth_file(source)
        return {
            "bytes": source.stat().st_size,
            "network": self._network,
            "heads": config.heads and _stamp(config.heads),
            "head": list(config.head),
            "units": config.units,
            "detector": None if self.detector is None else config.detector,
            "detector_weights": config.detector_weights and str(config.detector_weights),
            "detect_every": config.detect_every,
            "every": config.every,
            "depth": None if self.depth_model is None else self.depth_model.name,
            "depth_file": depth_file and _stamp(depth_file),
        }

    def picture(self, source: Path) -> tuple[_Seen, Image.Image]:
        image = open_picture(source)
        depth = _depth_map(self.depth_model or self._depth_file(source), image, source)
        heads = self._heads(source, 0, image.size, np.asarray(image))
        return _Seen(0, None, self._look(image, heads, depth, source)), image

    def video(self, source: Path) -> Iterator[tuple[Frame, _Seen | None]]:
        """Every frame, and what is seen in each that is looked at."""
        followed = self._followed(source)
        while batch := list(islice(followed, FRAMES_AT_ONCE)):
            asked = [frame for frame, _ in batch if frame.index % self.config.every == 0]
            depths: dict[int, np.ndarray] = {}
            if self.depth_model is not None and asked:
                maps = self.depth_model([frame.image for frame in asked])
                depths = {f.index: depth_picture(m) for f, m in zip(asked, maps, strict=True)}
            for frame, heads in batch:
                if frame.index % self.config.every:
                    yield frame, None
                    continue
                image = Image.fromarray(frame.image)
                people = self._look(image, heads, depths.get(frame.index), source)
                yield frame, _Seen(frame.index, frame.time_s, people)

    def _followed(self, source: Path) -> Iterator[tuple[Frame, list[Head]]]:
        if self.detector is None:
            for frame in frames(source):
                height, width = frame.image.shape[:2]
                yield frame, self._heads(source, frame.index, (width, height), frame.image)
            return
        for frame, faces in follow_all(
            frames(source), self.detector, every=self.config.detect_every
        ):
            height, width = frame.image.shape[:2]
            heads = [
                Head(person=str(number), box=head_from_face(found.box))
                for number, found in faces.items()
            ]
            yield frame, in_pixels(heads, "fractions", width, height, source)

    def _heads(
        self, source: Path, frame: int, size: tuple[int, int], image: np.ndarray
    ) -> list[Head]:
        if self.detector is not None:
            found = sorted(self.detector(image), key=lambda one: one.middle)
            heads = [
                Head(person=str(number), box=head_from_face(one.box))
                for number, one in enumerate(found)
            ]
            return in_pixels(heads, "fractions", *size, source)
        units = self.config.units
        if self.table is None:
            return in_pixels(self.given, units, *size, source)
        of_file: Unit = "pixels" if self.table.from_keypoints else units
        return in_pixels(self.table.of(source, frame), of_file, *size, source)

    def _look(
        self, image: Image.Image, heads: list[Head], depth: np.ndarray | None, source: Path
    ) -> list[GazePrediction]:
        return _predicted(self.model, image, heads, depth, source, self.config.batch_size)

    def _depth_file(self, source: Path) -> Path | None:
        if self.config.depth_files is None or not self.reads_depth:
            return None
        if _is_video(source):
            raise DataError(
                source,
                "a video",
                expected="a picture, for files hold the depth of one picture each",
                remedy="Predict videos with --depth-model, or without depth.",
            )
        for suffix in (source.suffix, ".png", ".jpg"):
            candidate = self.config.depth_files / f"{source.stem}{suffix}"
            if candidate.is_file():
                return candidate
        raise DataError(
            self.config.depth_files / f"{source.stem}.png",
            "there is no such file",
            expected=f"the depth of {source.name}",
        )


def _stamp(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def command(config: PredictConfig) -> int:
    """`gaze-da predict`: every source by itself; one that fails does not stop the others."""
    sources = find_files(config.sources, SUFFIXES | VIDEO_SUFFIXES, "picture or video")
    refuse_equal_names(sources)
    if config.head and len(sources) > 1:
        raise UsageError("--head: boxes on the command line are for a single source.")
    make_writable(config.out)
    model = GazeModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    shared = _Command(config, model)
    if shared.table is not None and not any(map(shared.table.knows, sources)):
        raise DataError(
            shared.table.path,
            f"none of {len(sources)} (such as {sources[0].name})",
            expected="head boxes of the pictures and videos that were named",
        )
    for note in shared.notes:
        say(f"NOTE: {note}")
    page = Page("Where people look", config.checkpoint)
    if shared.notes:
        page.section("Mind").note("; ".join(shared.notes), warning=True)
    rows: list[dict[str, Any]] = []

    def work(source: Path, name: str) -> None:
        depends_on = shared.depends_on(source)
        if is_finished(_json_path(source, config), depends_on) and _overlay_is_there(
            source, config
        ):
            say(f"{name}: there already")
        else:
            people = _write(source, shared, depends_on)
            say(f"{name}: {people} {'person' if people == 1 else 'people'}")
        rows.extend(_rows(source, config))
        _show(page, source, config)

    def failed(source: Path, error: UserError) -> None:
        page.section(source.name).note(f"Not predicted: {error}", warning=True)

    status = each(sources, work, failed, program="gaze-da")
    write_csv(config.out / "people.csv", COLUMNS, rows)
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
    return status


def _is_video(source: Path) -> bool:
    return source.suffix.lower() not in SUFFIXES


def _json_path(source: Path, config: PredictConfig) -> Path:
    return config.out / f"{source.stem}.json"


def _overlay_path(source: Path, config: PredictConfig) -> Path:
    return config.out / f"{source.stem}_gaze{'.mp4' if _is_video(source) else '.jpg'}"


def _overlay_is_there(source: Path, config: PredictConfig) -> bool:
    return not config.overlay or _overlay_path(source, config).is_file()


def _write(source: Path, shared: _Command, depends_on: dict[str, Any]) -> int:
    """Overlay first, JSON last: its presence says that a source is finished. Returns people seen."""
    config = shared.config
    if _is_video(source):
        seen = _write_video(source, shared)
    else:
        of_picture, image = shared.picture(source)
        seen = [of_picture]
        if config.overlay:
            picture = drawn(np.asarray(image), of_picture.people)
            with replacing(_overlay_path(source, config)) as temporary:
                Image.fromarray(picture).save(temporary, "JPEG", quality=92)
    write_json(
        _json_path(source, config),
        {
            "source": source.name,
            "notes": shared.notes,
            DEPENDS_ON: depends_on,
            "frames": [one.to_json() for one in seen],
        },
    )
    return len({person.person for one in seen for person in one.people})


def _write_video(source: Path, shared: _Command) -> list[_Seen]:
    config = shared.config
    seen: list[_Seen] = []
    if not config.overlay:
        return [found for _, found in shared.video(source) if found is not None]
    # Of a file without moving pictures, `frames` says so.
    rate = next((stream.rate for stream in probe(source).video), 1.0)
    with VideoWriter(_overlay_path(source, config), rate=rate) as writer:
        for frame, found in shared.video(source):
            if found is not None:
                # Only the frames to come need a heat map; a long video has many.
                seen[-1:] = [_without_heatmaps(one) for one in seen[-1:]]
                seen.append(found)
            writer.write(drawn(frame.image, seen[-1].people), frame.time_s)
    seen[-1:] = [_without_heatmaps(one) for one in seen[-1:]]
    return seen


def _without_heatmaps(seen: _Seen) -> _Seen:
    nothing = np.zeros((0, 0), np.float32)
    people = [replace(person, heatmap=nothing) for person in seen.people]
    return replace(seen, people=people)


def _rows(source: Path, config: PredictConfig) -> Iterator[dict[str, Any]]:
    for frame in read_json(_json_path(source, config))["frames"]:
        for person in frame["people"]:
            numbers = dict(zip(("x0", "y0", "x1", "y1"), person["box"], strict=True))
            x, y = person["point"]
            yield {
                "source": source.name,
                "frame": frame["frame"],
                "time_s": frame["time_s"],
                **{key: person[key] for key in ("person", "inside", "angle")},
                **numbers,
                "x": x,
                "y": y,
            }


def _show(page: Page, source: Path, config: PredictConfig) -> None:
    """Add a finished source to the report, from its files."""
    content = read_json(_json_path(source, config))
    section = page.section(source.name)
    overlay = _overlay_path(source, config)
    if config.overlay and not _is_video(source):
        section.picture(_reduced(overlay), MEDIA_TYPES[".jpg"], alt=f"gaze in {source.name}")
    elif config.overlay:
        section.link(overlay.name, overlay.name)
    first = content["frames"][0]["people"] if content["frames"] else []
    if not _is_video(source):
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
