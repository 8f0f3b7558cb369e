"""What can be chosen in every command but `train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from abaw_va.config.training import Compat, Smoothing
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.serving.config import ServeSettings


@dataclass(frozen=True, kw_only=True)
class AnnotationsConfig:
    """Turn Aff-Wild2 annotation texts into the targets of a data root."""

    annotations: Path
    """Folder, or zip or tar archive, that holds Train_Set and Validation_Set, each with one text per
    video, at any depth; of several challenges, the folder of VA is taken."""
    data: Path
    """Data root to write."""
    test_list: Path | None = None
    """Text with one test video per line."""
    videos: Path | None = None
    """Folder with the video files; needed for the lengths of test videos."""
    test_length: Literal["frames", "frames+1"] = "frames+1"
    """Frames of a test video: as decoded, or one more, as the official labels of Aff-Wild2 have."""


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Turn tables with one row per frame (features, valence, arousal) into a data root."""

    tables: Path
    """Folder of CSV files, one per video, with the columns `valence` and `arousal`."""
    data: Path
    """Data root to write."""
    features: tuple[str, ...]
    """Features as NAME=COLUMN,COLUMN,...; a column may be a pattern, such as au=AU*."""
    val: tuple[str, ...] = ()
    """Names of the tables for validation, without .csv; the others are for training."""
    test: tuple[str, ...] = ()
    """Names of the tables for testing; their labels are left out."""
    frames_per_second: float = 30.0
    """Rate of the rows, for smoothing windows in seconds."""

    def __post_init__(self) -> None:
        """Refuse features that name no column.

        Raises:
            ConfigError: names the field.
        """
        for feature in self.features:
            name, _, columns = feature.partition("=")
            if not name or not columns:
                raise ConfigError("features", feature, "NAME=COLUMN,COLUMN,...")
        if not self.features:
            raise ConfigError("features", self.features, "at least one feature")


