"""Looking at images in evaluation: glimpse after glimpse, each image until it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from adaglimpse.method.tasks import Target, TaskHead
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import Chooser


@dataclass(frozen=True)
class Look:
    """What is known of the images that are still looked at, after some glimpses.

    Attributes:
        step: glimpses so far.
        rows: which of the images these are.
        boxes: of all patches so far.
        prediction: from them; None where it was not asked for.
        score: of the prediction; None without one.
        actions: of the latest glimpse; None before the first.
        importance: of the patches, by attention rollout; None where no policy saw it.
        latents: of the patches; None where no policy saw them.
        stops: images that are not looked at any longer.
    """

    step: int
    rows: Int64[Tensor, " n"]
    boxes: Int64[Tensor, "n L 4"]
    prediction: Tensor | None
    score: Float[Tensor, " n"] | None
    actions: Float[Tensor, "n 3"] | None
    patches: Float[Tensor, "n L 3 16 16"]
    importance: Float[Tensor, "n L 1"] | None
    latents: Float[Tensor, "n L D"] | None
    stops: Bool[Tensor, " n"]


def always(step: int) -> bool:  # noqa: ARG001
    """Every step."""
    return True


@torch.inference_mode()
def explore(
    model: GlimpseModel,
    head: TaskHead,
    target: Target,
    choose: Chooser,
    items: Int64[Tensor, " B"],
    *,
    glimpses: int,
    threshold: float | None = None,
    asked: Callable[[int], bool] = always,
) -> Iterator[Look]:
    """Look at a batch of images, and tell what is known before the first glimpse and after each.

    An image that has stopped is not computed any further. What comes out of an image does not depend
    on those beside it.

    Args:
        model: in evaluation mode.
        head: its task.
        target: the images; what the scores need of the rest.
        choose: the next glimpses.
        items: numbers of the images in their data set.
        glimpses: at most so many.
        threshold: an image whose score is above this stops; None: none stops early.
        asked: steps whose prediction is wanted; with a threshold, all are made.
    """
    views = model.views(target.images, glimpses)
    rows = torch.arange(len(items), device=views.images.device)
    actions: Tensor | None = None
    for step in range(glimpses + 1):
        final = step == glimpses
        predicts = asked(step) or threshold is not None
        sees = choose.sees and not final
        encoded = model.encode(views, for_policy=sees) if predicts or sees else None
        prediction = score = None
        if predicts and encoded is not None:
            prediction = head.predict(model.mae, encoded.tokens, model.decoder_valid(views))
            score = head.score(prediction, target, training=False)
        stops = torch.full_like(rows, final, dtype=torch.bool)
        if threshold is not None and score is not None:
            stops = stops | (score > threshold)
        patches, boxes, _ = views.known()
        yield Look(
            step=step,
            rows=rows,
            boxes=boxes,
            prediction=prediction,
            score=score,
            actions=actions,
            patches=patches,
            importance=None if encoded is None else encoded.importance,
            latents=encoded.latents[:, 1:] if encoded is not None and sees else None,
            stops=stops,
        )
        if final or (threshold is not None and bool(stops.all())):
            return
        actions = choose(views, encoded, items)
        if threshold is not None and bool(stops.any()):
            left = (~stops).nonzero()[:, 0]
            views.keep(left)
            rows, actions, target = rows[left], actions[left], target.rows(left)
            items = items[left.cpu()]
        views.look(actions)
