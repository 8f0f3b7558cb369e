"""What adapts: reversed gradients, the target's share of the forward pass, frozen branches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gaze_da.config import GazeModelConfig, Network
from gaze_da.model.adaptation import SOURCE, TARGET, DomainClassifier, reversed_gradient
from gaze_da.model.initial import initialise
from gaze_da.model.network import BRANCHES, Adapted, GazeModel, Output
from gaze_da.model.views import Views
from shared_core.testing.filled import seeded

TINY = Network(
    width=16,
    scene_layers=(1, 1, 1, 1, 1),
    depth_layers=(1, 1, 1, 1, 1),
    face_layers=(1, 1, 1, 1, 1),
    input_size=64,
    output_size=24,
)
ADAPTATIONS = {
    "head": {"head_da": True},
    "rgb_depth": {"rgb_depth_da": True},
    "both": {"head_da": True, "rgb_depth_da": True},
}
every_adaptation = pytest.mark.parametrize("adaptation", ADAPTATIONS.values(), ids=ADAPTATIONS)


def built(**adaptation: bool) -> GazeModel:
    model = GazeModel(GazeModelConfig(network=TINY, **adaptation))
    initialise(model, seeded("weights"))
    return model.train()


def views(rows: int, key: str) -> Views:
    image, depth, face = torch.randn(3, rows, 3, 64, 64, generator=seeded(key))
    masks = torch.zeros(rows, 1, 64, 64)
    masks[:, :, 5:30, 20:40] = 1
    return Views(image, depth.sigmoid(), masks, face)


# Acceptance 20.


@pytest.mark.parametrize("alpha", [0.3, torch.tensor(0.3, dtype=torch.float64), 0.0, None])
def test_acceptance_20_the_gradient_is_reversed_and_scaled(alpha: float | Tensor | None) -> None:
    x = torch.randn(5, 3, dtype=torch.float64, generator=seeded("x"), requires_grad=True)

    def gradient(y: Tensor) -> Tensor:
        return torch.autograd.grad((y**3).sum(), x)[0]

    factor = 1.0 if alpha is None else float(alpha)
    assert torch.equal(reversed_gradient(x, alpha), x)
    torch.testing.assert_close(
        gradient(reversed_gradient(x, alpha)), -factor * gradient(x * 1), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("alpha", "factor"), [(0.3, -0.3), (None, -1.0)])
def test_acceptance_20_features_are_untrained_by_what_trains_the_classifier(
    alpha: float | None, factor: float
) -> None:
    """Against the classifier written out without reversal."""
    classifier = DomainClassifier(2).double()
    x = torch.randn(4, 32, 2, 2, dtype=torch.float64, generator=seeded("x"), requires_grad=True)
    labels = torch.tensor([SOURCE, TARGET, TARGET, SOURCE])
    loss = nn.functional.nll_loss(classifier(x, alpha), labels)
    weights = [classifier.fc1.weight, classifier.fc2.bias]
    found = torch.autograd.grad(loss, [x, *weights])

    hidden = x.mean(dim=(2, 3)) @ classifier.fc1.weight.T + classifier.fc1.bias
    hidden = (hidden - hidden.mean(0)) / torch.sqrt(hidden.var(0, unbiased=False) + 1e-5)
    logits = hidden.relu() @ classifier.fc2.weight.T + classifier.fc2.bias
    plain = (logits.logsumexp(1) - logits[range(4), labels]).mean()
    expected = torch.autograd.grad(plain, [x, *weights])

    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found[0], factor * expected[0])
    torch.testing.assert_close(found[1:], expected[1:])


def test_a_last_batch_of_one_row_is_normalised_by_the_running_statistics() -> None:
    model = built(head_da=True)
    row = views(1, "row")
    model(views(3, "before"))
    before = copy.deepcopy(model.adv_da.bn1.state_dict())
    output = model(row, row)
    assert torch.isfinite(output.source.domain).all()
    after = model.adv_da.bn1.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    features = torch.randn(1, 256, 2, 2, generator=seeded("features"))
    trained = model.adv_da(features)
    torch.testing.assert_close(trained, model.adv_da.eval()(features))


# Acceptance 21: what is skipped on the target changes nothing that is learnt.


def total(adapted: Adapted, label: int) -> Tensor:
    """Some loss that every output enters."""
    parts = [] if adapted.domain is None else [-adapted.domain[:, label].mean()]
    parts += (
        [] if adapted.rgb is None else [adapted.rgb.square().mean(), adapted.depth.abs().mean()]
    )
    return torch.stack(parts).sum()


def step(model: GazeModel, *, full: bool) -> tuple[Output, dict[str, Tensor]]:
    output = model(views(3, "source"), views(4, "target"), 0.4, full_target_pass=full)
    loss = output.heatmaps.square().mean() + output.inout.sigmoid().mean()
    (loss + total(output.source, SOURCE) + total(output.target, TARGET)).backward()
    return output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@every_adaptation
def test_acceptance_21_skipping_unused_branches_changes_no_loss_and_no_gradient(
    adaptation: dict[str, bool],
) -> None:
    short, whole = built(**adaptation), built(**adaptation)
    found, gradients = step(short, full=False)
    expected, whole_gradients = step(whole, full=True)
    for name in ("heatmaps", "inout", "attention"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for side in ("source", "target"):
        for a, b in zip(getattr(found, side), getattr(expected, side), strict=True):
            assert (a is None and b is None) or torch.equal(a, b), side
    assert gradients.keys() == whole_gradients.keys() == dict(short.named_parameters()).keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, whole_gradients[name], rtol=1e-5, atol=1e-7)


@every_adaptation
@pytest.mark.parametrize("full", [False, True])
def test_each_part_sees_the_target_only_where_it_is_needed(
    adaptation: dict[str, bool], full: bool
) -> None:
    model = built(**adaptation)
    step(model, full=full)
    passes = {
        name.partition(".")[0]: int(count)
        for name, count in model.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    needed = {"adv_da", "multimodal_da"}
    needed |= {"face_backbone"} if "head_da" in adaptation else set()
    needed |= {"scene_backbone", "depth_backbone"} if "rgb_depth_da" in adaptation else set()
    assert passes == {name: 2 if full or name in needed else 1 for name in passes}


def test_without_a_target_there_is_none_and_without_adaptation_nothing() -> None:
    model = built()
    assert model(views(2, "source")).target is None
    assert model(views(2, "source"), views(2, "target")).target == (None, None, None)


def test_running_statistics_follow_the_source_and_then_the_target() -> None:
    model = built(head_da=True)
    source, target = views(3, "source"), views(4, "target")
    stem = nn.functional.conv2d
    weight = model.face_backbone.conv1.weight.detach().clone()
    expected = torch.zeros(16)
    for domain in (source, target):
        mean = stem(domain.faces, weight, stride=2, padding=3).mean(dim=(0, 2, 3))
        expected = 0.9 * expected + 0.1 * mean
    model(source, target)
    torch.testing.assert_close(model.face_backbone.bn1.running_mean, expected)


# Frozen branches.


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_frozen_branch_keeps_weights_and_statistics(branch: str) -> None:
    model = built(head_da=True, rgb_depth_da=True)
    model(views(3, "before"))
    model.freeze(branch)
    frozen = model.get_submodule(branch)
    before = statistics(frozen)
    for mode in (True, False, True):
        model.train(mode)
        assert not any(module.training for module in frozen.modules())
    _, gradients = step(model, full=True)
    assert not [name for name in gradients if name.startswith(f"{branch}.")]
    assert {name.partition(".")[0] for name in gradients} == {
        name for name, _ in model.named_children() if name != branch
    }
    assert all(torch.equal(before[name], value) for name, value in statistics(frozen).items())


def test_a_frozen_branch_computes_what_it_does_in_evaluation() -> None:
    model, x = built(), views(3, "x")
    model(views(3, "before"))
    model.freeze("face_backbone")
    assert torch.equal(model.face_backbone(x.faces), model.eval().face_backbone(x.faces))


def test_statistics_of_a_frozen_branch_follow_the_batches_where_asked_to() -> None:
    model = built()
    model.freeze("scene_backbone", "face_backbone", statistics_too=False)
    before = statistics(model.face_backbone)
    output = model(views(3, "source"))
    (output.heatmaps.mean() + output.inout.mean()).backward()
    assert not torch.equal(before["bn1.running_mean"], model.face_backbone.bn1.running_mean)
    assert all(p.grad is None for p in model.face_backbone.parameters())
    assert all(p.grad is not None for p in model.depth_backbone.parameters())


def test_what_is_not_named_learns_again() -> None:
    model = built()
    model.freeze(*BRANCHES)
    model.freeze("depth_backbone")
    assert {n.partition(".")[0] for n, p in model.named_parameters() if not p.requires_grad} == {
        "depth_backbone"
    }
    assert model.scene_backbone.training
    assert not model.depth_backbone.training
