"""What computes: names, shapes, order, the forward pass, initial weights, folded batch norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaze_da.config import GazeModelConfig, Network
from gaze_da.model.initial import initialise
from gaze_da.model.network import GazeModel, Output
from gaze_da.model.views import Views
from shared_core.errors import ConfigError
from shared_core.testing.filled import seeded

TINY = Network(
    width=16,
    scene_layers=(1, 1, 1, 1, 1),
    depth_layers=(1, 1, 1, 1, 1),
    face_layers=(1, 2, 1, 1, 1),
    input_size=64,
    output_size=24,
)
BOTH = {"head_da": True, "rgb_depth_da": True}
ADAPTATIONS = {
    "none": {},
    "head": {"head_da": True},
    "rgb_depth": {"rgb_depth_da": True},
    "both": BOTH,
}
every_adaptation = pytest.mark.parametrize("adaptation", ADAPTATIONS.values(), ids=ADAPTATIONS)


def views(rows: int, size: int, key: str = "views") -> Views:
    """Noise, with a head box of another place and size in each row."""
    image, depth, face = torch.randn(3, rows, 3, size, size, generator=seeded(key))
    masks = torch.zeros(rows, 1, size, size)
    for row in range(rows):
        masks[row, :, size // (row + 3) : size // (row + 2), size // 4 : size // 2] = 1
    return Views(image, depth.sigmoid(), masks, face)


def calibrated(network: Network, **adaptation: bool) -> GazeModel:
    """Weights keyed by a seed, in evaluation mode with batch norms fitted to a batch.

    Without that, activations of a network this deep vanish or explode, and any two would be equal.
    """
    model = GazeModel(GazeModelConfig(network=network, **adaptation))
    initialise(model, seeded("weights"))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                noise = torch.randn(2, module.num_features, generator=seeded(name))
                # Small beside their shortcuts, as where something was learnt: rounding stays small.
                gain = 0.2 if name.endswith("bn3") else 1.0
                module.weight.copy_(gain * (1 + 0.2 * noise[0]))
                module.bias.copy_(0.2 * noise[1] + 0.2)
                module.momentum = 1.0
        model.train()(views(3, network.input_size, "calibration"))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.1
    return model.eval()


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest value; infinite where nothing varies."""
    assert found.shape == expected.shape
    if expected.std() == 0:
        return math.inf
    return float((found - expected).abs().max() / expected.abs().max())


def change(found: Tensor, expected: Tensor) -> float:
    """Size of the difference as a share of the size, root mean squares both."""
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def paper() -> GazeModel:
    """The network of the paper with both adaptations: 97 M parameters, built once."""
    return calibrated(Network(), **BOTH)


# Acceptance 1 and 2: what the authors' files hold.


