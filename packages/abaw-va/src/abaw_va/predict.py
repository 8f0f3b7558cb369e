"""Valence and arousal for every frame of a user's own video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64

from abaw_va.config import Perception, PredictConfig, Smoothing
from abaw_va.data.layout import TARGETS
from abaw_va.data.statistics import standardised_by_itself
from abaw_va.features.stream import VideoFeatures
from abaw_va.inference import FramesInMemory, infer
from abaw_va.method.smoothing import smooth_and_clip
from abaw_va.model.network import VaModel
from abaw_va.overlay import write_overlay
from abaw_va.perception import (
    Perceiver,
    load_models,
    refuse_unused_weights,
)
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.data.tables import read_json, write_csv, write_json
from shared_core.errors import UsageError, UserError
from shared_core.files import VIDEO_SUFFIXES, find_files
from shared_core.launch.devices import chosen_device
from shared_core.predicting import (
    DEPENDS_ON,
    beginnings,
    digest,
    each,
    is_finished,
    make_writable,
)
from shared_core.reporting.figures import Svg, traces
from shared_core.reporting.page import Page

COLUMNS = ("frame", "time_s", *TARGETS, "face", "audio")
"""Columns of the CSV: one row per frame."""

OVERLAY = "_curves.mp4"
"""How the name of a video with its curves ends."""


@dataclass(frozen=True, kw_only=True)
class VideoPrediction:
    """What was read in a video, one row per frame.

    Attributes:
        times_s: presentation times, seconds.
        values: valence and arousal in [-1, 1], smoothed; NaN for a target that the networks do not
            predict.
        face: where a face was found; elsewhere the prediction rests on the nearest frame that has one,
            or on the sound alone.
        looked: whether a network reads faces, so that they were looked for.
        audio: where the video has sound.
        boxes: face boxes (x0, y0, x1, y1), fractions of the picture; NaN where there is none.
    """

    times_s: Float64[np.ndarray, " frames"]
    values: Float64[np.ndarray, "frames 2"]
    face: Bool[np.ndarray, " frames"]
    looked: bool
    audio: Bool[np.ndarray, " frames"]
    boxes: Float64[np.ndarray, "frames 4"]

    @property
    def valence(self) -> Float64[np.ndarray, " frames"]:
        """Valence, in [-1, 1]: from unpleasant to pleasant."""
        return self.values[:, 0]

    @property
    def arousal(self) -> Float64[np.ndarray, " frames"]:
        """Arousal, in [-1, 1]: from calm to excited."""
        return self.values[:, 1]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One mapping per frame, by the names in `COLUMNS`; `face` and `audio` are 0 or 1."""
        for frame, time_s in enumerate(self.times_s.tolist()):
            valence, arousal = self.values[frame].tolist()
            yield {
                "frame": frame,
                "time_s": round(time_s, 6),
                "valence": round(valence, 6),
                "arousal": round(arousal, 6),
                "face": int(self.face[frame]),
                "audio": int(self.audio[frame]),
            }


def frame_rate(times_s: Float64[np.ndarray, " frames"]) -> float:
    """Frames per second, from the usual distance between frames; 30 for a single frame."""
    return 1.0 / float(np.median(np.diff(times_s))) if len(times_s) > 1 else 30.0


def needed_features(models: Sequence[VaModel]) -> tuple[str, ...]:
    """Names of all features that networks read, each once."""
    return tuple(dict.fromkeys(name for model in models for name in model.config.features))


def predict(
    models: Sequence[VaModel],
    video: Path | str,
    *,
    perceive: Callable[[Path], VideoFeatures] | None = None,
    smoothing: Smoothing | None = None,
) -> VideoPrediction:
    """Valence and arousal for every frame of a video, as the mean of one or several networks.

    Sound and faces are matched to frames by time, so that any frame rate will do. A video without
    sound, or without a face, is predicted all the same; its rows say so.

    Args:
        models: networks in evaluation mode.
        video: a video file.
        perceive: finds faces and makes features; by default with OpenCV's cascades on the networks'
            device.
        smoothing: moving average of the predictions; by default the authors', in seconds.

    Raises:
        DataError: the file is no video, is damaged, or is cut short.
        UsageError: a network reads a feature that needs weights.
        NonFiniteError: a network predicts a value that is not finite.
    """
    if perceive is None:
        device = str(next(models[0].parameters()).device)
        perceive = Perceiver(Perception(), needed_features(models), device)
    seen = perceive(Path(video))
    smoothing = smoothing or Smoothing()
    rate = frame_rate(seen.times_s)
    runs = [_run(model, seen, Path(video).name) for model in models]
    values = np.full((len(seen.times_s), len(TARGETS)), np.nan)
    for column, target in enumerate(TARGETS):
        raw = [
            run[:, model.config.target_names.index(target)]
            for model, run in zip(models, runs, strict=True)
            if target in model.config.target_names
        ]
        if raw:
            mean = torch.from_numpy(np.mean(raw, axis=0))
            values[:, column] = smooth_and_clip(mean, smoothing.window(target, rate)).numpy()
    return VideoPrediction(
        times_s=seen.times_s,
        values=values,
        face=seen.face,
        looked=seen.looked,
        audio=seen.audio,
        boxes=seen.boxes,
    )


