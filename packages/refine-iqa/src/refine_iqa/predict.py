"""Scores of a user's own images and videos."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from refine_iqa.config import PredictConfig
from refine_iqa.scoring import Prediction, QualityScorer
from refine_iqa.scoring.prediction import COLUMNS
from shared_core.commands import say
from shared_core.data.images import SUFFIXES
from shared_core.data.tables import jsonable, write_csv, write_jsonl
from shared_core.errors import UsageError
from shared_core.files import VIDEO_SUFFIXES, find_files
from shared_core.predicting import make_writable

NO_CHECKPOINT = (
    "--checkpoint: a score needs a trained model, and none comes with this package.\n"
    "Train one (`refine-iqa train --model Qwen/Qwen2.5-VL-7B-Instruct --data ...`), try that model as it "
    "is (--checkpoint Qwen/Qwen2.5-VL-7B-Instruct), or the demo's (`refine-iqa demo`), which knows one "
    "distortion alone."
)


def predict(
    sources: Sequence[Path | str], checkpoint: Path | str | QualityScorer, **options: Any
) -> list[Prediction]:
    """Score images, videos, and those inside folders.

    Args:
        sources: files, and folders, whose files are sorted by name.
        checkpoint: a scorer, or what `QualityScorer.from_pretrained` loads.
        options: of `QualityScorer.stream`: `mode`, `question`, `batch_size`, `on_error`, ...

    Returns:
        One for each file, in order.

    Raises:
        DataError: a path does not exist, a folder holds no such file, or a file cannot be used.
        CheckpointError: the model cannot be loaded.
    """
    files = find(sources)
    scorer = (
        checkpoint
        if isinstance(checkpoint, QualityScorer)
        else QualityScorer.from_pretrained(checkpoint)
    )
    return scorer.predict(files, **options)


def find(sources: Sequence[Path | str]) -> list[Path]:
    """The images and videos that are named, and those in the folders that are named, each once.

    Raises:
        DataError: a path does not exist, or a folder holds neither an image nor a video.
    """
    return find_files(map(Path, sources), SUFFIXES | VIDEO_SUFFIXES, "image or video")


def command(config: PredictConfig) -> int:
    """`refine-iqa predict`: a row for each file; one that cannot be used does not stop the others."""
    if config.checkpoint is None:
        raise UsageError(NO_CHECKPOINT)
    files = find(config.sources)
    if config.out is not None:
        make_writable(config.out)
    scorer = QualityScorer.from_pretrained(
        config.checkpoint,
        device=config.device,
        precision=config.precision,
        media=config,
        video_as=config.video_as,
        rope=config.rope,
    )
    found = scorer.stream(
        files,
        mode="reasoned" if config.explain else config.mode,
        question=config.question,
        batch_size=config.batch_size,
        samples=config.samples,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        on_error="record",
    )
    failures: list[Path | None] = []
    rows = _rows(found, failures)
    if config.out is None:
        _print(rows, config.format)
    else:
        path = config.out / f"predictions.{config.format}"
        if config.format == "csv":
            write_csv(path, COLUMNS, rows)
        else:
            write_jsonl(path, rows)
        say(f"{len(files) - len(failures)} of {len(files)} scored, written to {path}")
    return 1 if failures else 0


def _rows(found: Iterator[Prediction], failures: list[Path | None]) -> Iterator[dict[str, Any]]:
    """A row of each prediction, as it comes; a file that cannot be used is also told of."""
    for prediction in found:
        if prediction.error is not None:
            failures.append(prediction.path)
            sys.stderr.write(f"refine-iqa: {prediction.error}\n")
        yield prediction.to_json()


def _print(rows: Iterator[dict[str, Any]], form: str) -> None:
    """Write rows to standard output, each at once."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        writer.writerow(COLUMNS)
    for row in rows:
        values = jsonable(row)
        if form == "csv":
            writer.writerow([values[name] for name in COLUMNS])
        else:
            sys.stdout.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
