"""Scores of a user's own 360-degree videos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from asal_vrvqa.config import PredictConfig, Scale
from asal_vrvqa.data.items import normalised
from asal_vrvqa.data.projection import require_equirectangular, turned
from asal_vrvqa.data.video360 import seconds_of
from asal_vrvqa.model.card import not_mos
from asal_vrvqa.model.network import QualityModel
from shared_core.commands import say
from shared_core.data.images import list_images, open_picture
from shared_core.data.loader import generator
from shared_core.data.tables import read_csv, read_json, read_records, write_csv, write_json
from shared_core.errors import DataError, NonFiniteError, UsageError, UserError
from shared_core.files import VIDEO_SUFFIXES, find_files, replace_file
from shared_core.launch.devices import chosen_device
from shared_core.metrics import Interval, MeanScore, bootstrap
from shared_core.predicting import DEPENDS_ON, digest, each, is_finished, make_writable
from shared_core.reporting.figures import Line, Svg, curves
from shared_core.reporting.page import Page

Projection = Literal["check", "equirectangular"]

NO_CHECKPOINT = (
    "--checkpoint: a score needs a trained model, and none comes with this package.\n"
    "Train one (`asal-vrvqa train --labels ... --frames ...`), convert the authors' weights "
    "(`asal-vrvqa convert`), or try the demo's (`asal-vrvqa demo`), which is not calibrated to MOS."
)

COLUMNS = (
    "source", "seconds", "yaw", "pitch", "score", "low", "high", "sigma", "scale", "note", "error"
)  # fmt: skip
"""Of the table of all sources."""


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


# --- the command ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A video to score, and how it is watched."""

    path: Path
    name: str
    seconds: Literal[7, 15]
    yaw: float
    pitch: float


def jobs_of(config: PredictConfig) -> list[Job]:
    """What the command line or the table asks for.

    Raises:
        DataError: a file is missing, or a row of the table cannot be used.
    """
    if config.table is None:
        folders = [path for path in config.sources if _is_frame_folder(path)]
        others = [path for path in config.sources if path not in folders]
        paths = folders + (find_files(others, VIDEO_SUFFIXES, "video") if others else [])
        jobs = [Job(p, p.stem, config.seconds, config.yaw, config.pitch) for p in paths]
    else:
        jobs = _of_table(config, config.table)
    seen: dict[str, int] = {}
    named = []
    for job in jobs:
        seen[job.name] = number = seen.get(job.name, 0) + 1
        name = job.name if number == 1 else f"{job.name}-{number}"
        named.append(Job(job.path, name, job.seconds, job.yaw, job.pitch))
    return named


def _is_frame_folder(path: Path) -> bool:
    if not path.is_dir():
        return False
    inside = [p.suffix.lower() for p in path.iterdir() if p.is_file()]
    return bool(inside) and not any(suffix in VIDEO_SUFFIXES for suffix in inside)


def _of_table(config: PredictConfig, table: Path) -> list[Job]:
    header = next(read_records(table), (0, []))[1]
    kinds: dict[str, Any] = {"path": str, "seconds": _viewing_time, "yaw": float, "pitch": float}
    present = {n: k for n, k in kinds.items() if n == "path" or n in [h.strip() for h in header]}
    usual = {"seconds": config.seconds, "yaw": config.yaw, "pitch": config.pitch}
    jobs = []
    for row in read_csv(table, present):
        path = table.parent / row.values["path"]
        jobs.append(
            Job(path, path.stem, **{name: row.values.get(name, usual[name]) for name in usual})
        )
    if not jobs:
        raise DataError(table, "no row", expected="a row for each video, with its path")
    return jobs


def _viewing_time(text: str) -> int:
    if text.strip() not in ("7", "15"):
        raise ValueError("expected 7 or 15")
    return int(text)


