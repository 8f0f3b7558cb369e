"""What can be chosen in every command but `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from refine_iqa.config.data import MediaSettings, OnBadRow
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.serving.config import ServeSettings

Checkpoint = Annotated[str | None, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")]
Mode = Literal["direct", "reasoned", "levels"]
VideoAs = Literal["frames", "video"]
Family = Literal["qwen2_5_vl", "qwen3_vl"]
PerceptionTask = Literal["type", "severity", "grounding", "joint"]


@dataclass(frozen=True, kw_only=True)
class CheckConfig(MediaSettings):
    """Read every row of a training table and decode what it names."""

    data: Path
    """The table: JSON, JSON lines or CSV."""
    data_root: Path | None = None
    """Folder that relative paths begin at; none: the table's own."""
    out: Path | None = None
    """JSON file for the counts, and the rows that cannot be used; none: they are printed alone."""


@dataclass(frozen=True, kw_only=True)
class PerceptionConfig:
    """Distort pristine images in known ways and places, and ask about it: the data of stage 1."""

    images: Path
    """Folder of pristine images."""
    out: Path
    """Folder for images/, train.jsonl and manifest.json."""
    per_image: int = 4
    """Distorted versions of each image."""
    local_share: float = 0.75
    """Share of them that is distorted inside a box only."""
    tasks: tuple[PerceptionTask, ...] = ("type", "severity", "grounding", "joint")
    """What is asked about each; grounding only where there is a box."""
    multiple_choice: bool = True
    """The type is one of four named ones; otherwise the question is open."""
    format: Literal["png", "jpg"] = "png"
    """File format of the distorted images; jpg is smaller, and adds its own artefacts (quality 95)."""
    seed: int = 0
    """Key of everything random."""
    workers: int = setting(1, changes_numbers=False)
    """Threads; what is made does not depend on it."""
    on_bad_row: OnBadRow = "raise"
    """An image that cannot be read stops the command, or is left out and listed."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for name in ("per_image", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if not 0 <= self.local_share <= 1:
            raise ConfigError("local_share", self.local_share, "between 0 and 1")
        if not self.tasks:
            raise ConfigError("tasks", self.tasks, "one or more")


@dataclass(frozen=True, kw_only=True)
class TinyModelConfig:
    """Write a tiny random model with its processor, to try a command line without a download."""

    out: Path
    """Folder for the model."""
    family: Family = "qwen2_5_vl"
    """Whose architecture."""
    seed: int = 0
    """Key of its weights."""


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """How a model is asked for a score."""

    mode: Mode = "direct"
    """From the probabilities of the score's digits, without reasoning; from a reasoned answer; or from
    those of five words (excellent ... bad)."""
    samples: int = 1
    """Mode reasoned: answers whose mean is the score; 1: the likeliest answer, always the same."""
    max_new_tokens: int = 512
    """Mode reasoned: most tokens of an answer."""
    video_as: VideoAs = "frames"
    """How a video is shown: as images after their times, as in training here; or by the model's own video
    input, as the released models were trained."""
    rope: Literal["library", "original"] = "library"
    """With --video-as video, positions of the text after it: transformers', or those that Qwen2.5-VL was
    trained with."""
    batch_size: int = setting(8, changes_numbers=False)
    """Pictures that are scored at the same time."""
    seed: int = 0
    """Key of sampled answers and of the bootstrap."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of weights and sums."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the model runs."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for name in ("samples", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")


@dataclass(frozen=True, kw_only=True)
class PredictConfig(MediaSettings, ScoringSettings):
    """Rate the quality of your own images and videos, 1 (bad) to 5 (excellent)."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Images, videos, or folders of them."""
    checkpoint: Checkpoint = None
    """Run folder, model folder or hub id."""
    explain: bool = False
    """Reason before scoring, and write the reasoning: the same as --mode reasoned."""
    question: str | None = None
    """What is asked; none: the overall quality."""
    format: Literal["jsonl", "csv"] = "jsonl"
    """JSON lines or CSV."""
    out: Path | None = None
    """Folder for predictions.jsonl or predictions.csv; none: the scores go to standard output."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        MediaSettings.__post_init__(self)
        ScoringSettings.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(MediaSettings, ScoringSettings):
    """Judge a model on a benchmark: SRCC, PLCC, KRCC and RMSE with intervals."""

    checkpoint: Checkpoint = None
    """Run folder, model folder or hub id; none: give `predictions`."""
    benchmark: str = "koniq"
    """Name of a benchmark (koniq, spaq, kadid, livec, agiqa, csiq, pipal, bid, live, tid2013, flive, lsvq,
    konvid, livevqc), or `table` or `perception`: rows as training has them."""
    data: Path | None = None
    """Folder of the benchmark's images or videos."""
    labels: Path | None = None
    """Label file, or the table; none: the benchmark's own, in `data`."""
    split: Literal["all", "train", "val", "test"] = "test"
    """Which rows: the published split, else one by reference or row."""
    limit: int | None = None
    """Score so many rows, drawn at random; none: all."""
    predictions: Path | None = None
    """CSV with path and score: judge these instead of running a model."""
    on_bad_row: OnBadRow = "raise"
    """A file that cannot be read stops the command, or is left out and listed."""
    out: Path = Path("results")
    """Folder for evaluation.json, predictions.csv and report.html."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        MediaSettings.__post_init__(self)
        ScoringSettings.__post_init__(self)
        if self.limit is not None and self.limit < 2:
            raise ConfigError("limit", self.limit, "2 or more, or none")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Turn a trained run into a model folder that stands alone: weights, processor and card."""

    source: Annotated[str, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")]
    """Run folder, model folder, folder of LoRA adapters, or hub id."""
    out: Path
    """Folder for the model; new or empty."""
    merge_lora: bool = False
    """Add the adapters to the weights, so that the model needs neither peft nor its base."""
    base: Checkpoint = None
    """The model that the adapters belong to; none: the one they name."""
    push_to_hub: str | None = None
    """Hub id to upload the folder to (owner/name); none: no upload."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig(ServeSettings):
    """Teach a tiny model the answer's format, then tune it by GRPO, on embedded pictures."""

    out: Path = Path("runs/demo-refine-iqa")
    """Folder for data, runs and report.html; an earlier demo in it is replaced."""
    full: bool = False
    """Three seeds and several distortions, and the claim about scores: long, see its first line."""
    seed: int = 0
    """Key of everything random."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the models run."""
