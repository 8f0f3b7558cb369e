"""Result files of the challenge: predictions per target, ensembles, and submissions.

A result folder holds for each target

    val_pred_<target>_nosmooth_ori.json   raw predictions
    val_pred_<target>_nosmooth.json       raw predictions, clipped to [-1, 1]
    val_pred_<target>_smooth.json         smoothed, then clipped
    val_pred_<target>_result.txt          CCC of the three, and the window
    tst_pred_<target>_nosmooth.json       the test set, clipped
    tst_pred_<target>_smooth.json         the test set, smoothed, then clipped

with `{"<id>": {"video_id": "<id>", "pred": [...], "label": [...]}}`; the test set has no label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from abaw_va.config import EnsembleConfig, SmoothConfig, SubmitConfig
from abaw_va.data.layout import TARGETS
from abaw_va.method.smoothing import smooth
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.data.tables import read_json, write_json
from shared_core.errors import DataError
from shared_core.metrics import Moments

PREFIX = {"val": "val", "test": "tst"}
"""How the file names call the splits."""


@dataclass(frozen=True)
class Trace:
    """One target along one video.

    Attributes:
        prediction: float64 [frames].
        label: float64 [frames], NaN where a frame has no annotation; None for a test video.
        window: smoothing window of this video, frames to each side.
    """

    prediction: np.ndarray
    label: np.ndarray | None = None
    window: int = 0

    def smoothed(self) -> Trace:
        """Smoothed first and clipped to [-1, 1] then, so that clipping does not bend the mean."""
        return self.clipped(smooth(torch.from_numpy(self.prediction), self.window).numpy())

    def clipped(self, prediction: np.ndarray | None = None) -> Trace:
        """Clipped to [-1, 1]."""
        prediction = self.prediction if prediction is None else prediction
        return Trace(np.clip(prediction, -1.0, 1.0), self.label, self.window)


Traces = Mapping[str, Trace]
"""Traces by video id."""


def moments(trace: Trace) -> Moments:
    """Moments of prediction and label over the annotated frames of a video.

    Raises:
        ValueError: the video has no labels.
    """
    if trace.label is None:
        raise ValueError("a trace without labels cannot be judged")
    known = np.isfinite(trace.label)
    return Moments.of(
        torch.from_numpy(trace.prediction[known]), torch.from_numpy(trace.label[known])
    )


def concordance(traces: Traces) -> float:
    """CCC over all annotated frames of all videos together; NaN where it is undefined."""
    parts = [moments(trace) for trace in traces.values() if trace.label is not None]
    return float(Moments.stack(parts).merge().concordance()) if parts else float("nan")


def write_results(folder: Path, split: str, target: str, traces: Traces) -> list[Path]:
    """Write the files of one split and one target; `traces` are raw predictions.

    Returns:
        The files written: four for the validation set, two for the test set.
    """
    name = f"{PREFIX[split]}_pred_{target}"
    clipped = {video: trace.clipped() for video, trace in traces.items()}
    smoothed = {video: trace.smoothed() for video, trace in traces.items()}
    versions = {"nosmooth": clipped, "smooth": smoothed}
    if split == "val":
        versions = {"nosmooth_ori": dict(traces), **versions}
    paths = [_write(folder / f"{name}_{kind}.json", version) for kind, version in versions.items()]
    if split == "val":
        windows = sorted({trace.window for trace in traces.values()})
        lines = [
            f"nosmooth_ori_ccc:\t{concordance(traces)}",
            f"nosmooth_ccc:\t{concordance(clipped)}",
            f"smoothed_ccc:\t{concordance(smoothed)}",
            f"setting window:\t{','.join(map(str, windows))}",
        ]
        paths.append(folder / f"{name}_result.txt")
        _write_text(paths[-1], "\n".join(lines))
    return paths


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write(path: Path, traces: Traces) -> Path:
    rows = {}
    for video, trace in traces.items():
        rows[video] = {"video_id": video, "pred": trace.prediction.tolist()}
        if trace.label is not None:
            rows[video]["label"] = trace.label.tolist()
    write_json(path, rows)
    return path


def read_traces(path: Path) -> dict[str, Trace]:
    """Read one result file.

    Raises:
        DataError: the file is missing, not in this format, or a prediction is not a finite number.
    """
    if not path.is_file():
        raise DataError(
            path,
            "there is no such file",
            remedy="Write it with `abaw-va evaluate`; or choose other predictions of this folder by "
            "--smoothed or --no-smoothed, --split, --target.",
        )
    rows = read_json(path)
    try:
        traces = {
            str(video): Trace(
                np.array(row["pred"], np.float64),
                np.array(row["label"], np.float64) if "label" in row else None,
            )
            for video, row in rows.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            path,
            f"not a readable result file ({type(error).__name__}: {error})",
            remedy="Write it with `abaw-va evaluate`.",
        ) from error
    for video, trace in traces.items():
        _check_trace(path, video, trace)
    return traces


def _check_trace(path: Path, video: str, trace: Trace) -> None:
    where = f"video {video}"
    if Path(video).name != video or "\\" in video:  # it becomes the name of a file
        raise DataError(path, repr(video), expected="a video's id without a path")
    if trace.prediction.ndim != 1 or not np.isfinite(trace.prediction).all():
        raise DataError(path, "predictions that are not finite numbers", where=where)
    if trace.label is not None and trace.label.shape != trace.prediction.shape:
        raise DataError(
            path,
            f"{trace.label.size}",
            where=where,
            expected=f"{trace.prediction.size} labels, one per prediction",
        )


def mean_of(sets: Sequence[Traces]) -> dict[str, Trace]:
    """Mean prediction of several networks on the same videos."""
    return {
        video: replace(trace, prediction=np.mean([of[video].prediction for of in sets], axis=0))
        for video, trace in sets[0].items()
    }


def combine(
    folders: Sequence[Path], split: str, target: str, *, smoothed: bool
) -> dict[str, Trace]:
    """Mean of several result folders, video by video, from their clipped or smoothed files.

    Raises:
        DataError: a file is missing, or two folders differ in their videos or lengths.
    """
    kind = "smooth" if smoothed else "nosmooth"
    name = f"{PREFIX[split]}_pred_{target}_{kind}.json"
    sets = [read_traces(folder / name) for folder in folders]
    first = sets[0]
    for folder, other in zip(folders[1:], sets[1:], strict=True):
        for video in first.keys() | other.keys():
            lengths = [
                f"{len(of[video].prediction)} frames" if video in of else "no such video"
                for of in (first, other)
            ]
            if lengths[0] != lengths[1]:
                raise DataError(
                    folder / name,
                    lengths[1],
                    where=f"video {video}",
                    expected=f"{lengths[0]} as in {folders[0] / name}",
                    remedy="Combine results of the same videos only.",
                )
    return mean_of(sets)


def write_ensemble(
    folders: Sequence[Path], out: Path, *, smoothed: bool, targets: Sequence[str] = TARGETS
) -> dict[str, float]:
    """Write the mean of several result folders as one; returns the validation CCC of each target.

    Nothing is smoothed or clipped again. A split or target that the first folder lacks is left out.

    Raises:
        DataError: the first folder holds nothing to average, another one lacks a file, or two differ
            in their videos or lengths.
    """
    kind = "smooth" if smoothed else "nosmooth"
    means: dict[tuple[str, str], dict[str, Trace]] = {}
    for split, prefix in PREFIX.items():
        for target in targets:
            if (folders[0] / f"{prefix}_pred_{target}_{kind}.json").is_file():
                means[split, target] = combine(folders, split, target, smoothed=smoothed)
    if not means:
        raise DataError(
            folders[0],
            f"no predictions of {' or '.join(targets)} (*_pred_<target>_{kind}.json)",
            remedy="Write them with `abaw-va evaluate`.",
        )
    for (split, target), traces in means.items():
        _write(out / f"{PREFIX[split]}_pred_{target}_{kind}.json", traces)
    return {target: concordance(of) for (split, target), of in means.items() if split == "val"}


def write_submission(
    folders: Sequence[Path], out: Path, *, layout: str, smoothed: bool, split: str = "test"
) -> list[Path]:
    """Write text files for the challenge from the mean of result folders.

    Args:
        folders: result folders.
        out: folder to write.
        layout: `upstream`: one file per target and video; `per-video`: both columns in one file per
            video; `single-file`: one file with a row per frame, named by its image.
        smoothed: take the smoothed files.
        split: test, or val for a rehearsal.

    Raises:
        DataError: a file is missing, or the targets differ in their videos or lengths.
    """
    kind = "smooth" if smoothed else "nosmooth"
    present = [
        target
        for target in TARGETS
        if (folders[0] / f"{PREFIX[split]}_pred_{target}_{kind}.json").is_file()
    ]
    # One target alone will do where each has files of its own.
    targets = present if layout == "upstream" and present else TARGETS
    columns = {target: combine(folders, split, target, smoothed=smoothed) for target in targets}
    if layout == "upstream":
        return [
            _write_columns(out / target / f"{video}.txt", target, trace.prediction[:, None])
            for target, traces in columns.items()
            for video, trace in traces.items()
        ]
    both = {video: _side_by_side(columns, video) for video in columns[TARGETS[0]]}
    if layout == "per-video":
        header = ",".join(TARGETS)
        return [_write_columns(out / f"{v}.txt", header, rows) for v, rows in both.items()]
    lines = ["image_location," + ",".join(TARGETS)]
    for video, rows in both.items():
        lines += [f"{video}/{k:05d}.jpg,{v},{a}" for k, (v, a) in enumerate(rows.tolist(), 1)]
    _write_text(out / "predictions.txt", "\n".join(lines) + "\n")
    return [out / "predictions.txt"]


def _side_by_side(columns: Mapping[str, Traces], video: str) -> np.ndarray:
    traces = [columns[target].get(video) for target in TARGETS]
    lengths = [len(trace.prediction) if trace else 0 for trace in traces]
    if lengths[0] != lengths[1]:
        raise DataError(
            video, f"{lengths[0]} frames of valence and {lengths[1]} of arousal", expected="as many"
        )
    return np.stack([trace.prediction for trace in traces if trace], axis=1)


def _write_columns(path: Path, header: str, rows: np.ndarray) -> Path:
    lines = [header, *(",".join(map(repr, row)) for row in rows.tolist())]
    _write_text(path, "\n".join(lines) + "\n")
    return path


SEARCHED = range(0, 100, 5)
"""Windows that `best_window` tries, frames to each side."""


@dataclass(frozen=True)
class WindowSearch:
    """The window with the best CCC on labelled videos.

    Attributes:
        window: frames to each side.
        ccc: its CCC on the videos it was chosen on: too good, for it was chosen to be high.
        cross_validated: CCC when each video is smoothed with the window that is best for the others.
    """

    window: int
    ccc: float
    cross_validated: float


def best_window(traces: Traces, windows: Sequence[int] = SEARCHED) -> WindowSearch:
    """Search the smoothing window of raw predictions, and say what the choice itself is worth.

    Raises:
        DataError: no video has labels.
    """
    labelled = [trace for trace in traces.values() if trace.label is not None]
    if not labelled:
        raise DataError("smooth --search", "no labels", expected="predictions with labels")
    of_window = [
        Moments.stack([moments(replace(trace, window=window).smoothed()) for trace in labelled])
        for window in windows
    ]
    table = np.stack([part.values for part in of_window])  # [windows, videos, 6]
    together = Moments(table).merge().concordance()
    held_out = []
    for row in range(len(labelled)):
        others = np.delete(table, row, axis=1)
        scores = Moments(others).merge().concordance() if others.shape[1] else together
        held_out.append(table[int(np.nan_to_num(scores, nan=-2.0).argmax()), row])
    best = int(np.nan_to_num(together, nan=-2.0).argmax())
    return WindowSearch(
        windows[best],
        float(together[best]),
        float(Moments(np.stack(held_out)).merge().concordance()),
    )


def smooth_command(config: SmoothConfig) -> None:
    """`abaw-va smooth`: smooth the raw predictions of the validation set anew."""
    found = False
    for target in TARGETS:
        source = config.results / f"val_pred_{target}_nosmooth_ori.json"
        if not source.is_file():
            continue
        found = True
        traces = read_traces(source)
        window = getattr(config, target)
        if config.search:
            best = best_window(traces)
            window = best.window
            say(
                f"{target}: best window {best.window} frames, CCC {best.ccc:.4f} where it was "
                f"chosen, {best.cross_validated:.4f} cross-validated over videos"
            )
        chosen = {video: replace(trace, window=window) for video, trace in traces.items()}
        write_results(config.out, "val", target, chosen)
        say(f"{target}: window {window}, CCC {concordance(_smoothed(chosen)):.4f}")
    if not found:
        raise DataError(
            config.results,
            "no raw predictions (val_pred_<target>_nosmooth_ori.json)",
            remedy="Write them with `abaw-va evaluate`.",
        )


def _smoothed(traces: Traces) -> dict[str, Trace]:
    return {video: trace.smoothed() for video, trace in traces.items()}


def ensemble_command(config: EnsembleConfig) -> None:
    """`abaw-va ensemble`."""
    targets = TARGETS if config.target == "both" else (config.target,)
    scores = write_ensemble(config.results, config.out, smoothed=config.smoothed, targets=targets)
    for target, score in scores.items():
        say(f"{target}: CCC {score:.4f} on the validation set")
    say(f"written to {config.out}")


def submit_command(config: SubmitConfig) -> None:
    """`abaw-va submit`."""
    paths = write_submission(
        config.results,
        config.out,
        layout=config.format,
        smoothed=config.smoothed,
        split=config.split,
    )
    say(f"{len(paths)} files written to {config.out}")
