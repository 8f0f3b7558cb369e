"""From the settings of a command to the detector and the extractors, and from there to features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from abaw_va.config import Perception
from abaw_va.features.extractors import Extractor, extractor
from abaw_va.features.stream import VideoFeatures, extract_video
from abaw_va.model.network import VaModel
from shared_core.data.face_detectors import detector
from shared_core.data.faces import Detector, FaceBoxes, Person
from shared_core.errors import UsageError

NO_CHECKPOINT = (
    "--checkpoint: a prediction needs a trained network, and none comes with this package.\n"
    "Train one (`abaw-va train --data ...`), convert the authors' weights (`abaw-va convert`), or try the "
    "demo's (`abaw-va demo`), which was taught on drawn faces."
)


def load_models(checkpoints: Sequence[str], device: str) -> list[VaModel]:
    """Networks from run folders, model folders or hub ids, ready to predict.

    Raises:
        UsageError: none is named.
        CheckpointError: nothing is there, it is damaged, or it holds another model.
    """
    if not checkpoints:
        raise UsageError(NO_CHECKPOINT)
    return [VaModel.from_pretrained(name, device=device) for name in checkpoints]


def refuse_unused_weights(settings: Perception, features: Sequence[str]) -> None:
    """Refuse weights of a feature that a command does not make: a name that was mistyped.

    Raises:
        UsageError: names it, and the features that are made.
    """
    if unused := sorted(set(settings.weights_of) - set(features)):
        raise UsageError(
            f"--weights {unused[0]}=...: no such feature is needed. Needed: {', '.join(features)}."
        )


class Perceiver:
    """Turns videos into features, with the detector and the networks loaded once.

    Args:
        settings: how faces and sound are found.
        features: names of the features to make.
        device: where networks run.

    Raises:
        UsageError: a feature is unknown or needs weights that were not given.
    """

    def __init__(self, settings: Perception, features: Sequence[str], device: str) -> None:
        self.settings = settings
        weights = settings.weights_of
        self._extractors: list[Extractor] = [
            extractor(name, weights.get(name), device=device, compat=settings.compat)
            for name in features
        ]
        self._detector: Detector | None = None

    def __call__(self, path: Path, show: str = "", person: Person | None = None) -> VideoFeatures:
        """Features of a video, with a progress line on the terminal.

        Args:
            path: the video.
            show: what the progress line says.
            person: whose face; by default the settings' choice.

        Raises:
            DataError: the file is no video, is damaged, or is cut short.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} frames"),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task(show or path.name, total=None)
            return extract_video(
                path,
                self._extractors,
                self._faces(path),
                person=person or self.settings.person,
                every=self.settings.detect_every,
                compat=self.settings.compat,
                seen=lambda frame: progress.update(task, completed=frame + 1),
            )

    def _faces(self, path: Path) -> Detector | FaceBoxes:
        boxes = self.settings.boxes
        if boxes is not None:
            return FaceBoxes(boxes / f"{path.stem}.csv" if boxes.is_dir() else boxes)
        if self._detector is None:
            self._detector = detector(self.settings.detector, self.settings.detector_weights)
        return self._detector
