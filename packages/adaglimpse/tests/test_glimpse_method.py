"""Glimpses, the policy's distribution, rewards and tasks, beside their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.nn import functional

from adaglimpse.config import GlimpseModelConfig
from adaglimpse.data.items import normalised
from adaglimpse.method import actions
from adaglimpse.method.glimpses import crop_patches, glimpse_boxes, pixel_share, seen_share
from adaglimpse.method.rewards import normalised as standardised
from adaglimpse.method.rewards import reward
from adaglimpse.method.tasks import Classification, Reconstruction, Segmentation, Target, head_of
from adaglimpse.model.network import Views

LOC = torch.tensor([-0.6014, 1.1338, 1.9476])
SCALE = torch.tensor([0.6132, 0.1433, 0.5719])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# Boxes


def boxes_of(
    y: float, x: float, z: float, *, grid: int = 2, size=(224, 224), ratio: float = 1.0
) -> list:
    action = torch.tensor([[y, x, z]])
    return glimpse_boxes(action, grid=grid, image_size=size, max_ratio=ratio)[0].tolist()


def test_acceptance_03_the_boxes_of_an_action():
    assert boxes_of(0.123, 0.456, 0.789) == [
        [4, 18, 95, 109], [4, 109, 96, 201], [95, 18, 187, 110], [95, 109, 187, 201],
    ]  # fmt: skip


@pytest.mark.parametrize(("y", "x"), [(0.0, 0.0), (1.0, 1.0), (0.3, 0.8)])
def test_acceptance_04_the_largest_glimpse_is_the_image_wherever_it_lies(y, x):
    assert boxes_of(y, x, 1.0) == [
        [0, 0, 112, 112], [0, 112, 112, 224], [112, 0, 224, 112], [112, 112, 224, 224],
    ]  # fmt: skip


def test_acceptance_05_the_closest_glimpse_in_the_last_corner():
    found = boxes_of(1.0, 1.0, 0.0)
    assert found[0] == [192, 192, 208, 208]
    assert found[-1] == [208, 208, 224, 224]


def slow_boxes(
    action: np.ndarray, grid: int, size: tuple[int, int], ratio: float
) -> list[list[int]]:
    """In numpy's float32, which is the arithmetic of the batched form."""
    y, x, z = (np.float32(v) for v in action)
    smallest, largest = np.float32(16 * grid), np.float32(min(size) * ratio)
    side = z * (largest - smallest) + smallest
    top, left = (
        math.floor(y * (np.float32(size[0]) - side)),
        math.floor(x * (np.float32(size[1]) - side)),
    )
    whole = math.floor(side)
    cell = whole // grid
    last = whole - cell * (grid - 1)
    found = []
    for i in range(grid):
        for j in range(grid):
            length = last if grid - 1 in (i, j) else cell
            found.append(
                [top + i * cell, left + j * cell, top + i * cell + length, left + j * cell + length]
            )
    return found


@pytest.mark.parametrize(
    ("grid", "size", "ratio"), [(1, (64, 64), 1.0), (2, (96, 160), 1.0), (3, (224, 112), 0.75)]
)
def test_the_boxes_of_any_actions_are_those_of_the_loop_and_lie_in_the_image(grid, size, ratio):
    drawn = torch.cat((torch.rand(300, 3), torch.randint(0, 2, (50, 3)).float()))
    found = glimpse_boxes(drawn, grid=grid, image_size=size, max_ratio=ratio)
    assert found.tolist() == [slow_boxes(a, grid, size, ratio) for a in drawn.numpy()]
    assert found.min() >= 0
    assert found[..., 2].max() <= size[0]
    assert found[..., 3].max() <= size[1]
    assert (found[..., 2:] - found[..., :2]).min() >= 16
    assert found.dtype == torch.int64


@pytest.mark.parametrize("bad", [-1e-3, 1.001, math.nan, math.inf])
def test_an_action_that_cannot_be_taken_is_refused_with_its_row(bad):
    drawn = torch.full((4, 3), 0.5)
    drawn[2, 1] = bad
    with pytest.raises(
        ValueError, match=r"action 2: expected y, x and z from 0 to 1, found \[0.5, "
    ):
        glimpse_boxes(drawn, grid=2, image_size=(64, 64))
    views = Views(torch.zeros(4, 3, 64, 64), GlimpseModelConfig(image_size=(64, 64)), 2)
    with pytest.raises(ValueError, match="action 2"):
        views.look(drawn)
    assert views.step == 0


