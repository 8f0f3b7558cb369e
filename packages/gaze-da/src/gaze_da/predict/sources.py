"""The heads and the depth of a user's pictures and videos, and what is seen in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gaze_da.config import PredictConfig
from gaze_da.data.pictures import depth_picture
from gaze_da.depth_models import DepthModel
from gaze_da.heads import Head, HeadTable, Unit, from_texts, head_from_face, in_pixels
from gaze_da.model.network import GazeModel
from gaze_da.predict.looking import GazePrediction, depth_map, people_in
from shared_core.data.face_detectors import detector
from shared_core.data.faces import Detector, follow_all
from shared_core.data.images import SUFFIXES, open_picture
from shared_core.data.video import Frame, frames
from shared_core.errors import DataError
from shared_core.launch.devices import chosen_device
from shared_core.predicting import digest

FRAMES_AT_ONCE = 8
"""Frames of a video whose depth is worked out in one pass."""

UNTRAINED = "the model's in/out head was never trained: whether the target is inside is not known"
NO_DEPTH = "no depth was given: the network saw black instead, and predicts worse than it can"
DEPTH_UNUSED = "the model was trained without depth: the depth that was given is not used"


@dataclass(frozen=True)
class Seen:
    """Who was seen in a picture or in one frame of a video.

    Attributes:
        frame: its number; 0 for a picture.
        time_s: when it is shown, seconds; None for a picture.
        people: each with where they look.
    """

    frame: int
    time_s: float | None
    people: list[GazePrediction]

    def to_json(self) -> dict[str, Any]:
        """Everything but the heat maps."""
        people = [person.to_json() for person in self.people]
        return {"frame": self.frame, "time_s": self.time_s, "people": people}


class Sources:
    """The heads and the depth of every source of one command, and the network that looks at them."""

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

    @cached_property
    def _network(self) -> str:
        """Of the network's weights, which are read once for this."""
        return digest(self.model)

    def depends_on(self, source: Path) -> dict[str, Any]:
        """What the result of a source is made of, as JSON holds it."""
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

    def picture(self, source: Path) -> tuple[Seen, Image.Image]:
        """What is seen in a picture, and the picture."""
        image = open_picture(source)
        depth = depth_map(self.depth_model or self._depth_file(source), image, source)
        heads = self._heads(source, 0, image.size, np.asarray(image))
        return Seen(0, None, self._look(image, heads, depth, source)), image

    def video(self, source: Path) -> Iterator[tuple[Frame, Seen | None]]:
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
                yield frame, Seen(frame.index, frame.time_s, people)

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
        return people_in(self.model, image, heads, depth, source, self.config.batch_size)

    def _depth_file(self, source: Path) -> Path | None:
        if self.config.depth_files is None or not self.reads_depth:
            return None
        if is_video(source):
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


def is_video(source: Path) -> bool:
    """Whether a source is a video, and not a picture."""
    return source.suffix.lower() not in SUFFIXES
