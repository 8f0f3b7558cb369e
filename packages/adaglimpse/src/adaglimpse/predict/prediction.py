"""What is known of an image once it was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from adaglimpse.config import GlimpseModelConfig
from adaglimpse.model.card import untaught

LIKELIEST = 5
"""Classes that are told of the last answer; of a label map, the largest ones."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """How one image was looked at in G glimpses, and what was made of it.

    Attributes:
        path: the image, or the video that it is a frame of.
        frame: its number in the video, from 0; None of an image.
        name: what files about it are called.
        config: of the model.
        image: RGB, resized to the size that the model looks at.
        boxes: (y1, x1, y2, x2) of the patches of each glimpse, in pixels of `image`.
        actions: (y, x, z) of each glimpse, from 0 to 1.
        scores: after 0 to G glimpses: the largest probability of a class, or minus the RMSE of the
            reconstruction in levels; NaN of a segmentation, whose score would need the right answer.
        seconds: wall clock of what led from each answer to the next (glimpse, backbone, answer), the
            first one before any glimpse; measured for a batch and divided by its images.
        answers: after 0 to G glimpses: reconstructed RGB, class of each pixel, or probabilities.
    """

    path: Path
    frame: int | None
    name: str
    config: GlimpseModelConfig
    image: UInt8[np.ndarray, "H W 3"]
    boxes: Int64[np.ndarray, "G p 4"]
    actions: Float32[np.ndarray, "G 3"]
    scores: Float64[np.ndarray, " steps"]
    seconds: Float64[np.ndarray, " steps"]
    answers: UInt8[np.ndarray, "steps H W *C"] | Float32[np.ndarray, "steps C"]

    @property
    def steps(self) -> int:
        """Glimpses that were used."""
        return len(self.boxes)

    @property
    def note(self) -> str | None:
        """What has to be said of the model; None for one that was trained."""
        return untaught(self.config)

    def rmse(self, step: int) -> float:
        """Error of the reconstruction after so many glimpses: root mean square, in levels, 0 to 255."""
        return -float(self.scores[step])

    def classes(self, step: int, count: int = LIKELIEST) -> list[tuple[str, float]]:
        """The likeliest classes after so many glimpses, with their probabilities.

        Of a segmentation, the largest classes that are there, with their shares of the image.
        """
        answer = self.answers[step]
        shares = answer
        if self.config.task == "segmentation":
            shares = np.bincount(answer.ravel(), minlength=self.config.num_classes) / answer.size
        order = np.argsort(-shares, kind="stable")[:count]
        return [(self.label(index), float(shares[index])) for index in order if shares[index] > 0]

    def label(self, index: int) -> str:
        """Name of a class; its number where the model does not know any."""
        names = self.config.classes
        return names[index] if names else str(index)

    def caption(self, step: int) -> str:
        """The answer after so many glimpses, in a few words."""
        if self.config.task == "reconstruction":
            return f"RMSE {self.rmse(step):.1f}"
        count = 1 if self.config.task == "classification" else 2
        return ", ".join(f"{name}: {share:.0%}" for name, share in self.classes(step, count))

    def to_json(self) -> dict[str, Any]:
        """Everything but pixels, for a line of JSON."""
        return {
            "path": self.path,
            "frame": self.frame,
            "image_size": self.config.image_size,
            "steps": self.steps,
            "boxes": self.boxes,
            "actions": self.actions,
            "scores": self.scores,
            "seconds": self.seconds,
            "predictions": [self._answer(step) for step in range(self.steps + 1)],
            "note": self.note,
        }

    def _answer(self, step: int) -> dict[str, Any]:
        """An answer; the last one with more classes."""
        if self.config.task == "reconstruction":
            return {"rmse": self.rmse(step)}
        found = self.classes(step)
        if self.config.task == "segmentation":
            return {"classes": [{"label": name, "share": share} for name, share in found]}
        likeliest = [{"label": name, "probability": share} for name, share in found]
        return likeliest[0] | ({"top": likeliest} if step == self.steps else {})