# Crops


def test_acceptance_28_the_crop_is_that_of_the_loop_for_1000_boxes():
    images = torch.randn(8, 3, 96, 160)
    corner = torch.stack((torch.randint(0, 80, (8, 125)), torch.randint(0, 144, (8, 125))), dim=-1)
    room = torch.minimum(96 - corner[..., 0], 160 - corner[..., 1])
    side = 1 + (torch.rand(8, 125) * room).long().clamp(max=room - 1)
    side[:, :5] = 16
    corner[:, :5] = torch.tensor([0, 144])
    boxes = torch.cat((corner, corner + side.unsqueeze(-1)), dim=-1)
    found = crop_patches(images, boxes)
    for image in range(8):
        for number, (y1, x1, y2, x2) in enumerate(boxes[image].tolist()):
            cut = images[image : image + 1, :, y1:y2, x1:x2]
            expected = functional.interpolate(cut, (16, 16), mode="bilinear", align_corners=False)
            torch.testing.assert_close(found[image, number], expected[0], atol=1e-5, rtol=0)


def test_a_native_patch_is_copied_and_a_box_may_be_higher_than_wide():
    images = torch.randn(2, 3, 64, 48)
    boxes = torch.tensor([[[5, 7, 21, 23], [0, 0, 64, 48]]]).expand(2, -1, -1)
    found = crop_patches(images, boxes)
    assert torch.equal(found[:, 0], images[:, :, 5:21, 7:23])
    expected = functional.interpolate(images, (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[:, 1], expected, atol=1e-5, rtol=0)
    assert crop_patches(images, boxes[:, :0]).shape == (2, 0, 3, 16, 16)


def test_the_share_that_is_seen_is_that_of_a_drawn_mask():
    boxes = torch.tensor([[[0, 0, 10, 20], [5, 10, 30, 30], [-1, -1, -1, -1]], [[-1] * 4] * 3])
    seen = np.zeros((32, 48), dtype=bool)
    for y1, x1, y2, x2 in boxes[0, :2].tolist():
        seen[y1:y2, x1:x2] = True
    torch.testing.assert_close(
        seen_share(boxes, (32, 48)), torch.tensor([seen.mean(), 0.0]).float()
    )
    assert seen_share(boxes[:, :0], (32, 48)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("glimpses", "percent"), [(1, 2.04), (6, 12.24), (8, 16.33), (12, 24.49), (14, 28.57)]
)
def test_the_pixels_of_glimpses_as_a_share_of_the_image(glimpses, percent):
    assert 100 * pixel_share(glimpses, 2, (224, 224)) == pytest.approx(percent, abs=0.005)


# The distribution


def test_acceptance_11_mode_and_mean_of_the_policy():
    torch.testing.assert_close(
        actions.mode(LOC + 0.5), torch.tensor([0.4495, 0.9633, 0.9926]), atol=5e-5, rtol=0
    )
    torch.testing.assert_close(
        actions.mean(LOC + 0.5, SCALE), torch.tensor([0.4610, 0.9619, 0.9863]), atol=5e-5, rtol=0
    )


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 0.5), (-2.5, 0.01), (1.3, 1.0), (0.7, 2.0)])
def test_the_mean_is_the_integral(loc, scale):
    def weighted(n: float) -> float:
        return (0.5 + 0.5 * math.tanh(n)) * float(stats.norm.pdf(n, loc, scale))

    expected = integrate.quad(
        weighted, loc - 12 * scale, loc + 12 * scale, epsabs=1e-12, limit=400
    )[0]
    found = actions.mean(
        torch.tensor([loc], dtype=torch.float64), torch.tensor([scale], dtype=torch.float64)
    )
    # the poles of tanh, at i pi / 2, bound the accuracy of a polynomial rule for wide normals
    assert found.item() == pytest.approx(expected, abs=1e-9 if scale <= 0.5 else 2e-5)


