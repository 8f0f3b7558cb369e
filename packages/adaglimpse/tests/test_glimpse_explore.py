"""Looking at images in evaluation, the ways to choose where, and what an evaluation finds."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from adaglimpse import GlimpseModel
from adaglimpse.config import GlimpseModelConfig
from adaglimpse.data.items import ImageDataset, normalised
from adaglimpse.data.layouts import Sample
from adaglimpse.evaluate import evaluate, judge
from adaglimpse.exploring import Look, explore
from adaglimpse.method.glimpses import glimpse_boxes, seen_share
from adaglimpse.method.tasks import Target, head_of
from adaglimpse.policies import Learnt, Random, chooser, grid_actions, scale_of
from adaglimpse.results import LEADING, Judged, columns, row_of

GLIMPSES = 3
CLASSES = 4
SIZE = (48, 64)
"""Not square."""

CONFIG = GlimpseModelConfig(
    task="classification", backbone_size="tiny", image_size=SIZE, num_glimpses=GLIMPSES, glimpse_grid_size=2,
    num_classes=CLASSES, classes=("ant", "bee", "cat", "dog"),
)  # fmt: skip


def model_of(config: GlimpseModelConfig, seed: int = 1) -> GlimpseModel:
    """A model whose answers and glimpses differ from image to image."""
    torch.manual_seed(seed)
    model = GlimpseModel(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(0.15 * torch.randn_like(value))
    return model


@pytest.fixture(scope="module")
def model() -> GlimpseModel:
    return model_of(CONFIG)


@pytest.fixture(scope="module")
def segmenter() -> GlimpseModel:
    return model_of(dataclasses.replace(CONFIG, task="segmentation", extract_latent_layer=1))


@pytest.fixture(scope="module")
def reconstructor() -> GlimpseModel:
    return model_of(dataclasses.replace(CONFIG, task="reconstruction", classes=(), num_classes=1))


def target(count: int, seed: int = 0) -> Target:
    """Smooth images with labels and masks."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 8, generator=draw)
    pixels = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear") * 255
    masks = torch.randint(0, CLASSES, (count, *SIZE), generator=draw).to(torch.uint8)
    masks[:, :5] = 255
    labels = torch.randint(0, CLASSES, (count,), generator=draw)
    return Target(normalised(pixels.to(torch.uint8)), labels, masks)


def looks(
    model: GlimpseModel, of: Target, choose=None, items: Tensor | None = None, **options
) -> list[Look]:
    items = torch.arange(len(of.labels)) if items is None else items
    options.setdefault("glimpses", GLIMPSES)
    head = head_of(model.config.task)
    return list(explore(model, head, of, choose or Learnt(model), items, **options))


# Looking


def test_an_episode_tells_what_is_known_before_the_first_glimpse_and_after_each(model):
    found = looks(model, target(5))
    assert [look.step for look in found] == [0, 1, 2, 3]
    assert [look.boxes.shape[1] for look in found] == [0, 4, 8, 12]
    assert [look.patches.shape[1] for look in found] == [0, 4, 8, 12]
    assert found[0].actions is None
    for earlier, later in pairwise(found):
        assert torch.equal(later.boxes[:, : earlier.boxes.shape[1]], earlier.boxes)
        newest = glimpse_boxes(later.actions, grid=2, image_size=SIZE)
        assert torch.equal(later.boxes[:, -4:], newest)
    assert [bool(look.stops.all()) for look in found] == [False, False, False, True]
    assert [look.latents is None for look in found] == [False, False, False, True]
    assert found[1].importance.shape == (5, 4, 1)
    assert found[2].boxes[:, 4:].float().std(dim=0).sum() > 0  # the image tells where to look next


@pytest.mark.parametrize("which", ["model", "segmenter", "reconstructor"])
def test_what_comes_of_an_image_does_not_depend_on_those_beside_it(which, request):
    model, of = request.getfixturevalue(which), target(6)
    together = looks(model, of)
    for row in (0, 5):
        here = torch.tensor([row])
        alone = looks(model, of.rows(here), items=here)
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one.boxes[0], all_.boxes[row])
            scale = all_.prediction[row].abs().max().clamp(min=1).item()
            torch.testing.assert_close(
                one.prediction[0], all_.prediction[row], atol=1e-5 * scale, rtol=0
            )
            torch.testing.assert_close(one.score[0], all_.score[row], atol=1e-5 * scale, rtol=1e-5)


