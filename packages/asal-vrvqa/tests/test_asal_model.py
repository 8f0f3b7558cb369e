"""The whole network: its names, its values, its heads, and what folding and bf16 leave of it."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from asal_vrvqa.config import Network, QualityModelConfig, Scale
from asal_vrvqa.model.backbone import Plane, ResNet18, Sphere
from asal_vrvqa.model.card import card, not_mos
from asal_vrvqa.model.heads import Adapter, GaussianRegressor, MlpRegressor, Projector
from asal_vrvqa.model.initial import initialise
from asal_vrvqa.model.network import QualityModel
from shared_core.testing.commands import modules_after

SMALL = Network(parts=4, channels=8, height=128, width=128)


@pytest.fixture(scope="module")
def unfused():
    """The plain restatement of the network, beside this file."""
    path = Path(__file__).with_name("asal_unfused.py")
    spec = importlib.util.spec_from_file_location("asal_unfused", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.UnfusedResNet18


@pytest.fixture(scope="module")
def full(filled):
    """The paper's network with the reference weights."""
    model = QualityModel(QualityModelConfig())
    filled(model)
    return model.eval()


def small(**changes):
    return QualityModel(QualityModelConfig(network=replace(SMALL, **changes))).eval()


def test_acceptance_07_parameters_names_and_torchvision(full):
    state = full.state_dict()
    assert sum(p.numel() for p in full.parameters()) == 11_341_015
    assert len(state) == 129
    assert state["adapter.T"].shape == (3, 7)
    assert state["regressor.fc2_logvar.weight"].shape == (1, 128)
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    backbone = full.feature_extractor.backbone
    ours = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    assert ours == {n: t.shape for n, t in theirs.items() if not n.startswith("fc.")}


def test_the_plain_backbone_is_torchvisions():
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(weights=None).eval()
    ours = ResNet18(Plane()).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    frames = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = nn.Sequential(*list(theirs.children())[:-1])(frames)[..., 0, 0]
    assert torch.allclose(ours(frames), expected, atol=1e-5)


def test_reference_values_of_the_full_network(full, video):
    """The score through the adapter is held to 1e-4: see the README on its last digits."""
    frames = video("video", 1, 7, 3, 512, 1024)
    with torch.inference_mode():
        output = full(frames, key_frames=torch.tensor([0, 3, 6]))
        again = full(frames[:, [0, 3, 6]], from_key_frames=True)
    features = output.features
    assert features.mean().item() == pytest.approx(0.0558, abs=1e-4)
    assert features.std().item() == pytest.approx(0.0679, abs=1e-4)
    assert features.abs().sum().item() == pytest.approx(200.10, abs=0.01)
    expected = [0.05478, 0.24855, 0.09958, 0.11324]
    assert features[0, 0, :4].tolist() == pytest.approx(expected, abs=1e-5)
    assert output.score.item() == pytest.approx(0.022447, abs=1e-6)
    assert again.score.item() == pytest.approx(0.022437, abs=1e-4)
    assert torch.allclose(again.adapted, output.adapted, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_features_are_those_of_the_plain_restatement(unfused, filled, training):
    """Masks, two gathers, an un-sliced plane: the same features, gradients and statistics."""
    slow, fast = unfused(4, 8), ResNet18(Sphere(4), 8)
    filled(slow)
    fast.load_state_dict(slow.state_dict())
    frames = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    outputs = []
    for network in (slow, fast):
        network.train(training)
        made = network(frames)
        (made * torch.linspace(-1, 1, made.shape[1])).sum().backward()
        outputs.append(made.detach())
    assert torch.allclose(*outputs, atol=1e-4, rtol=1e-4)
    for (name, a), (_, b) in zip(slow.named_parameters(), fast.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=2e-3, atol=2e-3 * a.grad.abs().max().item()), (
            name
        )
    for name, value in slow.state_dict().items():
        if "running" in name:
            assert torch.allclose(value, fast.state_dict()[name], rtol=1e-4, atol=1e-5), name


def test_acceptance_09_folding_changes_nothing(filled):
    for kind in ("sphere", "plain"):
        model = small(backbone=kind)
        filled(model)
        frames = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(2))
        folded = model.for_evaluation()
        assert not any("bn" in name or "running" in name for name in folded.state_dict())
        with torch.no_grad():
            found, expected = folded.frame_scores(frames), model.frame_scores(frames)
            f, e = (m.feature_extractor(frames[:, None]) for m in (folded, model))
        assert torch.allclose(f, e, atol=1e-4)
        assert torch.allclose(found.mean, expected.mean, atol=1e-4)
        assert torch.equal(folded.for_evaluation().feature_extractor(frames[:, None]), f)