def _run(model: VaModel, seen: VideoFeatures, name: str) -> Float64[np.ndarray, "frames targets"]:
    """Raw predictions of one network."""
    config = model.config
    alone = config.normalise if config.norm_method == "batch" else ()
    rows = {feature: seen.rows[feature] for feature in config.features}
    features = np.concatenate(
        [standardised_by_itself(own) if feature in alone else own for feature, own in rows.items()],
        axis=1,
    )
    if features.shape[1] != config.input_width:
        widths = ", ".join(f"{feature} {own.shape[1]}" for feature, own in rows.items())
        raise UsageError(
            f"the network reads {config.input_width} columns, the extractors make "
            f"{features.shape[1]} ({widths}).\nGive the extractors the weights it was trained with."
        )
    standard = model.standardised(torch.from_numpy(features)).numpy()
    return next(infer(model, FramesInMemory({name: standard})))[1]


def figure(prediction: VideoPrediction, title: str = "") -> Svg:
    """Both curves over time; the ground is shaded where a face was looked for and not found."""
    known = {
        target: prediction.values[:, column]
        for column, target in enumerate(TARGETS)
        if not np.isnan(prediction.values[:, column]).all()
    }
    missing = ~prediction.face if prediction.looked else None
    return traces(prediction.times_s, known, title=title, invalid=missing, invalid_name="no face")


def command(config: PredictConfig) -> int:
    """`abaw-va predict`: every video by itself; one that fails does not stop the others."""
    videos = find_files(config.sources, VIDEO_SUFFIXES, "video")
    begins = beginnings(videos, config.out)
    make_writable(config.out)
    device = chosen_device(config.device)
    models = load_models(config.checkpoint, device)
    features = needed_features(models)
    refuse_unused_weights(config, features)
    perceive = Perceiver(config, features, device)
    page = Page("Valence and arousal", "The mean over several networks" if models[1:] else "")

    def work(video: Path, name: str) -> None:
        begin, depends_on = begins[video], _depends_on(video, models, config)
        if _is_done(begin, depends_on, config):
            say(f"{name}: there already")
        else:
            prediction = predict(models, video, perceive=perceive, smoothing=config.smoothing)
            _write(video, begin, prediction, depends_on, config)
            say(f"{name}: {_summary(prediction)}")
        _show(page, video, begin)

    def failed(video: Path, error: UserError) -> None:
        page.section(video.name).note(f"Not predicted: {error}", warning=True)

    status = each(videos, work, failed, program="abaw-va")
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
    return status


def _depends_on(video: Path, models: Sequence[VaModel], config: PredictConfig) -> dict[str, Any]:
    """What a prediction depends on, as JSON: a finished video is done again when it changed."""
    return {
        "bytes": video.stat().st_size,
        "checkpoint": list(config.checkpoint),
        "networks": [digest(model) for model in models],
        "person": config.person,
        "boxes": None if config.boxes is None else str(config.boxes),
        "detector": config.detector,
        "detect_every": config.detect_every,
        "weights": list(config.weights),
        "compat": config.compat,
        "smoothing": asdict(config.smoothing),
    }


def _is_done(begin: Path, depends_on: dict[str, Any], config: PredictConfig) -> bool:
    overlay_lacks = config.overlay and not _file(begin, OVERLAY).is_file()
    return not overlay_lacks and is_finished(_file(begin, ".json"), depends_on)


def _file(begin: Path, ending: str) -> Path:
    return Path(f"{begin}{ending}")


def _write(
    video: Path,
    begin: Path,
    prediction: VideoPrediction,
    depends_on: dict[str, Any],
    config: PredictConfig,
) -> None:
    """CSV, plot and overlay first, JSON last: its presence says that a video is finished."""
    write_csv(_file(begin, ".csv"), COLUMNS, prediction.rows())
    with replacing(_file(begin, ".svg")) as temporary:
        temporary.write_text(figure(prediction, video.name), encoding="utf-8")
    if config.overlay:
        write_overlay(video, prediction, _file(begin, OVERLAY))
    write_json(
        _file(begin, ".json"),
        {
            "video": video.name,
            "frames_per_second": frame_rate(prediction.times_s),
            "summary": _summary(prediction),
            "looked_for_faces": prediction.looked,
            DEPENDS_ON: depends_on,
            "frames": list(prediction.rows()),
        },
    )


def _summary(prediction: VideoPrediction) -> str:
    frames = len(prediction.times_s)
    parts = [f"{frames} frames"]
    if prediction.looked:
        parts.append(f"a face in {prediction.face.mean():.0%}")
    parts.append("sound" if prediction.audio.any() else "no sound")
    parts += [
        f"mean {target} {np.mean(column):+.2f}"
        for target, column in zip(TARGETS, prediction.values.T, strict=True)
        if not np.isnan(column).all()
    ]
    return ", ".join(parts)


def _show(page: Page, video: Path, begin: Path) -> None:
    """Add a finished video to the report, from its JSON."""
    content = read_json(_file(begin, ".json"))
    rows = content["frames"]

    def column(name: str) -> Float64[np.ndarray, " frames"]:
        return np.array([row[name] for row in rows], np.float64)  # null becomes NaN

    shown = VideoPrediction(
        times_s=column("time_s"),
        values=np.stack([column(target) for target in TARGETS], axis=1),
        face=column("face") > 0,
        looked=bool(content["looked_for_faces"]),
        audio=column("audio") > 0,
        boxes=np.full((len(rows), 4), np.nan),
    )
    section = page.section(video.name)
    section.text(str(content["summary"])).figure(figure(shown), wide=True)
