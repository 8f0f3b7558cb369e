"""The network on one picture: where each of its people looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor

from gaze_da.data.pictures import depth_colours, depth_picture, face, read_depth, shrunk
from gaze_da.data.views import normalised
from gaze_da.depth_models import DepthModel
from gaze_da.heads import Head, Unit, in_pixels
from gaze_da.method.boxes import Box, Point, expanded
from gaze_da.method.targets import head_mask
from gaze_da.model.network import GazeModel
from gaze_da.model.views import Views
from shared_core.data.images import open_picture
from shared_core.errors import DataError, NonFiniteError
from shared_core.metrics.gaze import peak


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
    return people_in(model, image, placed, depth_map(depth, image, name), name, batch_size)


def _opened(picture: Path | str | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Path | str):
        return open_picture(picture)
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        found = f"{picture.dtype} {list(picture.shape)}"
        raise DataError("picture", found, expected="RGB pixels, uint8 [height, width, 3]")
    return Image.fromarray(picture)


def depth_map(depth: Depth, image: Image.Image, name: Path) -> np.ndarray | None:
    """The depth of a picture, uint8 or uint16, larger is nearer; None where there is none.

    Args:
        depth: a model, a file, or a map of any numbers.
        image: the picture, RGB.
        name: of the picture, for messages.

    Raises:
        DataError: the file cannot be read, or the map is not one of finite numbers.
    """
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


def people_in(
    model: GazeModel,
    image: Image.Image,
    heads: Sequence[Head],
    depth: np.ndarray | None,
    name: Path,
    batch_size: int,
) -> list[GazePrediction]:
    """Where each person in a picture looks.

    Args:
        model: in evaluation mode.
        image: the picture, RGB.
        heads: in pixels.
        depth: uint8 or uint16, larger is nearer; None: black.
        name: of the picture, for messages.
        batch_size: people in a pass.

    Raises:
        NonFiniteError: the network predicts a value that is not finite.
    """
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
