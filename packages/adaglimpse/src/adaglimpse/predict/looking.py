"""Looking at images, a batch at a time: every glimpse, what was made of it, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from adaglimpse.config import EvalAction, GlimpseModelConfig, Task
from adaglimpse.data.items import denormalised, normalised
from adaglimpse.data.transforms import evaluation
from adaglimpse.exploring import Look, explore
from adaglimpse.method.tasks import Segmentation, Target, TaskHead, head_of
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import Learnt, Replace
from adaglimpse.predict.prediction import Prediction
from adaglimpse.predict.sources import Picture, find, pictures
from shared_core.errors import ConfigError, NonFiniteError, UsageError, UserError


def predict(
    model: GlimpseModel,
    sources: Sequence[Path | str],
    *,
    num_glimpses: int | None = None,
    early_stop_threshold: float | None = None,
    eval_action: EvalAction = "mean",
    every: int = 30,
    batch_size: int = 8,
    seed: int = 0,
    replace: Replace | None = None,
) -> list[Prediction]:
    """Look at images, and say where and what was made of them after each glimpse.

    Everything is kept in memory, pictures of each step included: for thousands of images, take them one
    after the other from `predictions`.

    Args:
        model: any.
        sources: images, videos, or folders of them.
        num_glimpses: of an episode; None: as the model was trained.
        early_stop_threshold: an image stops once its score (see `Prediction`) is above this; None: never.
        eval_action: how an action comes from the policy's distribution.
        every: of a video, every so many frames one is looked at, as an image of its own.
        batch_size: images that are looked at side by side; the result does not depend on it.
        seed: key of drawn actions.
        replace: changes what the policy sees, for ablations.

    Raises:
        DataError: a path does not exist, or a file cannot be used.
        UsageError: a number is below 1, or a segmentation is to stop early.
        NonFiniteError: an answer is not finite.
    """
    _require_positive(every=every)
    was_training = model.training
    model.eval()
    try:
        found = predictions(
            model,
            pictures(find([Path(source) for source in sources]), every, _raise),
            num_glimpses=num_glimpses,
            early_stop_threshold=early_stop_threshold,
            eval_action=eval_action,
            batch_size=batch_size,
            seed=seed,
            replace=replace,
        )
        return list(found)
    finally:
        model.train(was_training)


def predictions(
    model: GlimpseModel,
    images: Iterable[Picture],
    *,
    num_glimpses: int | None = None,
    early_stop_threshold: float | None = None,
    eval_action: EvalAction = "mean",
    batch_size: int = 8,
    seed: int = 0,
    replace: Replace | None = None,
) -> Iterator[Prediction]:
    """Look at images that are read, or are still being read, with one batch of them in memory.

    Args:
        model: in evaluation mode.
        images: to look at.
        num_glimpses: as `predict`.
        early_stop_threshold: as `predict`.
        eval_action: as `predict`.
        batch_size: as `predict`.
        seed: as `predict`.
        replace: as `predict`.

    Raises:
        UsageError: as `predict`.
        NonFiniteError: as `predict`.
    """
    glimpses = model.config.num_glimpses if num_glimpses is None else num_glimpses
    _require_positive(num_glimpses=glimpses, batch_size=batch_size)
    segments = model.config.task == "segmentation"
    if early_stop_threshold is not None and segments:
        raise UsageError(
            "early_stop_threshold: the score of a segmentation needs the answer, so that it cannot stop."
        )
    head: TaskHead = _Unanswered() if segments else head_of(model.config.task)
    choose = Learnt(model, eval_action, seed, replace)
    images, first = iter(images), 0
    while batch := list(islice(images, batch_size)):
        resized = _resized(batch, model.config)
        target = _target(resized, next(model.parameters()).device)
        looks = explore(
            model,
            head,
            target,
            choose,
            torch.arange(first, first + len(batch)),
            glimpses=glimpses,
            threshold=early_stop_threshold,
        )
        yield from _collected(batch, resized, model.config, looks)
        first += len(batch)


def _require_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ConfigError(name, value, "1 or more")


def _raise(path: Path, error: UserError) -> NoReturn:  # noqa: ARG001 - the error names the file
    raise error


class _Unanswered(Segmentation):
    """A segmentation whose right answer nobody knows: it has no score."""

    def score(self, prediction: Tensor, target: Target, *, training: bool) -> Tensor:  # noqa: ARG002
        """NaN."""
        return prediction.new_full((len(prediction),), torch.nan)


def _resized(
    batch: Sequence[Picture], config: GlimpseModelConfig
) -> list[UInt8[np.ndarray, "H W 3"]]:
    return [
        np.array(evaluation(picture.image, None, config.image_size, task=config.task)[0])
        for picture in batch
    ]


def _target(images: Sequence[UInt8[np.ndarray, "H W 3"]], device: torch.device) -> Target:
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device)
    return Target(
        images=normalised(pixels),
        labels=torch.full((len(images),), -1, device=device),
        masks=torch.zeros(len(images), 0, 0, dtype=torch.uint8, device=device),
    )


class _Step(NamedTuple):
    """What is kept of one image after one look."""

    action: np.ndarray
    boxes: np.ndarray
    score: float
    seconds: float
    answer: np.ndarray


def _collected(
    batch: Sequence[Picture],
    resized: Sequence[np.ndarray],
    config: GlimpseModelConfig,
    looks: Iterator[Look],
) -> Iterator[Prediction]:
    """What the looks at a batch say of each of its images."""
    before: list[_Step] = []
    after: list[list[_Step]] = [[] for _ in batch]
    for look, seconds in _timed(looks):
        rows = look.rows.tolist()
        steps = _steps(look, config, seconds / len(rows))
        if look.step == 0:
            before = steps
            continue
        for row, step in zip(rows, steps, strict=True):
            after[row].append(step)
    per_glimpse = config.glimpse_grid_size**2
    for picture, image, first, glimpses in zip(batch, resized, before, after, strict=True):
        boxes = np.array([step.boxes for step in glimpses], np.int64)
        actions = np.array([step.action for step in glimpses], np.float32)
        steps = [first, *glimpses]
        yield Prediction(
            path=picture.path,
            frame=picture.frame,
            name=picture.name,
            config=config,
            image=image,
            boxes=boxes.reshape(
                -1, per_glimpse, 4
            ),  # of an image that stops at once there are none
            actions=actions.reshape(-1, 3),
            scores=np.array([step.score for step in steps]),
            seconds=np.array([step.seconds for step in steps]),
            answers=np.stack([step.answer for step in steps]),
        )


def _timed(looks: Iterator[Look]) -> Iterator[tuple[Look, float]]:
    """Looks, each with the seconds until it was there; what is done with it does not count."""
    while True:
        start = time.perf_counter()
        look = next(looks, None)
        if look is None:
            return
        if look.boxes.is_cuda:
            torch.cuda.synchronize(look.boxes.device)
        yield look, time.perf_counter() - start


def _steps(look: Look, config: GlimpseModelConfig, seconds: float) -> list[_Step]:
    """What is kept of each image of a look.

    Raises:
        NonFiniteError: an answer is not finite.
    """
    if look.prediction is None or look.score is None:
        raise ValueError("an image that is shown needs an answer after every glimpse")
    if not bool(look.prediction.isfinite().all()):
        raise NonFiniteError(
            f"after {look.step} glimpses: the model's answer is not finite; its weights are damaged."
        )
    count = len(look.rows)
    actions = torch.zeros(count, 3) if look.actions is None else look.actions
    columns = zip(
        actions.cpu().numpy(),
        look.boxes[:, -(config.glimpse_grid_size**2) :].cpu().numpy(),
        look.score.tolist(),
        [seconds] * count,
        _answers(config.task, look.prediction),
        strict=True,
    )
    return [_Step(*column) for column in columns]


def _answers(task: Task, prediction: Tensor) -> np.ndarray:
    """What is kept of the predictions of some images."""
    if task == "reconstruction":
        pixels = denormalised(prediction).round().to(torch.uint8)
        return np.asarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
    if task == "classification":
        return np.asarray(prediction.float().softmax(dim=1).cpu().numpy())
    return np.asarray(prediction.argmax(dim=1).to(torch.uint8).cpu().numpy())