def test_acceptance_10_the_first_action_is_the_same_whatever_came_before(model):
    of = target(3)
    first = looks(model, of)[1].actions
    looks(model, target(3, seed=9))
    assert torch.equal(looks(model, of)[1].actions, first)
    assert torch.equal(first, first[:1].expand(3, -1))  # nothing has been seen yet
    views = model.views(of.images)
    encoded = model.encode(views)
    short, long = (
        model.policy(model.observation(views, encoded, n)) for n in (None, CONFIG.max_patches)
    )
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


@pytest.mark.parametrize("how", ["mean", "mode"])
def test_acceptance_13_boxes_do_not_depend_on_seed_or_batch_size(model, how):
    of = target(7)
    expected = looks(model, of, Learnt(model, how, seed=0))[-1].boxes
    for size in (1, 3):
        for start in range(0, 7, size):
            rows = torch.arange(start, min(start + size, 7))
            found = looks(model, of.rows(rows), Learnt(model, how, seed=5), rows)[-1].boxes
            assert torch.equal(found, expected[rows])


@pytest.mark.parametrize("how", ["sample", "mc1000", "random"])
def test_what_is_drawn_depends_on_seed_image_and_step_but_not_on_the_batch(model, how):
    def choose(seed: int):
        return Random(CONFIG, seed) if how == "random" else Learnt(model, how, seed)

    of = target(4)
    expected = looks(model, of, choose(0))
    rows = torch.tensor([2, 1])
    found = looks(model, of.rows(rows), choose(0), rows)
    for all_, some in zip(expected[1:], found[1:], strict=True):
        torch.testing.assert_close(some.actions, all_.actions[rows], atol=1e-5, rtol=0)
    assert not torch.equal(looks(model, of, choose(1))[-1].boxes, expected[-1].boxes)
    assert not torch.equal(expected[1].actions, expected[2].actions)
    assert not torch.equal(expected[1].actions[0], expected[1].actions[1])


def first_above(found: list[Look], threshold: float) -> list[int]:
    scores = torch.stack([look.score for look in found], dim=1)
    return [
        next((s for s, v in enumerate(row) if v > threshold), GLIMPSES) for row in scores.tolist()
    ]


@pytest.mark.parametrize("which", ["model", "reconstructor"])
def test_an_image_that_stops_says_what_it_would_have_said_then(which, request):
    model, of = request.getfixturevalue(which), target(8)
    whole = looks(model, of)
    scores = torch.stack([look.score for look in whole], dim=1)
    threshold = max(scores[:, 0].min().item() + 1e-3, scores[:, 1:].median().item())
    stops = first_above(whole, threshold)
    assert len(set(stops)) > 1
    found = looks(model, of, threshold=threshold)
    last: dict[int, int] = {}
    for look in found:
        assert look.rows.tolist() == [row for row, step in enumerate(stops) if step >= look.step]
        for row, of_all in enumerate(look.rows.tolist()):
            reference = whole[look.step]
            assert torch.equal(look.boxes[row], reference.boxes[of_all])
            torch.testing.assert_close(
                look.prediction[row], reference.prediction[of_all], atol=1e-4, rtol=1e-4
            )
            if look.stops[row]:
                last[of_all] = look.step
    assert [last[row] for row in range(8)] == stops


def test_acceptance_22_thresholds_that_stop_at_once_or_never(model):
    of = target(4)
    (only,) = looks(model, of, threshold=0.0)
    assert only.step == 0
    assert only.stops.all()
    assert only.prediction.shape == (4, CLASSES)
    assert len(looks(model, of, threshold=1.0001)) == GLIMPSES + 1


def test_predictions_are_made_where_they_are_asked_for_and_glimpses_stay_the_same(model):
    of = target(3)
    found = looks(model, of, asked=lambda step: step == GLIMPSES)
    assert [look.prediction is None for look in found] == [True, True, True, False]
    assert torch.equal(found[-1].prediction, looks(model, of)[-1].prediction)
    fixed = looks(model, of, chooser("grid", model, GLIMPSES), asked=lambda step: step == GLIMPSES)
    assert all(look.importance is None and look.latents is None for look in fixed)


def test_an_episode_may_be_longer_than_those_of_the_training(model):
    assert looks(model, target(2), glimpses=5)[-1].boxes.shape == (2, 20, 4)


def test_a_fixed_scale_holds_in_evaluation(model):
    fixed = GlimpseModel(dataclasses.replace(CONFIG, fixed_scale=0.5)).eval()
    fixed.load_state_dict(model.state_dict())
    for choose in (Learnt(fixed), Random(fixed.config)):
        assert all(
            (look.actions[:, 2] == 0.5).all() for look in looks(fixed, target(3), choose)[1:]
        )