def command(config: PredictConfig) -> int:
    """`asal-vrvqa predict`: every source by itself; one that fails does not stop the others."""
    if config.checkpoint is None:
        raise UsageError(NO_CHECKPOINT)
    jobs = jobs_of(config)
    make_writable(config.out)
    model = QualityModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    network, folded = digest(model), model.for_evaluation()
    note = not_mos(model.config)
    page = Page("Quality of 360-degree videos", config.checkpoint)
    if note is not None:
        say(f"NOTE: {note}")
        page.section("Mind").note(note, warning=True)
    rows: list[dict[str, Any]] = []

    def work(job: Job, name: str) -> None:
        result = config.out / f"{job.name}.json"
        depends_on = _depends_on(job, config, network)
        if not is_finished(result, depends_on):
            found = predict(
                folded,
                job.path,
                seconds=job.seconds,
                yaw=job.yaw,
                pitch=job.pitch,
                begin=config.begin,
                repeat_last=config.repeat_last,
                projection=config.projection,
                batch_size=config.batch_size,
                seed=config.seed,
            )
            replace_file(config.out / f"{job.name}.svg", plot_of(found.to_json()))
            about = {
                "source": str(job.path),
                "seconds": job.seconds,
                "yaw": job.yaw,
                "pitch": job.pitch,
            }
            write_json(result, {**about, **found.to_json(), DEPENDS_ON: depends_on})
        content = read_json(result)
        rows.append(_row(job, content))
        say(f"{name}: {_told(content)}")
        section = page.section(job.name).text(_told(content))
        section.figure(plot_of(content))

    def failed(job: Job, error: UserError) -> None:
        rows.append({**_row(job, {}), "error": str(error).partition("\n")[0]})
        page.section(job.name).note(f"Not scored: {error}", warning=True)

    status = each(jobs, work, failed, program="asal-vrvqa")
    write_csv(config.out / "scores.csv", COLUMNS, rows)
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
    return status


def _depends_on(job: Job, config: PredictConfig, network: str) -> dict[str, Any]:
    try:
        stat = job.path.stat()
    except OSError as error:
        raise DataError(job.path, f"cannot be read ({error.strerror})") from error
    return {
        "path": str(job.path),
        "bytes": stat.st_size,
        "changed": stat.st_mtime_ns,
        "network": network,
        "seconds": job.seconds,
        "yaw": job.yaw,
        "pitch": job.pitch,
        "begin": config.begin,
        "repeat_last": config.repeat_last,
        "projection": config.projection,
        "seed": config.seed,
    }


def _told(content: dict[str, Any]) -> str:
    scale = content["scale"]
    low, high = content["interval_95"]
    sigma = content["sigma"]
    own = "" if sigma is None else f", the regressor's own sigma {sigma:.2g}"
    note = f"; {content['note']}" if content["note"] else ""
    interval = "" if low is None else f", 95 % interval over frames [{low:.3f}, {high:.3f}]"
    return (
        f"{content['score']:.3f} {scale['name']} ({scale['low']:g} to {scale['high']:g})"
        f"{interval}{own}{note}"
    )


def _row(job: Job, content: dict[str, Any]) -> dict[str, Any]:
    low, high = content.get("interval_95", (None, None))
    return {
        "source": str(job.path),
        "seconds": job.seconds,
        "yaw": job.yaw,
        "pitch": job.pitch,
        "score": content.get("score"),
        "low": low,
        "high": high,
        "sigma": content.get("sigma"),
        "scale": content.get("scale", {}).get("name"),
        "note": content.get("note"),
        "error": None,
    }


def plot_of(content: dict[str, Any]) -> Svg:
    """The frames' scores, with a band of one of the regressor's own sigmas."""
    frames: Sequence[dict[str, Any]] = content["frames"]
    scores = np.array([frame["score"] for frame in frames])
    band = {}
    if all(frame["sigma"] is not None for frame in frames):
        sigmas = np.array([frame["sigma"] for frame in frames])
        band = {"low": scores - sigmas, "high": scores + sigmas}
    line = Line(
        name="frames", x=np.array([f["second"] for f in frames]), y=scores, marked=True, **band
    )
    return curves([line], x="second of the video", y=content["scale"]["name"])