@dataclass(frozen=True, kw_only=True)
class FoldsConfig:
    """Deal the training videos into folds of equal length and equal share of emotions."""

    data: Path
    """Data root, prepared."""
    folds: int = 5
    """Number of folds."""
    tries: int = 10_000
    """Random deals among which the best is taken."""
    seed: int = setting(0)
    """Key of the random deals."""

    def __post_init__(self) -> None:
        """Refuse fewer than two folds.

        Raises:
            ConfigError: names the field.
        """
        if self.folds < 2:
            raise ConfigError("folds", self.folds, "2 or more")
        if self.tries < 1:
            raise ConfigError("tries", self.tries, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Perception:
    """How faces and sound are found in a video."""

    person: Literal["largest", "left", "right"] = "largest"
    """Whose face, where a video shows several people."""
    boxes: Path | None = None
    """CSV with face boxes (frame,x0,y0,x1,y1 in fractions), or a folder of them named as the videos;
    nothing is detected then."""
    detector: Literal["cascade", "yunet"] = "cascade"
    """OpenCV's cascades, which need no file, or YuNet, which finds more faces."""
    detector_weights: Path | None = None
    """YuNet's ONNX file; without it, it is downloaded once and checked."""
    detect_every: int = 5
    """Frames between two detections; boxes between them are interpolated."""
    weights: tuple[str, ...] = ()
    """Weights of the feature extractors as NAME=PATH, such as vggish=vggish.pth."""
    compat: bool = False
    """As the authors extract: sound is mapped as if every video had 30 frames per second, wav2vec
    hears separate pieces of 120 s, and the first frame never stands in for one without a face."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: names the field and what it may be.
        """
        if self.detect_every < 1:
            raise ConfigError("detect_every", self.detect_every, "1 or more")
        for entry in self.weights:
            if not all(entry.partition("=")):
                raise ConfigError("weights", entry, "NAME=PATH")

    @property
    def weights_of(self) -> dict[str, str]:
        """Path, or id on a hub, by the extractor's name."""
        return {name: path for name, _, path in (entry.partition("=") for entry in self.weights)}


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(Perception):
    """Make the features of a data root from its videos."""

    data: Path
    """Data root with targets."""
    videos: Path
    """Folder with the video files, named as the ids."""
    features: tuple[str, ...]
    """Features to make."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val")
    """Whose videos."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the extractors run."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Judge a trained network on the validation videos, and write the challenge's result files."""

    checkpoint: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")]
    """Run folder, model folder or hub id; the predictions of several are averaged."""
    data: Path
    """Data root."""
    out: Path = Path("results")
    """Folder for the result files, evaluation.json and report.html."""
    test: bool = True
    """Also write the predictions of the test videos, where the data root has them."""
    fold: int | None = None
    """Judge on a cross-validation fold instead of the official validation set."""
    smoothing: Smoothing = field(default_factory=Smoothing)
    """Moving average of the predictions."""
    seed: int = 0
    """Key of the bootstrap."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig(Perception):
    """Valence and arousal for every frame of videos."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Videos, or folders of them."""
    checkpoint: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")] = ()
    """Run folder, model folder or hub id; the predictions of several are averaged."""
    out: Path = Path("predictions")
    """Folder for the results; videos whose results lie there already are passed over."""
    overlay: bool = False
    """Also write each video with the curves drawn in."""
    smoothing: Smoothing = field(default_factory=Smoothing)
    """Moving average of the predictions."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the networks run."""

    def __post_init__(self) -> None:
        """Refuse an empty list.

        Raises:
            ConfigError: names the field.
        """
        super().__post_init__()
        if not self.sources:
            raise ConfigError("sources", self.sources, "at least one video file or folder")


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig:
    """Average result folders of several networks into one."""

    results: tuple[Path, ...]
    """Result folders, as `evaluate` writes them."""
    out: Path
    """Result folder to write."""
    smoothed: bool = True
    """Average the smoothed predictions; else those that are only clipped."""
    target: Literal["both", "valence", "arousal"] = "both"
    """Which target."""


@dataclass(frozen=True, kw_only=True)
class SmoothConfig:
    """Smooth the raw predictions of a result folder anew, with a window given or searched."""

    results: Path
    """Result folder, as `evaluate` writes it."""
    out: Path
    """Result folder to write."""
    valence: int = 50
    """Frames to each side for valence."""
    arousal: int = 20
    """Frames to each side for arousal."""
    search: bool = False
    """Take the windows with the best CCC on the labels instead (0, 5, ..., 95); the CCC of the window
    that is best for the other videos is told beside it, since a figure that was searched for flatters."""

    def __post_init__(self) -> None:
        """Refuse negative windows.

        Raises:
            ConfigError: names the field.
        """
        for name in ("valence", "arousal"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "0 or more frames")


@dataclass(frozen=True, kw_only=True)
class SubmitConfig:
    """Write text files for the challenge from result folders."""

    results: tuple[Path, ...]
    """Result folders; the predictions of several are averaged."""
    out: Path
    """Folder to write."""
    format: Literal["upstream", "per-video", "single-file"] = "per-video"
    """One file per target and video, as the authors; both columns per video; one file for all."""
    smoothed: bool = True
    """Take the smoothed predictions."""
    split: Literal["test", "val"] = "test"
    """Whose predictions."""


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Turn the authors' `.pth` files into a model folder, or back."""

    source: Path
    """The authors' checkpoint folder, which holds train_opt.conf; or, with --back, a model folder."""
    out: Path
    """Folder to write."""
    prefix: str = "latest"
    """Start of the files' names: the epoch."""
    data: Path | None = None
    """Data root whose training frames normalise the features; needed for a network that normalises by
    `trn`, since the authors' files do not hold the mean and the deviation."""
    compat: Compat = field(default_factory=Compat)
    """Quirks that the network keeps at inference."""
    back: bool = False
    """Write the authors' files from a model folder."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig(ServeSettings):
    """Learn valence and arousal of drawn faces and voices, and use what was learnt."""

    out: Path = Path("runs/demo-abaw-va")
    """Folder for everything the demo writes; what an earlier demo left there is replaced."""
    seed: int = 0
    """Key of everything random."""
    full: bool = False
    """Train with three seeds, for an interval over seeds."""
    weights: tuple[str, ...] = ()
    """With --serve: weights of the feature extractors as NAME=PATH, such as vggish=vggish.pth."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the networks run."""
