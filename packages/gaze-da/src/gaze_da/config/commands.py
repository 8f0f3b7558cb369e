"""What can be chosen in every command but `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gaze_da.config.training import DatasetName, Protocol
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.serving.config import ServeSettings


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """Make the depth pictures of a data set, or of a folder of pictures."""

    data: Path
    """Root of the data set, or the folder."""
    model: Annotated[str, tyro.conf.arg(metavar="FOLDER|HUB_ID")]
    """Depth estimation model of transformers: a local folder or a hub id (authors: Intel/dpt-large)."""
    revision: str | None = None
    """Commit of the hub repository; needed for a hub id, so that the weights cannot change."""
    dataset: Literal["gazefollow", "videoattentiontarget", "goo", "folder"] = "folder"
    """Layout of the data; `folder` takes every picture below it."""
    out: Path | None = None
    """Folder for the depth of `folder`; none: the folder's name with _depth."""
    format: Literal["jpg", "png", "png16"] = "jpg"
    """File format. The published layouts look for the picture's own name, so jpg; png is without loss
    and is found too; png16 keeps 65 536 steps."""
    batch_size: int = setting(16, changes_numbers=False)
    """Pictures of one size in a pass."""
    workers: int = setting(2, changes_numbers=False)
    """Threads that decode and encode."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the model."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the model runs."""

    def __post_init__(self) -> None:
        """Refuse empty batches.

        Raises:
            ConfigError: names the field.
        """
        for name in ("batch_size", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Look at every row, picture and depth file of a data set, and list all that cannot be used."""

    data: Path
    """Root of the data set."""
    dataset: DatasetName = "gazefollow"
    """Its layout."""
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    """Which of its parts."""
    depth: bool = True
    """Look at depth files too."""
    decode: bool = True
    """Decode every file; else only see that it is there."""
    workers: int = setting(2, changes_numbers=False)
    """Threads that decode."""
    out: Path | None = None
    """JSON file for the counts, and what cannot be used; none: they are printed alone."""


@dataclass(frozen=True, kw_only=True)
class GooConfig:
    """Turn GOO-Real's pickled annotations into JSON lines, without running anything in them."""

    annotations: Path
    """The pickle."""
    out: Path
    """JSON lines to write; beside the picture folder under the pickle's name, training reads them."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Judge a trained network on a data set's test items."""

    checkpoint: Annotated[str, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")]
    """Run folder, model folder or hub id."""
    data: Path
    """Root of the data set."""
    dataset: DatasetName = "gazefollow"
    """Its layout."""
    protocols: tuple[Protocol, ...] = ()
    """How to judge; none: the data set's usual protocols."""
    split: Literal["test", "train"] = "test"
    """Whose items."""
    out: Path = Path("results")
    """Folder for evaluation.json, items.csv and report.html."""
    batch_size: int = setting(32, changes_numbers=False)
    """Items in a pass."""
    workers: int = setting(0, changes_numbers=False)
    """Loader processes."""
    on_bad_row: Literal["raise", "quarantine"] = "raise"
    """A bad row stops the command, or is left out and listed."""
    seed: int = 0
    """Key of the bootstrap."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Where the people in pictures and videos look."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures, videos, or folders of them."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")] = None
    """Run folder, model folder or hub id."""
    out: Path = Path("predictions")
    """Folder for the results; what lies there already, of the same settings, is passed over."""
    heads: Path | None = None
    """CSV (source,frame,person,x0,y0,x1,y1) or JSON with head boxes; nothing is detected then."""
    head: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="X0,Y0,X1,Y1")
    ] = ()
    """A head box of the only source, for all frames of a video; give it once for each person."""
    units: Literal["pixels", "fractions"] = "pixels"
    """Units of the head boxes that are given."""
    detector: Literal["cascade", "yunet"] = "cascade"
    """Finds faces where no head boxes are given; boxes are widened from face to head."""
    detector_weights: Path | None = None
    """YuNet's ONNX file; without it, it is downloaded once and checked."""
    detect_every: int = 5
    """Frames of a video between two detections; boxes between them are interpolated."""
    depth_model: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|HUB_ID")] = None
    """Depth estimation model of transformers."""
    depth_revision: str | None = None
    """Commit of the hub repository of the depth model."""
    depth_files: Path | None = None
    """Folder of depth pictures named as the pictures."""
    every: int = 1
    """Predict every so many frames of a video."""
    batch_size: int = setting(16, changes_numbers=False)
    """People in a pass."""
    overlay: bool = True
    """Write the pictures and videos with heat maps, boxes and gaze lines drawn in."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the networks run."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: names the field and what it may be.
        """
        if not self.sources:
            raise ConfigError("sources", self.sources, "at least one picture, video or folder")
        if self.head and self.heads:
            raise ConfigError("head", self.head, "boxes on the command line or in a file, not both")
        if self.depth_model and self.depth_files:
            raise ConfigError(
                "depth_files", self.depth_files, "depth from a model or from files, not both"
            )
        for name in ("detect_every", "every", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Turn the weights of others into a model folder, or a model into ONNX."""

    source: Path
    """The authors' checkpoint or initial weights, torchvision's ResNet-50, Chong's (2020) spatial
    model, safetensors, or, for `--to onnx` and `--to upstream`, a model folder."""
    out: Path
    """Model folder, or file, to write."""
    to: Literal["model", "onnx", "upstream"] = "model"
    """What to write."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig(ServeSettings):
    """Learn where drawn people look, adapt to another drawing style, and use what was learnt."""

    out: Path = Path("runs/demo-gaze-da")
    """Folder for everything the demo writes; what an earlier demo left there is replaced."""
    seed: int = 0
    """Key of everything random."""
    full: bool = False
    """Train with three seeds, for intervals over seeds and a claim about adaptation."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the networks run."""