def test_the_mean_of_1000_draws_is_near_the_mean_and_depends_on_its_generators_alone():
    loc, scale = (LOC + 0.5).expand(2, 3), SCALE.expand(2, 3)

    def found(how: str, *seeds: int) -> Tensor:
        return actions.chosen(
            how, loc, scale, [torch.Generator().manual_seed(seed) for seed in seeds]
        )

    many = found("mc1000", 1, 2)
    spread = (0.5 + 0.5 * torch.tanh(loc[0] + scale[0] * torch.randn(20_000, 3))).std(dim=0)
    assert ((many - actions.mean(loc, scale)).abs() < 5 * spread / math.sqrt(1000)).all()
    assert not torch.equal(many[0], many[1])
    assert torch.equal(found("mc1000", 1, 1)[1], many[0])
    assert torch.equal(found("sample", 7, 8), found("sample", 7, 8))
    assert not torch.equal(found("sample", 7, 8), found("sample", 9, 9))
    assert torch.equal(actions.chosen("mode", loc, scale, []), actions.mode(loc))
    assert torch.equal(actions.chosen("mean", loc, scale, []), actions.mean(loc, scale))


def test_draws_have_the_distribution_of_a_squashed_normal():
    drawn = actions.sample(torch.full((4000,), 0.3), torch.full((4000,), 0.8), torch.randn(4000))
    assert (
        stats.kstest(np.arctanh(2 * drawn.double().numpy() - 1), stats.norm(0.3, 0.8).cdf).pvalue
        > 1e-3
    )


def test_the_mean_has_a_gradient_after_an_evaluation():
    """What is kept of the quadrature must not belong to inference mode."""
    actions._quadrature.cache_clear()
    with torch.inference_mode():
        actions.mean(LOC, SCALE)
    loc = LOC.clone().requires_grad_()
    actions.mean(loc, SCALE).sum().backward()
    assert (loc.grad > 0).all()


# Rewards


def test_acceptance_27_rewards_add_up_to_the_gain_and_pay_for_the_action_taken():
    scores = torch.randn(13, 5)
    scale = torch.rand(12, 5)
    steps = [reward(scores[t], scores[t + 1], "diff") for t in range(12)]
    torch.testing.assert_close(sum(steps), scores[-1] - scores[0], atol=1e-5, rtol=0)
    paid = [reward(scores[t], scores[t + 1], "diff", scale[t], 0.3) for t in range(12)]
    torch.testing.assert_close(
        sum(paid), scores[-1] - scores[0] - 0.3 * scale.sum(dim=0), atol=1e-5, rtol=0
    )


def test_the_simple_reward_is_the_score_after_the_glimpse():
    before, after = torch.randn(4), torch.randn(4)
    assert torch.equal(reward(before, after, "simple"), after)
    assert torch.equal(reward(before, after, "autonorm"), after)


def test_normalised_rewards_have_no_mean_and_unit_deviation_and_constant_ones_are_zero():
    found = standardised(torch.randn(64) * 7 + 3)
    assert found.mean().item() == pytest.approx(0, abs=1e-6)
    assert np.std(found.numpy()) == pytest.approx(1, abs=1e-5)
    assert not standardised(torch.full((8,), 3.0)).any()


# Tasks


def target(**given) -> Target:
    count = len(next(iter(given.values())))
    empty = {
        "images": torch.zeros(count, 3, 16, 16),
        "labels": torch.full((count,), -1),
        "masks": torch.zeros(count, 0, 0, dtype=torch.uint8),
    }
    return Target(**{**empty, **given})