def kept_bytes(network, frames, dtype):
    total = 0

    def count(tensor):
        nonlocal total
        if not isinstance(tensor, nn.Parameter):
            total += tensor.untyped_storage().nbytes() if id_of(tensor) not in seen else 0
            seen.add(id_of(tensor))
        return tensor

    def id_of(tensor):
        return tensor.untyped_storage().data_ptr()

    seen = set()
    with (
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        made = network.train()(frames)
    made.float().sum().backward()
    return total


def test_bytes_kept_for_backward_in_bf16_are_at_most_half(unfused):
    frames = torch.randn(2, 3, 128, 256, generator=torch.Generator().manual_seed(3))
    plain = kept_bytes(unfused(4, 16), frames, torch.float32)
    ours = kept_bytes(ResNet18(Sphere(4), 16), frames, torch.bfloat16)
    print(f"bytes kept: {ours} of {plain}, {ours / plain:.3f}")
    assert ours <= plain / 2


def test_bf16_keeps_the_statistics_and_the_features(filled):
    network = ResNet18(Sphere(4), 8)
    filled(network)
    frames = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    plain = network.train()(frames)
    filled(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network.train()(frames)
    assert network.bn1.running_var.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(plain, half.float()).min() > 0.99


def test_acceptance_20_an_even_adapter_gives_the_mean():
    features = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(5))
    made = Adapter(3, 7)(features)
    assert torch.allclose(made, features.mean(dim=1, keepdim=True).expand(-1, 7, -1), atol=1e-6)


def test_the_adapter_mixes_by_a_softmax_over_key_frames():
    adapter = Adapter(2, 3)
    with torch.no_grad():
        adapter.T.copy_(torch.tensor([[0.0, 1.0, 50.0], [0.0, 0.0, 0.0]]))
    features = torch.tensor([[[1.0], [3.0]]])
    share = 1 / (1 + torch.e**-1)
    expected = [2.0, share * 1 + (1 - share) * 3, 1.0]
    assert adapter(features).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_acceptance_21_the_gaussian_regressor():
    regressor = GaussianRegressor(64)
    features = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(6))
    still = regressor(features)
    assert torch.equal(still.score, still.mean)
    assert torch.equal(regressor(features, torch.zeros(2, 7)).score, still.mean)
    noise = torch.randn(2, 7, generator=torch.Generator().manual_seed(7))
    moved = regressor(features, noise).score
    assert torch.allclose(moved, still.mean + (still.log_variance / 2).exp() * noise)
    assert (moved - still.mean).abs().max() > 0.1


def test_sizes_of_the_heads():
    assert sum(p.numel() for p in GaussianRegressor(512).parameters()) == 164_482
    assert sum(p.numel() for p in MlpRegressor(512).parameters()) == 65_793
    assert sum(p.numel() for p in Projector(512).parameters()) == 262_912
    mlp = small(regressor="mlp")
    assert mlp.frame_scores(torch.randn(2, 3, 128, 128)).log_variance is None


def test_a_clips_score_is_the_mean_over_its_frames(filled):
    model = small()
    filled(model)
    clip = torch.randn(2, 7, 3, 128, 128, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        output = model(clip)
        single = model.frame_scores(clip.flatten(0, 1)).mean.reshape(2, 7)
    assert torch.allclose(output.score, single.mean(dim=1), atol=1e-5)


def test_acceptance_28_evaluation_is_not_slower_than_a_loose_bound():
    """The bench holds the bound of the paper's size; this one only sees a blunder."""
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(weights=None).eval()
    network = Network(parts=8, height=256, width=512)
    ours = QualityModel(QualityModelConfig(network=network)).for_evaluation()
    frames = torch.randn(1, 3, 256, 512)

    def seconds(call):
        begun = time.process_time()
        call()
        return time.process_time() - begun

    with torch.inference_mode():
        calls = (lambda: theirs(frames), lambda: ours.feature_extractor.backbone(frames))
        rounds = [[seconds(call) for call in calls] for _ in range(6)][1:]
    plain, sphere = (sorted(times)[2] for times in zip(*rounds, strict=True))
    print(f"{sphere / plain:.2f} of torchvision's ResNet-18")
    assert sphere <= 2.6 * plain


def test_initial_weights_follow_the_paper():
    model = QualityModel(QualityModelConfig(network=replace(SMALL, channels=32)))
    initialise(model, torch.Generator().manual_seed(0))
    backbone = model.feature_extractor.backbone
    stem = backbone.conv1.weight
    assert stem.std().item() == pytest.approx((2 / (32 * 49)) ** 0.5, rel=0.05)
    inner = backbone.layer2[1].conv1.weight
    bound = (6 / (64 * 9)) ** 0.5
    assert inner.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert inner.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    again = QualityModel(model.config)
    initialise(again, torch.Generator().manual_seed(0))
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = small()
    model.save_pretrained(tmp_path)
    again = QualityModel.from_pretrained(tmp_path)
    assert again.config == model.config
    frames = torch.randn(1, 3, 128, 128)
    assert torch.equal(again.frame_scores(frames).mean, model.frame_scores(frames).mean)


def test_what_is_no_mos_says_so():
    assert not_mos(QualityModelConfig()) is None
    drawn = QualityModelConfig(scale=Scale(name="drawn severity"))
    assert "not opinion scores (MOS)" in not_mos(drawn)
    assert "Drawn" in card(drawn).replace("drawn severity", "Drawn severity")
    assert "never been trained" in not_mos(QualityModelConfig(trained=False))


def test_the_package_needs_no_torchvision():
    """torchvision's weights load without torchvision."""
    assert "torchvision" not in modules_after(["asal_vrvqa", "convert", "--help"])