def norm(name: str, channels: int) -> dict[str, list[int]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": [channels] for part in parts} | {f"{name}.num_batches_tracked": []}


def backbone(name: str, channels: int, w: int, layers: tuple[int, ...]) -> dict[str, list[int]]:
    table = {f"{name}.conv1.weight": [w, channels, 7, 7]} | norm(f"{name}.bn1", w)
    planes = (w, 2 * w, 4 * w, 8 * w, 4 * w)
    inputs = (w, 4 * w, 8 * w, 16 * w, 32 * w)
    for stage, (p, cin, blocks) in enumerate(zip(planes, inputs, layers, strict=True), 1):
        for i in range(blocks):
            block = f"{name}.layer{stage}.{i}"
            if i == 0:
                table[f"{block}.downsample.0.weight"] = [4 * p, cin, 1, 1]
                table |= norm(f"{block}.downsample.1", 4 * p)
            table[f"{block}.conv1.weight"] = [p, cin if i == 0 else 4 * p, 1, 1]
            table |= norm(f"{block}.bn1", p)
            table[f"{block}.conv2.weight"] = [p, p, 3, 3]
            table |= norm(f"{block}.bn2", p)
            table[f"{block}.conv3.weight"] = [4 * p, p, 1, 1]
            table |= norm(f"{block}.bn3", 4 * p)
    return table


def with_bias(name: str, *shape: int, out: int) -> dict[str, list[int]]:
    return {f"{name}.weight": list(shape), f"{name}.bias": [out]}


def table_of(network: Network, *, head_da: bool = False, rgb_depth_da: bool = False) -> dict:
    """Every name with its shape, in the order of registration."""
    w, g = network.width, network.input_size // 32
    table: dict[str, list[int]] = {}
    if head_da:
        table |= with_bias("adv_da.fc1", 100, 16 * w, out=100) | norm("adv_da.bn1", 100)
        table |= with_bias("adv_da.fc2", 2, 100, out=2)
    for net in ("to_rgb", "to_depth") if rgb_depth_da else ():
        at = f"multimodal_da.{net}"
        table |= with_bias(f"{at}.0", 16 * w, 4 * w, 3, 3, out=4 * w) | norm(f"{at}.1", 4 * w)
        table |= with_bias(f"{at}.3", 4 * w, 2 * w, 3, 3, out=2 * w) | norm(f"{at}.4", 2 * w)
        table |= with_bias(f"{at}.6", 2 * w, 3, 4, 4, out=3) | norm(f"{at}.7", 3)
        table |= with_bias(f"{at}.9", 3, 3, 1, 1, out=3)
    table |= backbone("scene_backbone", 4, w, network.scene_layers)
    table |= backbone("depth_backbone", 4, w, network.depth_layers)
    table |= backbone("face_backbone", 3, w, network.face_layers)
    table |= with_bias("attn", g * g, (4 * g) ** 2 + 16 * w, out=g * g)
    for encoder in ("scene_encoder", "depth_encoder"):
        table[f"{encoder}.conv1.weight"] = [16 * w, 32 * w, 1, 1]
        table |= norm(f"{encoder}.bn1", 16 * w)
        table[f"{encoder}.conv2.weight"] = [8 * w, 16 * w, 1, 1]
        table |= norm(f"{encoder}.bn2", 8 * w)
    table["inout_decoder.conv1.weight"] = [8 * w, 32 * w, 1, 1]
    table |= norm("inout_decoder.bn1", 8 * w)
    table["inout_decoder.conv2.weight"] = [1, 8 * w, 1, 1]
    table |= norm("inout_decoder.bn2", 1) | with_bias("inout_decoder.fc", 1, g * g, out=1)
    table |= with_bias("decoder.deconv1", 8 * w, 4 * w, 3, 3, out=4 * w)
    table |= norm("decoder.bn1", 4 * w)
    table |= with_bias("decoder.deconv2", 4 * w, 2 * w, 3, 3, out=2 * w)
    table |= norm("decoder.bn2", 2 * w)
    table |= with_bias("decoder.deconv3", 2 * w, 1, 4, 4, out=1) | norm("decoder.bn3", 1)
    table |= with_bias("decoder.conv4", 1, 1, 1, 1, out=1)
    return table


@pytest.mark.parametrize(
    ("adaptation", "parameters", "entries"),
    [
        ("none", 92_183_098, 1_143),
        ("head", 92_286_000, 1_152),
        ("rgb_depth", 97_506_148, 1_189),
        ("both", 97_609_050, 1_198),
    ],
)
def test_acceptance_01_every_key_and_shape_is_as_published(
    adaptation: str, parameters: int, entries: int
) -> None:
    with torch.device("meta"):
        model = GazeModel(GazeModelConfig(**ADAPTATIONS[adaptation]))
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(shapes) == entries
    assert shapes == table_of(Network(), **ADAPTATIONS[adaptation])


def test_acceptance_01_the_parts_have_the_published_sizes() -> None:
    with torch.device("meta"):
        model = GazeModel(GazeModelConfig(**BOTH))
    sizes = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert sizes == {
        "adv_da": 102_902, "multimodal_da": 5_323_050, "scene_backbone": 28_106_880,
        "depth_backbone": 28_106_880, "face_backbone": 28_103_744, "attn": 88_641,
        "scene_encoder": 2_624_512, "depth_encoder": 2_624_512, "inout_decoder": 1_050_164,
        "decoder": 1_477_765,
    }  # fmt: skip


@every_adaptation
def test_acceptance_02_parameters_are_in_the_order_of_the_authors_optimiser_states(
    adaptation: dict[str, bool],
) -> None:
    with torch.device("meta"):
        model = GazeModel(GazeModelConfig(**adaptation))
    names = [name for name, _ in model.named_parameters()]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    table = table_of(Network(), **adaptation)
    assert names == [name for name in table if not name.endswith(buffers)]
    if not adaptation:
        assert names[0] == "scene_backbone.conv1.weight"
    at = names.index
    first = "scene_backbone.layer1.0"
    assert at(f"{first}.downsample.0.weight") < at(f"{first}.conv1.weight")
    assert names[-1] == "decoder.conv4.bias"


SIZES = (
    TINY,
    replace(TINY, input_size=96, output_size=32, scene_layers=(1, 2, 1, 1, 2)),
    replace(TINY, width=24, input_size=160, output_size=48),
)


@pytest.mark.parametrize("network", SIZES)
@every_adaptation
def test_names_and_shapes_scale_with_width_layers_and_input(
    network: Network, adaptation: dict[str, bool]
) -> None:
    with torch.device("meta"):
        model = GazeModel(GazeModelConfig(network=network, **adaptation))
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == table_of(network, **adaptation)


# Acceptance 3 and 4: the forward pass.


def shapes_are_right(output: Output, rows: int, network: Network) -> None:
    g, o = network.grid, network.output_size
    assert output.heatmaps.shape == (rows, 1, o, o)
    assert output.inout.shape == (rows, 1)
    assert output.source.domain.shape == (rows, 2)
    assert output.source.rgb.shape == output.source.depth.shape == (rows, 3, o, o)
    assert output.attention.shape == (rows, 1, g, g)
    torch.testing.assert_close(output.attention.sum(dim=(1, 2, 3)), torch.ones(rows))
    torch.testing.assert_close(output.source.domain.exp().sum(dim=1), torch.ones(rows))


@torch.no_grad()
def test_acceptance_03_and_04_the_network_of_the_paper(paper: GazeModel) -> None:
    x = views(2, 224)
    output = paper(x)
    shapes_are_right(output, 2, Network())
    assert output.heatmaps.shape[-1] == 64
    assert output.attention[0].numel() == 49
    matches(output, reference(paper.state_dict(), x))


@pytest.mark.parametrize("network", SIZES)
@torch.no_grad()
def test_acceptance_04_the_forward_pass_is_that_of_the_formulas(network: Network) -> None:
    model = calibrated(network, **BOTH)
    x = views(3, network.input_size)
    output = model(x)
    shapes_are_right(output, 3, network)
    matches(output, reference(model.state_dict(), x))


def matches(output: Output, expected: Mapping[str, Tensor]) -> None:
    found = {
        "heatmaps": output.heatmaps, "inout": output.inout, "attention": output.attention,
        "domain": output.source.domain, "rgb": output.source.rgb, "depth": output.source.depth,
    }  # fmt: skip
    for name, value in expected.items():
        assert relative(found[name], value) < 2e-4, name


def reference(state: Mapping[str, Tensor], x: Views) -> dict[str, Tensor]:
    """The network line by line, on nothing but the state."""

    def bn(y: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        shape = (1, -1) + (1,) * (y.dim() - 2)
        scaled = (y - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        return scaled * weight.view(shape) + bias.view(shape)

    def conv(y: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(y, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def deconv(y: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(y, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)

    def linear(y: Tensor, name: str) -> Tensor:
        return y @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def branch(y: Tensor, name: str) -> Tensor:
        y = F.relu(bn(conv(y, f"{name}.conv1", stride=2, padding=3), f"{name}.bn1"))
        y = F.max_pool2d(y, 3, 2, 1)
        for stage, stride in enumerate((1, 2, 2, 2, 1), 1):
            i = 0
            while f"{name}.layer{stage}.{i}.conv1.weight" in state:
                at = f"{name}.layer{stage}.{i}"
                step = stride if i == 0 else 1
                z = F.relu(bn(conv(y, f"{at}.conv1"), f"{at}.bn1"))
                z = F.relu(bn(conv(z, f"{at}.conv2", stride=step, padding=1), f"{at}.bn2"))
                z = bn(conv(z, f"{at}.conv3"), f"{at}.bn3")
                if i == 0:
                    y = bn(conv(y, f"{at}.downsample.0", stride=step), f"{at}.downsample.1")
                y = F.relu(y + z)
                i += 1
        return y

    def encoder(y: Tensor, name: str) -> Tensor:
        y = F.relu(bn(conv(y, f"{name}.conv1"), f"{name}.bn1"))
        return F.relu(bn(conv(y, f"{name}.conv2"), f"{name}.bn2"))

    def up(y: Tensor, *names: str) -> Tensor:
        *pairs, last = names
        for deconvolution, normalisation in zip(pairs[::2], pairs[1::2], strict=True):
            y = F.relu(bn(deconv(y, deconvolution), normalisation))
        return conv(y, last)

    s = branch(torch.cat((x.images, x.masks), 1), "scene_backbone")
    d = branch(torch.cat((x.depths, x.masks), 1), "depth_backbone")
    f = branch(x.faces, "face_backbone")
    h = x.masks
    for _ in range(3):
        h = F.max_pool2d(h, 3, 2, 1)
    pooled = f.mean(dim=(2, 3))
    a = F.softmax(linear(torch.cat((h.flatten(1), pooled), 1), "attn"), dim=1)
    a = a.view(len(f), 1, *f.shape[2:])
    e = encoder(torch.cat((a * s, f), 1), "scene_encoder")
    e = e + encoder(torch.cat((a * d, f), 1), "depth_encoder")
    o = encoder(torch.cat((a * s + a * d, f), 1), "inout_decoder")
    c = F.relu(bn(linear(pooled, "adv_da.fc1"), "adv_da.bn1"))
    heat = [f"decoder.{part}{i}" for i in (1, 2, 3) for part in ("deconv", "bn")]
    numbers = (0, 1, 3, 4, 6, 7, 9)
    return {
        "heatmaps": up(e, *heat, "decoder.conv4"),
        "inout": linear(o.flatten(1), "inout_decoder.fc"),
        "attention": a,
        "domain": F.log_softmax(linear(c, "adv_da.fc2"), dim=1),
        "rgb": up(d, *(f"multimodal_da.to_rgb.{i}" for i in numbers)),
        "depth": up(s, *(f"multimodal_da.to_depth.{i}" for i in numbers)),
    }


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch_mates() -> None:
    model, x = calibrated(TINY), views(3, 64)
    together = model(x)
    alone = model(Views(*(field[1:2] for field in x)))
    assert relative(alone.heatmaps, together.heatmaps[1:2]) < 1e-5
    torch.testing.assert_close(alone.inout, together.inout[1:2], rtol=1e-4, atol=1e-5)


# Sizes that do not follow are refused when the configuration is read.


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"input_size": 224, "output_size": 65}, "output_size: expected 64"),
        ({"input_size": 448}, "output_size: expected 120"),
        ({"input_size": 200, "output_size": 58}, "input_size"),
        ({"input_size": 0, "output_size": 8}, "input_size"),
        ({"width": 0}, "width"),
        ({"face_layers": (3, 4, 6, 3)}, "face_layers"),
        ({"scene_layers": (3, 4, 6, 3, 0)}, "scene_layers"),
    ],
)
def test_sizes_that_do_not_follow_are_refused(sizes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Network(**sizes)


# Initial weights.


def initialised(seed: int = 3, **adaptation: bool) -> GazeModel:
    model = GazeModel(GazeModelConfig(network=TINY, **adaptation))
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def test_one_seed_gives_one_network_whatever_else_was_drawn() -> None:
    torch.manual_seed(1)
    first = initialised()
    before = torch.get_rng_state()
    initialise(first, torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = initialised()
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert not torch.equal(first.attn.weight, initialised(4).attn.weight)


def test_the_network_starts_alike_with_and_without_adaptation() -> None:
    adapted = initialised(**BOTH).state_dict()
    plain = initialised().state_dict()
    assert all(torch.equal(adapted[name], value) for name, value in plain.items())


def test_initial_weights_have_the_published_spread() -> None:
    model = initialised(**BOTH)
    for name, module in model.named_modules():
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d() if module.weight.numel() > 2000:
                area = module.kernel_size[0] * module.kernel_size[1]
                deviation = math.sqrt(2 / (area * module.out_channels))
                assert module.weight.std().item() == pytest.approx(deviation, rel=0.08), name
                assert abs(module.weight.mean().item()) < deviation / 10, name
            case nn.modules.batchnorm._BatchNorm():
                assert bool((module.weight == 1).all() & (module.bias == 0).all()), name
    # torch's defaults: uniform within 1 / sqrt(inputs of an output).
    for layer in (model.attn, model.adv_da.fc1, model.decoder.deconv1):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert 0 < layer.bias.abs().max() <= bound
        if isinstance(layer, nn.Linear):
            assert 0.99 * bound < layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


# Folding, saving.


@pytest.mark.parametrize("channels_last", [False, True])
@torch.no_grad()
def test_folded_batch_norms_compute_the_same(channels_last: bool) -> None:
    model = calibrated(TINY, **BOTH)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    x = Views(*(field.to(memory_format=memory) for field in views(3, 64)))
    folded = model.for_evaluation(channels_last=channels_last)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules())
    found, expected = folded(x), model(x)
    assert change(found.heatmaps, expected.heatmaps) < 2e-6
    assert change(found.inout, expected.inout) < 2e-6
    assert (found.source.domain, found.source.rgb) == (None, None)
    exact, x = model.double(), Views(*(field.double() for field in x))
    folded = exact.for_evaluation(channels_last=channels_last)
    assert change(folded(x).heatmaps, exact(x).heatmaps) < 1e-13


@torch.no_grad()
def test_the_network_of_the_paper_folded_computes_the_same(paper: GazeModel) -> None:
    x = views(1, 224)
    assert change(paper.for_evaluation()(x).heatmaps, paper(x).heatmaps) < 2e-6


def test_folding_leaves_the_model_as_it_was() -> None:
    model = calibrated(TINY, **BOTH).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.for_evaluation(channels_last=True)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@torch.no_grad()
def test_a_saved_model_predicts_what_it_did(tmp_path: Path) -> None:
    model, x = calibrated(TINY, **BOTH), views(2, 64)
    model.save_pretrained(tmp_path)
    loaded = GazeModel.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded(x).heatmaps, model(x).heatmaps)


def test_the_card_says_what_is_read_and_what_is_untrained() -> None:
    with torch.device("meta"):
        model = GazeModel(GazeModelConfig(network=TINY, inout_trained=False, head_da=True))
        plain = GazeModel(GazeModelConfig(network=TINY))
    for part in (
        "24 by 24 cells",
        "64 pixels",
        "in/out head is untrained",
        "an adversary on its head",
    ):
        assert part in model.card()
    for part in ("untrained", "adversary", "adapted"):
        assert part not in plain.card()
