"""What can be chosen in every command but `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from adaglimpse.config.data import DataSettings, Split
from adaglimpse.config.model import Task
from adaglimpse.config.training import EvalAction
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.serving.config import ServeSettings

Checkpoint = Annotated[str, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")]
Policy = Literal["learnt", "random", "grid", "centre", "full"]


@dataclass(frozen=True, kw_only=True)
class CheckConfig(DataSettings):
    """Look at every image of a data set: what can be read, how large it is, which classes there are."""

    task: Task = "reconstruction"
    """What the data are for."""
    out: Path | None = None
    """JSON file for the counts, the classes, and what cannot be used; none: they are printed alone."""


@dataclass(frozen=True, kw_only=True)
class ImagenetConfig:
    """Unpack ImageNet-1k's archives, as they are downloaded, into folders of classes."""

    archives: Path
    """Folder with ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar."""
    out: Path
    """Folder for `train/<wnid>/` and `val/<wnid>/`."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DataSettings):
    """Judge a model at every number of glimpses, beside fixed ways to look."""

    checkpoint: Checkpoint
    """Run folder, model folder or hub id."""
    split: Split = "val"
    """Which images."""
    policies: tuple[Policy, ...] = ("learnt", "random", "grid", "centre", "full")
    """Ways to look, set side by side: the learnt policy, random glimpses, tiles of the image row by row,
    the centre ever closer, or the whole image every time."""
    num_glimpses: int | None = None
    """Glimpses of an episode; none: as the model was trained."""
    early_stop_threshold: float | None = None
    """An image stops once its score is above this (the largest probability of a class, or minus the RMSE of
    a reconstruction); none: never."""
    eval_action: EvalAction = "mean"
    """Action: the distribution's exact mean, its mode, a draw, or the mean of 1000 draws."""
    compat_metrics: bool = False
    """Segmentation measures without a labelled pixel as the authors' library has them: 0, 0 and NaN."""
    scan_paths: bool = True
    """Write the glimpses of every image: scan_paths.jsonl."""
    batch_size: int = setting(32, changes_numbers=False)
    """Images that are judged at the same time."""
    out: Path = Path("results")
    """Folder for evaluation.json, curves.csv, scan_paths.jsonl and report.html."""
    seed: int = 0
    """Key of random glimpses and of the bootstrap."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""

    def __post_init__(self) -> None:
        """Refuse an evaluation of nothing.

        Raises:
            ConfigError: names the field.
        """
        if not self.policies or len(set(self.policies)) < len(self.policies):
            raise ConfigError("policies", self.policies, "one or more, each once")
        if self.num_glimpses is not None and self.num_glimpses < 1:
            raise ConfigError("num_glimpses", self.num_glimpses, "1 or more, or none")
        if self.batch_size < 1:
            raise ConfigError("batch_size", self.batch_size, "1 or more")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Look at images, or at frames of videos, through a few glimpses, and show what was seen and said."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Images, videos, or folders of them."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")] = None
    """Run folder, model folder or hub id."""
    num_glimpses: int | None = None
    """Glimpses of an image; none: as the model was trained."""
    early_stop_threshold: float | None = None
    """An image stops once its score is above this (the largest probability of a class, or minus the RMSE of
    a reconstruction); none: never."""
    eval_action: EvalAction = "mean"
    """Action: the distribution's exact mean, its mode, a draw, or the mean of 1000 draws."""
    every: int = 30
    """Of a video, every so many frames one is looked at, as an image of its own."""
    random_samples: int | None = None
    """Look at so many of the images, drawn at random; none: all."""
    pictures: bool = True
    """Write a grid of all steps for each image."""
    save_all: bool = False
    """Also write every panel of the grid as a picture of its own."""
    animate: bool = False
    """Also write an animation of each image, as GIF and MP4."""
    dump_avg_state: Path | None = None
    """Write the mean of what the policy saw over all images into this file (safetensors)."""
    replace_state: tuple[Literal["patches", "coords", "importance", "latent"], ...] = ()
    """Show the policy means instead of these: an ablation; they come from `avg_state`."""
    avg_state: Path | None = None
    """A file of `--dump-avg-state`."""
    out: Path = Path("predictions")
    """Folder for predictions.jsonl, the pictures and report.html."""
    batch_size: int = setting(8, changes_numbers=False)
    """Images that are looked at side by side."""
    seed: int = 0
    """Key of `--random-samples` and of drawn actions."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the network runs."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for name in ("every", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        for name in ("num_glimpses", "random_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, "1 or more, or none")
        if self.replace_state and self.avg_state is None:
            raise ConfigError("avg_state", None, "a file of --dump-avg-state, for replace_state")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Turn weights of the authors, of MAE, or of a teacher into files of this package."""

    source: Path
    """A Lightning checkpoint (.ckpt), or a file of weights (.pth, .pt); no pickle in it is executed."""
    out: Path
    """Folder for the model; for a teacher, a .safetensors file."""
    kind: Literal["auto", "checkpoint", "mae", "vit-teacher", "deeplab-teacher"] = "auto"
    """What the file holds; auto: as its keys say. Weights of a ViT alone are taken for a backbone."""
    task: Task = "reconstruction"
    """Task of a model that is made from a backbone alone; a checkpoint says it itself."""
    num_glimpses: int | None = None
    """Glimpses of an episode; none: as the checkpoint says, or 14."""
    glimpse_grid_size: int | None = None
    """Patches along each side of a glimpse; none: as the checkpoint says, or 2."""
    max_glimpse_size_ratio: float | None = None
    """Side of the largest glimpse; none: as the checkpoint says, or 1."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig(ServeSettings):
    """Teach a small network where to look, on embedded data, and set it beside fixed ways to look."""

    out: Path = Path("runs/demo-adaglimpse")
    """Folder for data, runs and report.html; an earlier demo in it is replaced."""
    full: bool = False
    """Also search that needs zoom, the small backbone, and several seeds: long, see its first line."""
    seed: int = 0
    """Key of everything random."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the networks run."""
