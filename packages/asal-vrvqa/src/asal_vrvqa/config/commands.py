"""What can be chosen in every command but `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from asal_vrvqa.config.training import TrainConfig, check_strategy
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.serving.config import ServeSettings

Checkpoint = Annotated[str, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")]


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """Turn raw 360-degree videos into the frames that training reads: one a second, turned to the start."""

    videos: Path
    """Folder with the videos, named as in the labels (A_Bay.mp4)."""
    labels: Path
    """Folder with infoA.csv and infoB.csv: VideoName, HM_pitch, HM_yaw (start directions, degrees)."""
    out: Path
    """Folder for {A|B}_{source}/NNN.png; what is finished there is passed over."""
    cache: Path | None = None
    """Folder for the same frames as uint8 arrays, which training maps instead of decoding PNGs."""
    png: bool = True
    """Write PNGs; without them `--cache` is all there is."""
    width: int = 1024
    """Pixels of a frame's width; its height is half of it."""
    seconds: int = 15
    """Frames of each video; a shorter video repeats its last."""
    projection: Literal["check", "equirectangular"] = "check"
    """Refuse videos whose display aspect is not 2:1, or take every video for equirectangular."""
    on_bad_row: Literal["raise", "quarantine"] = "quarantine"
    """A video that cannot be used stops the command, or is left out and listed."""
    workers: int = setting(2, changes_numbers=False)
    """Videos that are read at the same time."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be.

        Raises:
            ConfigError: names the field.
        """
        if self.width < 2 or self.width % 2:
            raise ConfigError("width", self.width, "an even number of pixels")
        for name in ("seconds", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if not self.png and self.cache is None:
            raise ConfigError("png", False, "true, or a folder for --cache")


@dataclass(frozen=True, kw_only=True)
class ViewportsConfig:
    """Cut viewports along the viewers' scanpaths out of raw 360-degree videos."""

    videos: Path
    """Folder with the videos."""
    labels: Path
    """Folder with scanpathA.csv and scanpathB.csv: VideoName, subject, HM_pitch, HM_yaw, a row a second."""
    out: Path
    """Folder for {A|B}_{source}/sub{ID}/NNN.png; what is finished there is passed over."""
    size: int = 224
    """Pixels of each side of a viewport."""
    field_of_view: float = 90.0
    """Degrees that a viewport spans, both ways."""
    interpolation: Literal["bicubic", "spline"] = "bicubic"
    """Bicubic with wrapping columns, or the authors' cubic spline: several times slower."""
    projection: Literal["check", "equirectangular"] = "check"
    """Refuse videos whose display aspect is not 2:1, or take every video for equirectangular."""
    on_bad_row: Literal["raise", "quarantine"] = "quarantine"
    """A video that cannot be used stops the command, or is left out and listed."""
    workers: int = setting(2, changes_numbers=False)
    """Videos that are read at the same time."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be.

        Raises:
            ConfigError: names the field.
        """
        for name in ("size", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if not 0 < self.field_of_view < 180:
            raise ConfigError("field_of_view", self.field_of_view, "degrees above 0 and below 180")


@dataclass(frozen=True, kw_only=True)
class SplitsConfig:
    """Write down which clips a run would train and test on, and look at every frame they need."""

    train: TrainConfig
    """The run."""
    out: Path = Path("splits.json")
    """JSON file for the lists and their hashes."""
    look: bool = True
    """Look for the frames of every clip."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Judge a model, or all task models of a run, on labelled clips."""

    checkpoint: Checkpoint
    """Run folder (all its tasks are judged), model folder or hub id."""
    labels: Path
    """Folder with infoAB_all.csv and the categories."""
    frames: Path
    """Folder of frame folders."""
    cache: Path | None = setting(None, changes_numbers=False)
    """Folder of the uint8 cache."""
    tasks: tuple[str, ...] = ()
    """Categories to judge on; none: the run's tasks, or all categories of the labels."""
    split: Literal["test", "train", "all"] = "test"
    """Which clips of each category. The test clips of a run are its own; all else goes by the settings
    below."""
    split_unit: Literal["source", "clip"] = "source"
    """What was dealt to training and test."""
    train_ratio: float = 0.8
    """Share that was trained on."""
    split_seed: int = 1024
    """Key of the split."""
    logistic_fit: bool = False
    """Also PLCC and RMSE after the field's four-parameter logistic."""
    out: Path = Path("results")
    """Folder for evaluation.json, scores.csv and report.html."""
    batch_size: int = setting(4, changes_numbers=False)
    """Frames in a pass."""
    workers: int = setting(0, changes_numbers=False)
    """Loader processes."""
    on_bad_row: Literal["raise", "quarantine"] = "raise"
    """A bad clip stops the command, or is left out and listed."""
    seed: int = 0
    """Key of the bootstrap."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Learn one stream by several strategies, and compare what each remembers."""

    train: TrainConfig
    """What all runs share; their folders lie in `out`."""
    strategies: tuple[str, ...] = ("finetune", "er", "asal", "joint")
    """Which."""
    seeds: tuple[int, ...] = (0,)
    """One run of each strategy for each seed; with two or more, intervals are over seeds."""
    jobs: int = setting(1, changes_numbers=False)
    """Runs that are made at the same time, each a process of its own."""
    out: Path = Path("runs/compare")
    """Folder for the runs, comparison.json, comparison.csv and report.html; finished runs are kept."""

    def __post_init__(self) -> None:
        """Refuse an empty comparison.

        Raises:
            ConfigError: names the field.
        """
        if self.jobs < 1:
            raise ConfigError("jobs", self.jobs, "1 or more")
        for name in ("strategies", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(name, values, "one or more, each once")
        for name in self.strategies:
            check_strategy(name, "strategies")


@dataclass(frozen=True, kw_only=True)
class LandscapeConfig:
    """How the loss grows around a run's task models, along random directions: costly, see its first line."""

    checkpoint: Path
    """Run folder."""
    out: Path = Path("landscape")
    """Folder for landscape.json and report.html."""
    low: float = -1.0
    """First step."""
    high: float = 1.0
    """Where the steps end; not one of them."""
    step: float = 0.04
    """Between two steps."""
    directions: int = 1
    """Random directions, each normalised to the norm of each filter."""
    clips: int | None = 32
    """Clips of each task, the first ones of its test set; none: all."""
    yes: bool = False
    """Begin without asking."""
    batch_size: int = setting(4, changes_numbers=False)
    """Frames in a pass."""
    seed: int = 1024
    """Key of the directions."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""

    def __post_init__(self) -> None:
        """Refuse a line without points.

        Raises:
            ConfigError: names the field.
        """
        if not self.step > 0 or not self.low < self.high:
            raise ConfigError("step", self.step, "above 0, with low below high")
        if self.directions < 1:
            raise ConfigError("directions", self.directions, "1 or more")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Score 360-degree videos, as viewers who watch 7 or 15 seconds of them from a start direction would."""

    sources: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Equirectangular videos, folders of frames (one a second), or folders of videos."""
    table: Path | None = None
    """CSV of many videos: path, and optionally seconds, yaw, pitch; instead of sources."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")] = None
    """Run folder, model folder or hub id."""
    seconds: Literal[7, 15] = 7
    """Viewing time: frames 0 to 6, or 0, 2, ... 12."""
    yaw: float = 0.0
    """Start direction, degrees to the right of the frame's middle, as HM_yaw of VR-VQW."""
    pitch: float = 0.0
    """Start direction, degrees below the horizon, as HM_pitch of VR-VQW."""
    begin: float = 0.0
    """Second of the video at which viewing begins."""
    repeat_last: bool = False
    """A video that is too short repeats its last frame; else it is an error."""
    projection: Literal["check", "equirectangular"] = "check"
    """Refuse videos whose display aspect is not 2:1, or take every video for equirectangular."""
    out: Path = Path("predictions")
    """Folder for scores.csv, a JSON and a plot for each source, and report.html; what lies there
    already, of the same settings, is passed over."""
    batch_size: int = setting(4, changes_numbers=False)
    """Frames in a pass."""
    seed: int = 0
    """Key of the bootstrap."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: names the field and what it may be.
        """
        if bool(self.sources) == (self.table is not None):
            raise ConfigError("sources", self.sources, "videos or folders of frames, or --table")
        if self.batch_size < 1:
            raise ConfigError("batch_size", self.batch_size, "1 or more")
        if not self.begin >= 0:
            raise ConfigError("begin", self.begin, "seconds, 0 or more")
        if not -90 <= self.pitch <= 90:
            raise ConfigError("pitch", self.pitch, "degrees from -90 to 90")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Turn the authors' checkpoint, or torchvision's ResNet-18, into a model, or a model into a graph."""

    source: Path
    """best_model.pth, last_model.pth, last_model-task{t}.pth, resnet18-f37072fd.pth, or a run or model
    folder."""
    out: Path
    """Model folder, or file, to write."""
    to: Literal["model", "onnx", "pt2"] = "model"
    """What to write: a model, or the graph that scores frames, for ONNX or as torch.export saves it."""
    parts: int = 16
    """Bands of latitude of the network (authors: 16)."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig(ServeSettings):
    """Learn a stream of five kinds of drawn panoramas by three strategies, and score a video."""

    out: Path = Path("runs/demo-asal-vrvqa")
    """Folder for everything the demo writes; what an earlier demo left there is replaced."""
    seed: int = 0
    """Key of everything random."""
    full: bool = False
    """Five seeds of each strategy, and the plain backbone beside the sphere's."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the networks run."""
