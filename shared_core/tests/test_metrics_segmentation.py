"""Metrics of label maps: against slow formulas and torchmetrics, over shards, processes, resamples."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_jaccard_index,
)

from shared_core.metrics import (
    ClassCounts,
    ConfusionScore,
    Segmentation,
    bootstrap,
    confusion_matrices,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
)
from shared_core.testing.processes import run_ranks

CLASSES = 6
MEASURES = {
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "mean_iou": mean_iou,
}
STATISTICS = {
    "pixel_accuracy": ClassCounts.pixel_accuracy,
    "mean_accuracy": ClassCounts.mean_accuracy,
    "mean_iou": ClassCounts.mean_iou,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(count: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions, right in half of the pixels, and targets; class 4 is only predicted, 5 absent."""
    draw = generator(seed)
    target = torch.randint(0, 4, (count, 9, 10), generator=draw)
    guess = torch.randint(0, 5, target.shape, generator=draw)
    right = (
        torch.rand(target.shape, generator=draw) < torch.linspace(0.2, 0.8, count)[:, None, None]
    )
    target[torch.rand(target.shape, generator=draw) < 0.2] = 255
    return torch.where(right & (target < CLASSES), target, guess), target


def slow(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """All three by sets of pixels."""
    kept = [
        (int(p), int(t))
        for p, t in zip(prediction.flatten(), target.flatten(), strict=True)
        if t != 255
    ]
    recalls, ious = [], []
    for name in range(CLASSES):
        annotated = {i for i, (_, t) in enumerate(kept) if t == name}
        predicted = {i for i, (p, _) in enumerate(kept) if p == name}
        if annotated | predicted:
            recalls.append(len(annotated & predicted) / max(len(annotated), 1))
            ious.append(len(annotated & predicted) / len(annotated | predicted))
    return {
        "pixel_accuracy": sum(p == t for p, t in kept) / len(kept),
        "mean_accuracy": sum(recalls) / len(recalls),
        "mean_iou": sum(ious) / len(ious),
    }


def confusion(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return confusion_matrices(prediction, target, CLASSES).sum(dim=0)


# Values.


def test_a_matrix_counts_each_pair_of_classes_in_its_picture():
    prediction, target = maps(3)
    found = confusion_matrices(prediction, target, CLASSES)
    for picture in range(3):
        for annotated in range(CLASSES):
            for predicted in range(CLASSES):
                pixels = (target[picture] == annotated) & (prediction[picture] == predicted)
                assert found[picture, annotated, predicted] == pixels.sum()


@pytest.mark.parametrize("name", MEASURES)
def test_measures_are_those_of_the_slow_formulas(name):
    pair = maps()
    assert float(MEASURES[name](confusion(*pair))) == pytest.approx(slow(*pair)[name], rel=1e-12)


def test_measures_are_those_of_torchmetrics():
    pair = maps()
    options = {"num_classes": CLASSES, "ignore_index": 255}
    expected = {
        "pixel_accuracy": multiclass_accuracy(*pair, average="micro", **options),
        "mean_accuracy": multiclass_accuracy(*pair, average="macro", **options),
        "mean_iou": multiclass_jaccard_index(*pair, average="macro", **options),
    }
    for name, measure in ClassCounts.of(confusion(*pair)).measures().items():
        assert measure.value == pytest.approx(float(expected[name]), abs=1e-6)
        assert measure.higher_is_better


def test_acceptance_18_classes_that_are_absent_or_only_predicted():
    target = torch.tensor([[0, 0, 0, 1]])
    right, mistaken = target.clone(), torch.tensor([[0, 0, 2, 1]])
    assert [float(f(confusion(right, target))) for f in MEASURES.values()] == [1, 1, 1]
    found = [float(f(confusion(mistaken, target))) for f in MEASURES.values()]
    assert found == pytest.approx([3 / 4, (2 / 3 + 1 + 0) / 3, (2 / 3 + 1 + 0) / 3])


def test_acceptance_18_without_annotated_pixels_nothing_is_defined():
    metric = Segmentation(CLASSES)
    metric.update(torch.tensor([[0, 1, 2]]), torch.full((1, 3), 255))
    for measure in metric.measures().values():
        assert math.isnan(measure.value)
        assert measure.reason == "no pixel has a class"
    assert int(ClassCounts.of(metric.compute()).pixels()) == 0
    compat = [measure.value for measure in metric.measures(compat=True).values()]
    assert compat[:2] == [0, 0]
    assert math.isnan(compat[2])


def test_compat_changes_nothing_where_pixels_are_annotated():
    counts = ClassCounts.of(confusion(*maps()))
    assert counts.measures(compat=True) == counts.measures()


def test_pixels_that_do_not_count_may_be_predicted_as_anything():
    prediction, target = maps()
    other = torch.where(target == 255, 999, prediction)
    assert torch.equal(confusion(other, target), confusion(prediction, target))
    assert int(ClassCounts.of(confusion(prediction, target)).pixels()) == (target != 255).sum()


def test_bytes_are_classes_too():
    prediction, target = maps()
    small = confusion(prediction.to(torch.uint8), target.to(torch.uint8))
    assert torch.equal(small, confusion(prediction, target))


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_pixel_of_no_class_is_refused(label):
    prediction, target = maps()
    place = tuple((target != 255).nonzero()[0])
    for name, values in (("prediction", prediction), ("target", target)):
        pair = {"prediction": prediction, "target": target, name: values.clone()}
        pair[name][place] = label
        with pytest.raises(ValueError, match=f"{name} has classes .* expected from 0 to 5"):
            confusion_matrices(**pair, classes=CLASSES)


def test_other_shapes_are_refused():
    prediction, target = maps()
    with pytest.raises(ValueError, match="expected the same shape"):
        confusion_matrices(prediction[:, :-1], target, CLASSES)


# Shards, processes, resamples.


def test_shards_merge_to_the_whole():
    prediction, target = maps()
    whole, other = Segmentation(CLASSES), Segmentation(CLASSES)
    for part in zip(prediction[:5].split(2), target[:5].split(2), strict=True):
        whole.update(*part)
    before = whole.measures()
    other.update(prediction[5:], target[5:])
    whole.merge_state(other)
    assert whole.measures() != before
    assert torch.equal(whole.compute(), confusion(prediction, target))
    rows = ClassCounts.of(confusion_matrices(prediction, target, CLASSES))
    assert rows.merge().measures() == whole.measures()


def test_one_class_is_always_right():
    metric = Segmentation(1)
    metric.update(torch.zeros(2, 3, 3).long(), torch.zeros(2, 3, 3).long())
    assert [measure.value for measure in metric.measures().values()] == [1, 1, 1]


def measures_of_a_rank() -> list[float]:
    """The second process has one picture, the first has six."""
    rank = torch.distributed.get_rank()
    share = slice(0, 6) if rank == 0 else slice(6, 7)
    prediction, target = maps()
    metric = Segmentation(CLASSES)
    metric.update(prediction[share], target[share])
    return [measure.value for measure in metric.measures().values()]


def test_two_processes_equal_one():
    expected = list(slow(*maps()).values())
    for found in run_ranks(measures_of_a_rank, world=2):
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_resample_is_the_measure_of_its_pictures_together(name):
    prediction, target = maps()
    score = ConfusionScore(
        ClassCounts.of(confusion_matrices(prediction, target, CLASSES)), STATISTICS[name]
    )
    drawn = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [6, 6, 6, 0, 0, 3, 3]])
    assert len(score) == 7
    for value, rows in zip(score(drawn), drawn, strict=True):
        assert float(value) == pytest.approx(slow(prediction[rows], target[rows])[name], rel=1e-12)


def test_an_interval_is_over_pictures():
    pair = maps(20)
    counts = ClassCounts.of(confusion_matrices(*pair, CLASSES))
    interval = bootstrap(ConfusionScore(counts), generator=generator(), samples=200)
    assert interval.low < slow(*pair)["mean_iou"] < interval.high
    assert interval.groups == 20
    few = ConfusionScore(ClassCounts(counts.values[:4]))
    assert bootstrap(few, generator=generator()).reason == "fewer than 5 images"


def test_a_resample_without_annotated_pixels_is_undefined():
    prediction, target = maps(2)
    target[1] = 255
    score = ConfusionScore(ClassCounts.of(confusion_matrices(prediction, target, CLASSES)))
    values = score(torch.tensor([[0, 1], [1, 1]]))
    assert not values[0].isnan()
    assert values[1].isnan()
