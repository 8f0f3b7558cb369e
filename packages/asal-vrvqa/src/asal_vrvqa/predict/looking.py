"""The network on one video: the score of what a viewer sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from asal_vrvqa.config import Scale
from asal_vrvqa.data.items import normalised
from asal_vrvqa.data.projection import require_equirectangular, turned
from asal_vrvqa.data.video360 import seconds_of
from asal_vrvqa.model.card import not_mos
from asal_vrvqa.model.network import QualityModel
from shared_core.data.images import list_images, open_picture
from shared_core.data.loader import generator
from shared_core.errors import DataError, NonFiniteError, UsageError
from shared_core.metrics import Interval, MeanScore, bootstrap

Projection = Literal["check", "equirectangular"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The score of one video, watched from a start direction.

    Attributes:
        score: mean over the frames, in the scale's units; higher is better.
        low: lower end of the 95 % bootstrap interval over the frames' scores; NaN for a network of
            fewer than five frames.
        high: its upper end.
        sigma: the regressor's own deviation, root mean square over the frames; None where it has none.
        frame_scores: of each frame.
        frame_sigmas: of each frame; NaN where the regressor has none.
        times: second of the video that each frame was taken at.
        scale: what the scores mean.
        note: what has to be said of the score; None where it is a prediction of MOS like any other.
    """

    score: float
    low: float
    high: float
    sigma: float | None
    frame_scores: Float64[np.ndarray, " T"]
    frame_sigmas: Float64[np.ndarray, " T"]
    times: tuple[float, ...]
    scale: Scale
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "score": self.score,
            "interval_95": [self.low, self.high],
            "sigma": self.sigma,
            "scale": {"name": self.scale.name, "low": self.scale.low, "high": self.scale.high},
            "note": self.note,
            "frames": [
                {"second": second, "score": score, "sigma": sigma}
                for second, score, sigma in zip(
                    self.times, self.frame_scores.tolist(), self.frame_sigmas.tolist(), strict=True
                )
            ],
        }


def predict(
    model: QualityModel,
    source: Path | str,
    *,
    seconds: Literal[7, 15] = 7,
    yaw: float | int = 0.0,
    pitch: float | int = 0.0,
    begin: float | int = 0.0,
    repeat_last: bool = False,
    projection: Projection = "check",
    batch_size: int = 4,
    seed: int = 0,
) -> Prediction:
    """Score an equirectangular video, or a folder of its frames, one a second.

    Args:
        model: a network on the sphere or on the flat frame.
        source: the video, or the folder.
        seconds: viewing time: frames 0 to 6, or 0, 2, ..., 12.
        yaw: start direction in degrees, as HM_yaw of VR-VQW.
        pitch: start direction in degrees, as HM_pitch of VR-VQW.
        begin: second at which viewing begins.
        repeat_last: a video that is too short repeats its last frame.
        projection: refuse what is not 2:1, or take everything for equirectangular.
        batch_size: frames in a pass.
        seed: key of the bootstrap.

    Raises:
        DataError: the source cannot be read, is too short, or is not equirectangular.
        UsageError: the network reads viewports, whose scanpaths a single video does not have.
        NonFiniteError: a score is not finite.
    """
    frames = viewed_frames(
        model,
        Path(source),
        seconds=seconds,
        yaw=yaw,
        pitch=pitch,
        begin=begin,
        repeat_last=repeat_last,
        projection=projection,
    )
    scores, sigmas = _frame_scores(model, frames, batch_size)
    if not np.isfinite(scores).all():
        raise NonFiniteError(f"{source}: a frame's score is not finite.")
    values = torch.from_numpy(scores)
    interval = bootstrap(MeanScore(values, noun="frames"), generator=generator(seed))
    step = 1 if seconds == 7 else 2
    return Prediction(
        score=float(scores.mean()),
        low=interval.low,
        high=interval.high,
        sigma=None if np.isnan(sigmas).any() else float(np.sqrt((sigmas**2).mean())),
        frame_scores=scores,
        frame_sigmas=sigmas,
        times=tuple(begin + step * k for k in range(len(scores))),
        scale=model.config.scale,
        note=_note(model, float(scores.mean()), interval),
    )


def _note(model: QualityModel, score: float, interval: Interval) -> str | None:
    """What has to be said of a score, each a clause."""
    scale = model.config.scale
    told = []
    if (other := not_mos(model.config)) is not None:
        told.append(other)
    if not scale.low <= score <= scale.high:
        told.append(
            "it lies outside of the scale: the model was not trained on the like of this video"
        )
    if interval.reason is not None:
        told.append(f"no interval: {interval.reason}")
    return "; ".join(told) or None


def viewed_frames(
    model: QualityModel,
    source: Path,
    *,
    seconds: int,
    yaw: float | int,
    pitch: float | int,
    begin: float | int,
    repeat_last: bool,
    projection: Projection,
) -> UInt8[np.ndarray, "T H W 3"]:
    """The frames through which a viewer sees a source, turned to the start direction.

    Raises:
        DataError: as `predict`.
        UsageError: as `predict`.
    """
    network = model.config.network
    if network.backbone == "viewport":
        raise UsageError(
            "this network reads viewports along the scanpaths of viewers. Cut them with `asal-vrvqa "
            "prepare viewports` and score the clips with `asal-vrvqa evaluate`."
        )
    step = 1 if seconds == 7 else 2
    count = (network.frames - 1) * step + 1
    size = (network.height, network.width)
    if source.is_dir():
        frames = _of_folder(source, count, size, int(begin), repeat_last, projection)
        frames = turned(frames, float(yaw), float(pitch))
    else:
        frames = seconds_of(
            source,
            count=count,
            size=size,
            yaw=float(yaw),
            pitch=float(pitch),
            begin=float(begin),
            projection=projection,
            repeat_last=repeat_last,
        )
    return np.ascontiguousarray(frames[::step])


def _of_folder(
    folder: Path,
    count: int,
    size: tuple[int, int],
    begin: int,
    repeat_last: bool,
    projection: Projection,
) -> np.ndarray:
    paths = list_images(folder)[begin : begin + count]
    if len(paths) < count and not (repeat_last and paths):
        raise DataError(
            folder,
            f"{len(paths)} from frame {begin} on",
            expected=f"{count} frames or more, one a second",
            remedy="Let the last one stand in: --repeat-last.",
        )
    paths += [paths[-1]] * (count - len(paths))
    made = []
    for path in paths:
        picture = open_picture(path)
        if projection == "check":
            require_equirectangular(path, picture.width, picture.height, 1.0)
        made.append(np.asarray(picture.resize((size[1], size[0]), 2)))  # bilinear
    return np.stack(made)


@torch.inference_mode()
def _frame_scores(
    model: QualityModel, frames: np.ndarray, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    device = next(model.parameters()).device
    scores, sigmas = [], []
    for chunk in torch.split(torch.from_numpy(frames), batch_size):
        scored = model.frame_scores(normalised(chunk.to(device)))
        scores.append(scored.mean[:, 0].double().cpu())
        if scored.log_variance is None:
            sigmas.append(torch.full((len(chunk),), math.nan, dtype=torch.float64))
        else:
            sigmas.append((scored.log_variance[:, 0].double() / 2).exp().cpu())
    return torch.cat(scores).numpy(), torch.cat(sigmas).numpy()