def test_the_score_of_a_reconstruction_is_minus_its_error_in_levels():
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    prediction = torch.randn(2, 3, 16, 16) * 2
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = []
    for image in range(2):
        guess = prediction[image].double().numpy().transpose(1, 2, 0) * deviation + mean
        error = np.clip(255 * guess, 0, 255) - pixels[image].double().numpy().transpose(1, 2, 0)
        expected.append(-math.sqrt((error**2).mean()))
    found = Reconstruction().score(prediction, target(images=normalised(pixels)), training=True)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_reconstruction_is_summed_over_the_images_or_their_mean():
    images, prediction = torch.randn(3, 3, 32, 48), torch.randn(3, 3, 32, 48)
    per_patch = [
        ((prediction - images)[b, :, y : y + 16, x : x + 16] ** 2).mean()
        for b in range(3)
        for y in range(0, 32, 16)
        for x in range(0, 48, 16)
    ]
    expected = sum(per_patch) / 6
    aim = target(images=images)
    torch.testing.assert_close(Reconstruction().loss(prediction, aim), expected)
    torch.testing.assert_close(Reconstruction("mean").loss(prediction, aim), expected / 3)
    assert head_of("reconstruction", "mean") == Reconstruction("mean")


def slow_divergence(student: Tensor, teacher: Tensor) -> float:
    """KL(teacher || student) of two vectors of logits."""
    aim, found = (
        np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in (teacher.numpy(), student.numpy())
    )
    return float((aim * np.log(aim / found)).sum())


def test_acceptance_21_the_score_of_a_class_knows_the_answer_in_training_only():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    probability = torch.stack([row.exp() / row.exp().sum() for row in logits])
    head, aim = Classification(), target(labels=labels)
    torch.testing.assert_close(
        head.score(logits, aim, training=False), probability.max(dim=1).values
    )
    known = torch.stack([probability[i, label] for i, label in enumerate(labels)])
    torch.testing.assert_close(head.score(logits, aim, training=True), known)
    torch.testing.assert_close(head.loss(logits, aim), -known.log().mean())


def test_a_teacher_of_classes_takes_the_place_of_the_answer():
    logits, teacher = torch.randn(5, 4), torch.randn(5, 4)
    aim = target(labels=torch.full((5,), -1), teacher=teacher)
    expected = [slow_divergence(s, t) for s, t in zip(logits, teacher, strict=True)]
    found = Classification().score(logits, aim, training=True)
    assert (-found).tolist() == pytest.approx(expected, rel=1e-4)
    assert Classification().loss(logits, aim).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_acceptance_21_pixels_that_do_not_count_are_zeros_of_the_mean():
    logits = torch.randn(3, 4, 2, 3)
    masks = torch.randint(0, 4, (3, 2, 3), dtype=torch.uint8)
    masks[0, 0] = 255
    masks[2] = 255
    expected = []
    for image in range(3):
        total = 0.0
        for y in range(2):
            for x in range(3):
                label = int(masks[image, y, x])
                if label != 255:
                    total -= float(logits[image, :, y, x].log_softmax(0)[label])
        expected.append(total / 6)
    head, aim = Segmentation(), target(masks=masks)
    found = head.score(logits, aim, training=True)
    assert (-found).tolist() == pytest.approx(expected, rel=1e-5)
    assert found[2] == 0
    assert head.loss(logits, aim).item() == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert head.loss(logits[2:], aim.rows(torch.tensor([2]))) == 0


def test_a_teacher_of_pixels_weighs_ten_times_the_mean_divergence():
    logits, teacher = torch.randn(2, 4, 2, 3), torch.randn(2, 4, 2, 3)
    expected = [
        10
        * np.mean(
            [
                slow_divergence(logits[b, :, y, x], teacher[b, :, y, x])
                for y in range(2)
                for x in range(3)
            ]
        )
        for b in range(2)
    ]
    aim = target(masks=torch.full((2, 2, 3), 255, dtype=torch.uint8), teacher=teacher)
    assert (-Segmentation().score(logits, aim, training=True)).tolist() == pytest.approx(
        expected, rel=1e-4
    )
    assert Segmentation().loss(logits, aim).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_rows_of_a_target_keep_everything_of_an_image():
    aim = target(
        images=torch.randn(3, 3, 4, 4), labels=torch.arange(3), masks=torch.zeros(3, 4, 4, dtype=torch.uint8),
        teacher=torch.randn(3, 7),
    )  # fmt: skip
    some = aim.rows(torch.tensor([2, 0]))
    assert some.labels.tolist() == [2, 0]
    assert torch.equal(some.images, aim.images[[2, 0]])
    assert torch.equal(some.teacher, aim.teacher[[2, 0]])