def test_what_the_policy_sees_can_be_replaced(model):
    of = target(3)

    def blind(seen):
        return seen._replace(
            **{name: torch.zeros_like(getattr(seen, name)) for name in seen._fields[:4]}
        )

    found = looks(model, of, Learnt(model, replace=blind))
    assert torch.equal(found[-1].boxes, found[-1].boxes[:1].expand(3, -1, -1))
    assert not torch.equal(looks(model, of)[-1].boxes, found[-1].boxes)


def test_looking_leaves_no_gradient_and_no_statistics_behind(segmenter):
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    found = looks(segmenter, target(2))
    assert not found[-1].prediction.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


# Fixed ways to look


@pytest.mark.parametrize(("glimpses", "side"), [(1, 1), (4, 2), (3, 2), (9, 3)])
def test_tiles_lie_row_by_row_and_cover_a_square_image_with_a_square_number(glimpses, side):
    config = dataclasses.replace(CONFIG, image_size=(96, 96), glimpse_grid_size=1)
    actions = grid_actions(config, glimpses)
    boxes = glimpse_boxes(actions, grid=1, image_size=(96, 96))[:, 0]
    length = 96 // side
    corners = [[length * (n // side), length * (n % side)] for n in range(glimpses)]
    assert boxes[:, :2].tolist() == corners
    assert (boxes[:, 2:] - boxes[:, :2] == length).all()
    share = seen_share(boxes[None], (96, 96)).item()
    assert share == pytest.approx(glimpses / side**2)


def test_the_other_fixed_ways_are_what_they_are_called(model):
    full = looks(model, target(2), chooser("full", model, GLIMPSES))[-1].boxes
    assert (
        full[0, :4].tolist()
        == glimpse_boxes(torch.tensor([[0.5, 0.5, 1]]), grid=2, image_size=SIZE)[0].tolist()
    )
    centre = looks(model, target(2), chooser("centre", model, GLIMPSES))[-1].boxes.unflatten(
        1, (3, 4)
    )
    sides = (centre[0, :, -1, 2:] - centre[0, :, 0, :2])[:, 0].tolist()
    assert sides == [48, 40, 32]
    middles = (centre[0, :, -1, 2:] + centre[0, :, 0, :2]) / 2
    assert (middles - torch.tensor([24, 32])).abs().max() <= 0.5


def test_the_scale_of_a_side_is_the_inverse_of_the_glimpses():
    config = dataclasses.replace(CONFIG, image_size=(96, 128), max_glimpse_size_ratio=0.75)
    for side in (32, 50, 72):
        action = torch.tensor([[0.0, 0.0, scale_of(config, side + 1e-3)]])
        box = glimpse_boxes(action, grid=2, image_size=(96, 128), max_ratio=0.75)[0]
        assert box[-1, 2] - box[0, 0] == side
    assert scale_of(config, 1) == 0
    assert scale_of(config, 1000) == 1
    assert scale_of(dataclasses.replace(CONFIG, image_size=(32, 32)), 32) == 0


# What an evaluation finds


@pytest.fixture
def dataset(tmp_path) -> ImageDataset:
    draw = np.random.default_rng(0)
    samples = []
    for number in range(7):
        coarse = draw.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        Image.fromarray(coarse).resize((80, 60)).save(path)
        samples.append(Sample(path.stem, path, number % CLASSES))
    return ImageDataset(samples, task="classification", size=SIZE)


def test_acceptance_22_every_image_counts_wherever_it_stops(model, dataset):
    at_once, never, some = (
        Judged(
            "classification", judge(model, dataset, Learnt(model), threshold=value, batch_size=3)
        )
        for value in (0.0, 1.0001, 0.6)
    )
    for judged in (at_once, never, some):
        assert judged.at(GLIMPSES)[:, 0].tolist() == [1] * 7
        assert not np.isnan(judged.table).any()
    assert at_once.used() == 0
    assert never.used() == GLIMPSES
    assert at_once.value(GLIMPSES) == at_once.value(0)
    whole = evaluate(model, dataset, ("learnt",), batch_size=7)["learnt"]
    np.testing.assert_allclose(never.table, whole.table, atol=1e-6)
    steps = some.table[:, -1, 1].astype(int)
    for row, step in enumerate(steps):
        np.testing.assert_allclose(some.table[row, -1], whole.table[row, step], atol=1e-6)
    assert some.used() == pytest.approx(steps.mean())


def test_shares_of_two_processes_add_up_to_the_whole(model, dataset):
    whole = judge(model, dataset, Learnt(model), batch_size=2)
    shares = [judge(model, dataset, Learnt(model), batch_size=2, rank=r, world=2) for r in range(2)]
    np.testing.assert_allclose(sum(shares), whole, atol=1e-6)


def test_the_last_step_alone_is_as_in_the_whole_curve(model, dataset):
    last = judge(model, dataset, Learnt(model), last_only=True)
    assert np.isnan(last[:, :-1]).all()
    np.testing.assert_allclose(last[:, -1], judge(model, dataset, Learnt(model))[:, -1], atol=1e-6)


def judged_by_hand(task: str, predictions: Tensor, of: Target) -> tuple[Judged, int]:
    classes = 1 if task == "reconstruction" else CLASSES
    seen = torch.linspace(0, 1, len(predictions))
    rows = row_of(task, classes, predictions, of, seen, 2)
    assert rows.shape == (len(predictions), columns(task, classes))
    assert rows.dtype == torch.float64
    assert rows[:, 0].tolist() == pytest.approx(seen.tolist())
    assert (rows[:, 1] == 2).all()
    return Judged(task, rows[:, None].numpy()), classes


def test_measures_of_a_reconstruction():
    of = target(5)
    predictions = of.images + torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    mean, deviation = (
        torch.tensor(v).view(3, 1, 1).double()
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    levels = [
        ((x.double() * deviation + mean) * 255).clamp(0, 255) for x in (predictions, of.images)
    ]
    errors = (levels[0] - levels[1]) ** 2
    judged, _ = judged_by_hand("reconstruction", predictions, of)
    found = judged.measures(0)
    assert found["rmse"].value == pytest.approx(errors.mean().sqrt().item(), rel=1e-5)
    assert found["rmse_per_image"].value == pytest.approx(
        errors.mean((1, 2, 3)).sqrt().mean().item(), rel=1e-5
    )
    assert judged.value(0) == found[LEADING["reconstruction"]].value
    assert next(iter(found)) == LEADING["reconstruction"]
    assert not found["rmse"].higher_is_better


def test_measures_of_a_classification():
    of = target(9)
    logits = torch.randn(9, CLASSES, generator=torch.Generator().manual_seed(1))
    right = sum(
        int(row.argmax()) == int(label) for row, label in zip(logits, of.labels, strict=True)
    )
    judged, _ = judged_by_hand("classification", logits, of)
    assert judged.measures(0)["accuracy"].value == pytest.approx(right / 9)
    with_interval = judged.measures(0, seed=3)["accuracy"]
    assert with_interval.value == judged.value(0)
    assert with_interval.low < with_interval.value < with_interval.high


def test_measures_of_a_segmentation():
    of = target(3)
    of.masks[of.masks == 2] = 1  # the third class is in no answer
    logits = torch.randn(3, CLASSES, *SIZE, generator=torch.Generator().manual_seed(1))
    logits[:, 3] -= 100  # and the fourth in no prediction
    guess, truth = logits.argmax(1).numpy().ravel(), of.masks.numpy().ravel()
    counts = truth != 255
    guess, truth = guess[counts], truth[counts]
    hits = np.array([((guess == c) & (truth == c)).sum() for c in range(CLASSES)])
    is_c, said_c = (np.array([(v == c).sum() for c in range(CLASSES)]) for v in (truth, guess))
    judged, _ = judged_by_hand("segmentation", logits, of)
    found = {name: measure.value for name, measure in judged.measures(0).items()}
    assert found["pixel_accuracy"] == pytest.approx(hits.sum() / counts.sum())
    recall = [h / n if n else 0.0 for h, n in zip(hits, is_c, strict=True)]
    assert found["mean_accuracy"] == pytest.approx(np.mean(recall))
    assert found["mean_iou"] == pytest.approx(np.mean(hits / (is_c + said_c - hits)))


@pytest.mark.parametrize("policy", ["learnt", "random", "grid", "centre", "full"])
def test_every_policy_is_judged_at_every_number_of_glimpses(model, dataset, policy):
    judged = evaluate(model, dataset, (policy,), batch_size=4)[policy]
    assert judged.table.shape == (7, GLIMPSES + 1, columns("classification", CLASSES))
    assert judged.glimpses == GLIMPSES
    shares = [judged.seen(step) for step in range(GLIMPSES + 1)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    if policy == "full":
        assert shares[1:] == pytest.approx([48 / 64] * 3)
    assert all(math.isfinite(judged.value(step)) for step in range(GLIMPSES + 1))


def test_a_process_without_a_batch_finds_nothing(model, dataset):
    """More processes than batches of validation images."""
    whole = judge(model, dataset, Learnt(model), batch_size=32)
    shares = [
        judge(model, dataset, Learnt(model), batch_size=32, rank=r, world=2) for r in range(2)
    ]
    assert not shares[1].any()
    np.testing.assert_allclose(shares[0], whole, atol=1e-6)
