"""The backbone and the policy's network, each beside a slow restatement of itself."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaglimpse import GlimpseModel
from adaglimpse.config import RL_INPUTS, SIZES, GlimpseModelConfig
from adaglimpse.model.mae import ElasticMae, patchify, unpatchify
from adaglimpse.model.network import Views
from adaglimpse.model.policy import Actor, Critic, MaskedBatchNorm, Observation, action_scale
from adaglimpse.model.positions import box_positions, decoder_positions, grid_boxes
from adaglimpse.model.rollout import Rollout

TINY = SIZES["tiny"]
SIZE = (48, 80)
"""Not square: rows and columns must not be mixed up."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def shaken(network: nn.Module, seed: int = 0, by: float = 0.3) -> nn.Module:
    """The network with weights that matter: branches of 1e-4 would hide a wrong block."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            if value.requires_grad:
                value.add_(by * torch.randn(value.shape, generator=draw))
    return network.eval()


@pytest.fixture(scope="module")
def reconstructor() -> ElasticMae:
    return shaken(ElasticMae(TINY, "standard", SIZE, head_classes=7))


@pytest.fixture(scope="module")
def segmenter() -> ElasticMae:
    return shaken(ElasticMae(TINY, "segment", SIZE, head_classes=7, mask_classes=5))


def glimpses(count: int, patches: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random pixels, in random boxes."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 32, (count, patches, 2), generator=draw)
    side = torch.randint(16, 48, (count, patches, 1), generator=draw)
    pixels = torch.randn(count, patches, 3, 16, 16, generator=draw)
    return pixels, torch.cat((corner, corner + side), dim=-1)


def observation(
    count: int, places: int, filled: list[int], width: int = 64, seed: int = 0
) -> Observation:
    """Some of the places filled; the empty ones hold noise, but those of an image that has none filled
    hold zeros: they are all that can be seen of it."""
    draw = torch.Generator().manual_seed(seed)
    empty = torch.arange(places) >= torch.tensor(filled).unsqueeze(1)
    assert len(empty) == count
    fields = [
        torch.randn(count, places, 3, 16, 16, generator=draw),
        torch.rand(count, places, 1, generator=draw),
        torch.rand(count, places, 4, generator=draw) * 80,
        torch.randn(count, places, width, generator=draw),
    ]
    for field in fields:
        field[empty.all(dim=1)] = 0.0
    return Observation(*fields, empty.unsqueeze(-1))


# Positions


def slow_code(box: list[float], width: int) -> list[float]:
    count, code = width // 8, []
    for value in box:
        angles = [value * 10_000 ** (-i / count) for i in range(count)]
        code += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return code


def test_acceptance_01_boxes_of_the_native_grid_have_the_codes_of_the_grid():
    model = ElasticMae(TINY, "none", (224, 224), head_classes=2)
    boxes = [[y, x, y + 16, x + 16] for y in range(0, 224, 16) for x in range(0, 224, 16)]
    assert torch.equal(box_positions(torch.tensor(boxes), TINY.width), model.pos_embed[0])


def test_the_code_of_a_box_is_that_of_its_four_corners_in_patches():
    boxes = torch.tensor([[0, 0, 16, 16], [3, 71, 40, 108], [-1, -1, -1, -1], [100, 5, 224, 129]])
    expected = [slow_code([edge / 16 for edge in box], 48) for box in boxes.tolist()]
    torch.testing.assert_close(
        box_positions(boxes, 48), torch.tensor(expected), atol=2e-6, rtol=0, check_dtype=False
    )


def test_the_grid_of_an_image_that_is_not_square_runs_along_its_rows():
    assert grid_boxes(32, 48).tolist()[:4] == [
        [0, 0, 16, 16], [0, 16, 16, 32], [0, 32, 16, 48], [16, 0, 32, 16],
    ]  # fmt: skip


def test_the_decoders_code_is_of_column_then_row_after_a_row_of_zeros():
    rows, columns, width = 3, 5, 24
    code = decoder_positions(rows, columns, width)
    assert code.shape == (1 + rows * columns, width)
    assert not code[0].any()
    frequencies = [float(np.float32(1 / 10_000 ** (i / 6))) for i in range(6)]
    for row in range(rows):
        for column in range(columns):
            expected = [
                f(v * w) for v in (column, row) for f in (math.sin, math.cos) for w in frequencies
            ]
            assert code[1 + row * columns + column].tolist() == pytest.approx(expected, abs=2e-6)


# Parameters


@pytest.mark.parametrize(
    ("size", "decoder", "total", "trainable"),
    [
        ("small", "none", 22_059_496, 21_984_232),
        ("small", "standard", 28_728_808, 28_603_112),
        ("small", "segment", 31_522_942, 31_397_246),
        ("base", "none", 86_585_320, 86_434_792),
        ("base", "standard", 112_702_696, 112_451_304),
        ("base", "segment", 117_660_286, 117_408_894),
        ("large", "none", 304_374_760, 304_174_056),
        ("large", "standard", 330_623_208, 330_321_640),
        ("large", "segment", 335_580_798, 335_279_230),
    ],
)
def test_acceptance_02_parameters_of_the_backbones(size, decoder, total, trainable, monkeypatch):
    monkeypatch.setattr(ElasticMae, "_initialise", lambda self: None)
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        # its codes come from numpy; their values are not needed here
        patch.setattr(
            "adaglimpse.model.mae.decoder_positions",
            lambda rows, columns, width: torch.empty(1 + rows * columns, width),
        )
        model = ElasticMae(SIZES[size], decoder, (224, 224), head_classes=1000, mask_classes=150)
    parameters = list(model.parameters())
    assert sum(p.numel() for p in parameters) == total
    assert sum(p.numel() for p in parameters if p.requires_grad) == trainable


@pytest.mark.parametrize(
    ("width", "actor", "critic"), [(768, 445_022, 510_809), (384, 395_870, 461_657)]
)
def test_acceptance_02_parameters_of_actor_and_critic(width, actor, critic):
    assert sum(p.numel() for p in Actor(width, RL_INPUTS, "batch").parameters()) == actor
    assert sum(p.numel() for p in Critic(width, RL_INPUTS, "batch").parameters()) == critic


@pytest.mark.parametrize("left_out", RL_INPUTS)
def test_without_an_input_the_others_are_wider_and_it_is_not_read(left_out):
    inputs = tuple(name for name in RL_INPUTS if name != left_out)
    actor = shaken(Actor(64, inputs, "batch"))
    widths = {"patches": 32, "attention": 1, "coords": 4, "observation": 64}
    assert [(layer[0].in_features, layer[0].out_features) for layer in actor.input_layers] == [
        (widths[name], 512 // 3) for name in inputs
    ]
    assert actor.pooling.input_layer[0].in_features == 3 * (512 // 3)
    assert any(name.startswith("patch_net_conv") for name, _ in actor.named_parameters())
    seen = observation(2, 4, [4, 3])
    other = seen._replace(**{left_out: torch.zeros_like(getattr(seen, left_out))})
    torch.testing.assert_close(actor(*seen), actor(*other), atol=0, rtol=0)


# The backbone, restated with functions


def slow_block(x: Tensor, state: dict[str, Tensor], prefix: str, heads: int, there: Tensor):
    """Block and its attention maps; `there` [B, N]: the scores of the others lose 1e8."""

    def of(name: str) -> Tensor:
        return state[f"{prefix}.{name}"]

    def norm(value: Tensor, name: str) -> Tensor:
        return functional.layer_norm(
            value, value.shape[-1:], of(f"{name}.weight"), of(f"{name}.bias"), 1e-6
        )

    width = x.shape[-1]
    share = width // heads
    triple = norm(x, "norm1") @ of("attn.qkv.weight").T + of("attn.qkv.bias")
    query, key, value = triple.split(width, dim=-1)
    maps, mixed = [], torch.zeros_like(x)
    for head in range(heads):
        part = slice(head * share, (head + 1) * share)
        scores = torch.einsum("bid,bjd->bij", query[..., part], key[..., part]) / math.sqrt(share)
        weight = (scores - 1e8 * (~there).unsqueeze(1)).softmax(-1)
        maps.append(weight)
        mixed[..., part] = torch.einsum("bij,bjd->bid", weight, value[..., part])
    x = x + of("gamma_1") * (mixed @ of("attn.proj.weight").T + of("attn.proj.bias"))
    inner = norm(x, "norm2") @ of("mlp.fc1.weight").T + of("mlp.fc1.bias")
    inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    return x + of("gamma_2") * (inner @ of("mlp.fc2.weight").T + of("mlp.fc2.bias")), torch.stack(
        maps, 1
    )


def slow_encode(model: ElasticMae, patches: Tensor, boxes: Tensor, valid: Tensor):
    """Tokens, the input of every block, and every block's attention maps."""
    state = model.state_dict()
    batch, count = patches.shape[:2]
    x = functional.conv2d(
        patches.flatten(0, 1),
        state["patch_embed.proj.weight"],
        state["patch_embed.proj.bias"],
        stride=16,
    )
    codes = [
        [slow_code([e / 16 for e in box], TINY.width) for box in row] for row in boxes.tolist()
    ]
    x = x.reshape(batch, count, -1) + torch.tensor(codes).reshape(batch, count, TINY.width).float()
    x = torch.cat((state["cls_token"].expand(batch, 1, -1), x), dim=1)
    there = torch.cat((torch.ones(batch, 1, dtype=torch.bool), valid), dim=1)
    inputs, maps = [], []
    for number in range(TINY.depth):
        inputs.append(x)
        x, attention = slow_block(x, state, f"blocks.{number}", TINY.heads, there)
        maps.append(attention)
    x = functional.layer_norm(x, x.shape[-1:], state["norm.weight"], state["norm.bias"], 1e-6)
    return x, inputs, maps


def slow_decode(model: ElasticMae, tokens: Tensor, valid: Tensor) -> Tensor:
    state = model.state_dict()
    batch, count = len(tokens), math.prod(model.grid)
    x = tokens @ state["decoder_embed.weight"].T + state["decoder_embed.bias"]
    queries = [
        state["mask_token"][0, 0] + state["decoder_pos_embed"][0, 1 + n] for n in range(count)
    ]
    x = torch.cat((x, torch.stack(queries).expand(batch, -1, -1)), dim=1)
    there = torch.ones(x.shape[:2], dtype=torch.bool)
    there[:, 1 : 1 + valid.shape[1]] = valid
    for number in range(TINY.decoder_depth):
        x, _ = slow_block(x, state, f"decoder_blocks.{number}", TINY.decoder_heads, there)
    x = functional.layer_norm(
        x, x.shape[-1:], state["decoder_norm.weight"], state["decoder_norm.bias"], 1e-6
    )
    return x[:, -count:]


VALID = torch.tensor([[True] * 6, [True, True, False, True, False, False]])


@pytest.mark.parametrize("importance", [False, True])
def test_the_encoder_is_its_restatement(reconstructor, importance):
    patches, boxes = glimpses(2, 6)
    expected, inputs, _ = slow_encode(reconstructor, patches, boxes, VALID)
    found = reconstructor.encode(patches, boxes, VALID, importance=importance, latent_layer=1)
    torch.testing.assert_close(found.tokens, expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(found.latents, inputs[1], atol=2e-4, rtol=0)
    assert expected.std() > 0.1
    last = reconstructor.encode(patches, boxes, VALID)
    assert torch.equal(last.latents, last.tokens)


def test_the_decoder_is_its_restatement(reconstructor):
    patches, boxes = glimpses(2, 6)
    tokens = reconstructor.encode(patches, boxes, VALID).tokens
    features = slow_decode(reconstructor, tokens, VALID)
    values = features @ reconstructor.decoder_pred.weight.T + reconstructor.decoder_pred.bias
    expected = torch.zeros(2, 3, *SIZE)
    for number in range(values.shape[1]):
        row, column = divmod(number, SIZE[1] // 16)
        here = values[:, number].reshape(2, 16, 16, 3).permute(0, 3, 1, 2)
        expected[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = here
    torch.testing.assert_close(
        reconstructor.reconstruct(tokens, VALID), expected, atol=2e-4, rtol=0
    )


def test_the_segmentation_head_is_its_restatement(segmenter):
    patches, boxes = glimpses(2, 3)
    tokens = segmenter.encode(patches, boxes).tokens
    state = segmenter.state_dict()
    x = slow_decode(segmenter, tokens, torch.ones(2, 3, dtype=torch.bool))
    x = x.transpose(1, 2).reshape(2, -1, SIZE[0] // 16, SIZE[1] // 16)
    for layer in (0, 4, 8, 12, 16, 19):
        at = f"decoder_segment.conv_head.{layer}"
        x = functional.conv2d(
            x, state[f"{at}.weight"], state[f"{at}.bias"], padding=0 if layer == 19 else 1
        )
        if layer == 19:
            break
        norm = f"decoder_segment.conv_head.{layer + 1}"
        statistics = (state[f"{norm}.running_mean"], state[f"{norm}.running_var"])
        x = functional.gelu(
            functional.batch_norm(
                x, *statistics, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-5
            )
        )
        if layer < 16:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    found = segmenter.segment(tokens)
    assert found.shape == (2, 5, *SIZE)
    # five convolutions of 256 channels with large weights: relative to the size of the logits
    torch.testing.assert_close(found, x, atol=2e-4 * x.abs().max().item(), rtol=0)


def test_the_classes_are_told_from_the_class_token(reconstructor):
    tokens = torch.randn(2, 4, TINY.width)
    expected = tokens[:, 0] @ reconstructor.head.weight.T + reconstructor.head.bias
    torch.testing.assert_close(reconstructor.classify(tokens), expected)


def test_an_image_is_encoded_as_the_patches_of_its_native_grid(reconstructor):
    image = torch.randn(2, 3, *SIZE)
    boxes = grid_boxes(*SIZE)
    patches = torch.stack([image[:, :, y1:y2, x1:x2] for y1, x1, y2, x2 in boxes.tolist()], dim=1)
    expected = reconstructor.encode(patches, boxes.expand(2, -1, -1)).tokens
    torch.testing.assert_close(
        reconstructor.encode_image(image).tokens, expected, atol=1e-5, rtol=0
    )


def test_values_of_a_patch_run_by_row_then_column_then_channel():
    image = torch.arange(2 * 3 * 48 * 80).reshape(2, 3, *SIZE).float()
    cut = patchify(image)
    assert cut.shape == (2, 15, 768)
    for number, row, column, channel in ((0, 0, 0, 0), (7, 3, 5, 2), (14, 15, 15, 1)):
        y, x = 16 * (number // 5) + row, 16 * (number % 5) + column
        assert cut[1, number, (16 * row + column) * 3 + channel] == image[1, channel, y, x]
    assert torch.equal(unpatchify(cut, (3, 5)), image)


def test_acceptance_07_an_image_without_glimpses_has_its_class_token(reconstructor):
    patches, boxes = glimpses(2, 0)
    found = reconstructor.encode(patches, boxes, importance=True)
    assert found.tokens.shape == (2, 1, TINY.width)
    assert found.importance.shape == (2, 0, 1)
    assert found.tokens.isfinite().all()
    assert reconstructor.reconstruct(found.tokens).isfinite().all()


def test_acceptance_09_padded_patches_change_nothing(reconstructor):
    patches, boxes = glimpses(2, 6)
    tokens = reconstructor.encode(patches, boxes, VALID).tokens
    other_patches, other_boxes = patches.clone(), boxes.clone()
    other_patches[~VALID], other_boxes[~VALID] = 1e3, -1
    found = reconstructor.encode(other_patches, other_boxes, VALID).tokens
    there = functional.pad(VALID, (1, 0), value=True)
    torch.testing.assert_close(found[there], tokens[there], atol=1e-5, rtol=0)
    alone = reconstructor.encode(patches[1:, VALID[1]], boxes[1:, VALID[1]]).tokens
    torch.testing.assert_close(found[1:][there[1:]], alone[0], atol=1e-5, rtol=0)


def test_the_decoder_passes_padded_patches_over_unless_it_is_told_not_to(reconstructor):
    model = copy.deepcopy(reconstructor).double()
    patches, boxes = glimpses(2, 6)
    patches = patches.double()
    tokens = model.encode(patches, boxes, VALID).tokens
    expected = model.reconstruct(model.encode(patches[1:, VALID[1]], boxes[1:, VALID[1]]).tokens)
    torch.testing.assert_close(model.reconstruct(tokens, VALID)[1:], expected, atol=1e-10, rtol=0)
    assert (model.reconstruct(tokens)[1:] - expected).abs().max() > 1e-3


def test_a_frozen_encoder_leaves_decoder_and_head_to_learn():
    model = ElasticMae(TINY, "standard", SIZE, head_classes=3)
    model.freeze_encoder()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {
        "decoder_blocks", "decoder_embed", "decoder_norm", "decoder_pred", "head", "mask_token",
    }  # fmt: skip


def test_initial_weights_are_those_of_the_backbone_of_the_paper():
    torch.manual_seed(0)
    model = ElasticMae(SIZES["small"], "segment", (64, 64), head_classes=10, mask_classes=3)
    assert torch.equal(model.blocks[3].gamma_1, torch.full((384,), 1e-4))
    for token in (model.cls_token, model.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.2)
    for weight in (
        model.blocks[0].attn.qkv.weight,
        model.head.weight,
        model.patch_embed.proj.weight.flatten(1),
    ):
        limit = math.sqrt(6 / sum(weight.shape))
        assert 0.99 * limit < weight.abs().max() <= limit
    assert not model.blocks[0].mlp.fc1.bias.any()
    assert model.patch_embed.proj.bias.any()  # stays as a convolution's


# Attention rollout


def slow_rollout(maps: list[Tensor], fuse: str = "mean") -> Tensor:
    """[B, L] by loops over images, layers and entries."""
    batch, _, size, _ = maps[0].shape
    rows = []
    for image in range(batch):
        flow = np.eye(size)
        for layer in maps:
            fused = getattr(layer[image].double().numpy(), fuse)(axis=0)
            order = sorted(range(size * size), key=lambda i: fused.flat[i])
            for place in order[: size * size // 2]:
                if place != 0:
                    fused.flat[place] = 0.0
            a = (fused + np.eye(size)) / 2
            flow = (a / a.sum(axis=1, keepdims=True)) @ flow
        weight = np.exp(flow[0, 1:])
        rows.append(weight / weight.sum())
    return torch.tensor(np.array(rows), dtype=torch.float32)


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_the_rollout_is_its_restatement(reconstructor, heads):
    patches, boxes = glimpses(2, 6)
    _, _, maps = slow_encode(reconstructor, patches, boxes, torch.ones(2, 6, dtype=torch.bool))
    found = reconstructor.encode(patches, boxes, importance=True, heads=heads).importance
    torch.testing.assert_close(found[..., 0], slow_rollout(maps, heads), atol=1e-5, rtol=0)


def test_the_first_entry_is_kept_even_where_it_is_the_smallest():
    attention = torch.tensor([[[[0.01, 0.99], [0.5, 0.5]]]])
    rollout = Rollout()
    rollout.add(attention)
    torch.testing.assert_close(rollout.importance()[0, :, 0], slow_rollout([attention])[0])
    assert rollout._flow[0, 0, 0] == pytest.approx(1.01 / 2.0)


def test_acceptance_08_importance_sums_to_one_and_does_not_know_its_neighbours(reconstructor):
    patches, boxes = glimpses(2, 6)
    found = reconstructor.encode(patches, boxes, VALID, importance=True).importance
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 1))
    alone = reconstructor.encode(patches[:1], boxes[:1], importance=True).importance
    torch.testing.assert_close(found[:1], alone, atol=1e-6, rtol=0)


def test_a_masked_rollout_is_that_of_the_patches_alone(reconstructor):
    patches, boxes = glimpses(2, 6)
    found = reconstructor.encode(
        patches, boxes, VALID, importance=True, masked_rollout=True
    ).importance
    here = VALID[1]
    alone = reconstructor.encode(patches[1:, here], boxes[1:, here], importance=True).importance
    torch.testing.assert_close(found[1, here], alone[0], atol=1e-6, rtol=0)
    assert not found[1, ~here].any()
    unmasked = reconstructor.encode(patches, boxes, VALID, importance=True).importance
    assert unmasked[1, here].sum() < 0.99  # the authors' padded patches have their share


def test_a_rollout_of_no_layer_is_refused():
    with pytest.raises(ValueError, match="no layer"):
        Rollout().importance()


# The policy's network


def slow_trunk(trunk: Actor | Critic, seen: Observation) -> Tensor:
    """The vector of each image, by loops over images, patches and heads."""
    state = {name: value.detach() for name, value in trunk.state_dict().items()}

    def layer(x: Tensor, at: str) -> Tensor:
        x = x @ state[f"{at}.0.weight"].T + state[f"{at}.0.bias"]
        x = functional.layer_norm(
            x, x.shape[-1:], state[f"{at}.1.weight"], state[f"{at}.1.bias"], 1e-6
        )
        return functional.gelu(x)

    def norm(x: Tensor, at: int) -> Tensor:
        mean, variance, weight, bias = (
            state[f"patch_net_conv.{at}.{name}"].view(-1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def features(patch: Tensor) -> Tensor:
        x = patch
        for conv, at in ((0, 1), (4, 5)):
            weight, bias = (state[f"patch_net_conv.{conv}.{name}"] for name in ("weight", "bias"))
            x = norm(functional.conv2d(x[None], weight, bias)[0], at)
            x = functional.max_pool2d(functional.gelu(x)[None], 2)[0]
        return x.flatten()

    vectors = []
    for image in range(len(seen.mask)):
        rows = []
        for place in range(seen.mask.shape[1]):
            inputs = (
                features(seen.patches[image, place]), seen.attention[image, place],
                seen.coords[image, place], seen.observation[image, place],
            )  # fmt: skip
            rows.append(torch.cat([layer(x, f"input_layers.{i}") for i, x in enumerate(inputs)]))
        x = layer(torch.stack(rows), "pooling.input_layer")
        inner = functional.gelu(
            x @ state["pooling.attention.0.weight"].T + state["pooling.attention.0.bias"]
        )
        logits = inner @ state["pooling.attention.2.weight"].T + state["pooling.attention.2.bias"]
        pooled = []
        for head in range(8):
            there = ~seen.mask[image, :, 0]
            # of an image without patches, all places weigh the same
            weight = torch.full((len(x),), 1 / len(x))
            if there.any():
                weight = torch.zeros(len(x))
                weight[there] = logits[there, head].softmax(0)
            pooled.append(
                sum(w * row[32 * head : 32 * head + 32] for w, row in zip(weight, x, strict=True))
            )
        vectors.append(layer(torch.cat(pooled), "pooling.output_layer"))
    return torch.stack(vectors)


def with_statistics(network: nn.Module, seed: int = 3) -> nn.Module:
    """Batch norms that have seen something."""
    draw = torch.Generator().manual_seed(seed)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            noise = 0.3 * torch.randn(buffer.shape, generator=draw)
            buffer.copy_(noise if name.endswith("mean") else 1 + noise.abs())
    return network


def test_the_actor_is_its_restatement():
    actor = with_statistics(shaken(Actor(64, RL_INPUTS, "batch"), by=0.1))
    seen = observation(3, 4, [4, 2, 0])
    vector = slow_trunk(actor, seen)
    inner = functional.gelu(vector @ actor.head[0].weight.T + actor.head[0].bias)
    out = inner @ actor.head[2].weight.T + actor.head[2].bias
    loc, scale = actor(*seen)
    torch.testing.assert_close(loc, out[:, :3] + 0.5, atol=2e-4, rtol=0)
    expected = functional.softplus(out[:, 3:] + math.log(math.exp(0.49) - 1)) + 0.01
    torch.testing.assert_close(scale, expected, atol=2e-4, rtol=0)


def test_the_critic_is_its_restatement():
    critic = with_statistics(shaken(Critic(64, RL_INPUTS, "batch"), by=0.1))
    seen, action = observation(3, 4, [4, 2, 0]), torch.rand(3, 3)
    net = critic.action_net
    of_action = functional.gelu(
        functional.layer_norm(
            action @ net[0].weight.T + net[0].bias, (256,), net[1].weight, net[1].bias, 1e-6
        )
    )
    both = torch.cat((slow_trunk(critic, seen), of_action), dim=1)
    inner = functional.gelu(both @ critic.head[0].weight.T + critic.head[0].bias)
    expected = inner @ critic.head[2].weight.T + critic.head[2].bias
    torch.testing.assert_close(critic(*seen, action), expected, atol=2e-4, rtol=0)


def test_acceptance_09_empty_places_do_not_change_the_policy():
    actor = with_statistics(shaken(Actor(64, RL_INPUTS, "batch"), by=0.1))
    seen = observation(2, 6, [4, 1])
    noise = observation(2, 6, [4, 1], seed=9)
    empty = seen.mask.squeeze(-1)
    mixed = Observation(
        *(
            torch.where(empty.view(2, 6, *[1] * (a.dim() - 2)), 50 * b, a)
            for a, b in zip(seen[:4], noise[:4], strict=True)
        ),
        seen.mask,
    )
    torch.testing.assert_close(actor(*mixed), actor(*seen), atol=1e-5, rtol=0)
    shorter = Observation(*(field[:, :4] for field in seen))
    torch.testing.assert_close(actor(*shorter), actor(*seen), atol=1e-5, rtol=0)


def test_acceptance_12_the_scale_is_half_at_zero_and_never_vanishes():
    raw = torch.linspace(-60, 20, 4001)
    scale = action_scale(raw)
    assert action_scale(torch.zeros(1)).item() == pytest.approx(0.5, abs=1e-6)
    assert (scale.diff() >= 0).all()
    assert scale.min() >= 0.01
    assert scale.max() > 19


# Norms of the patch features


def test_masked_statistics_are_those_of_the_patches_that_are_there():
    norm = MaskedBatchNorm(3)
    x = torch.randn(10, 3, 4, 4) * 3 + 1
    valid = torch.tensor([True, False] * 5)
    reference = nn.BatchNorm2d(3)
    expected = reference(x[valid])
    torch.testing.assert_close(norm(x, valid)[valid], expected)
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)
    assert norm.num_batches_tracked == 1
    norm.eval(), reference.eval()
    torch.testing.assert_close(norm(x, valid), reference(x))


def test_a_batch_without_patches_moves_no_statistics():
    """As before the first glimpse: there is nothing to learn them from."""
    norm = MaskedBatchNorm(3)
    norm(torch.randn(10, 3, 4, 4), torch.ones(10, dtype=torch.bool))
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    norm(torch.randn(10, 3, 4, 4), torch.zeros(10, dtype=torch.bool))
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer, before[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("kind", ["masked", "group", "frozen"])
def test_in_training_no_norm_but_the_authors_sees_empty_places(kind):
    torch.manual_seed(0)
    actor = shaken(Actor(64, RL_INPUTS, kind), by=0.1).train()
    seen = observation(2, 6, [4, 1])
    other = observation(2, 6, [4, 1], seed=9)
    patches = torch.where(seen.mask.view(2, 6, 1, 1, 1), 50 * other.patches, seen.patches)
    torch.testing.assert_close(
        actor(*seen._replace(patches=patches)), actor(*seen), atol=1e-5, rtol=0
    )
    authors = shaken(Actor(64, RL_INPUTS, "batch"), by=0.1).train()
    moved = authors(*seen._replace(patches=patches))[0] - authors(*seen)[0]
    assert moved.abs().max() > 1e-4


def test_frozen_statistics_stay_in_training_and_groups_have_none():
    frozen = shaken(Actor(64, RL_INPUTS, "frozen")).train()
    before = {name: buffer.clone() for name, buffer in frozen.named_buffers()}
    frozen(*observation(2, 6, [4, 1]))
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in frozen.named_buffers())
    assert not list(Actor(64, RL_INPUTS, "group").named_buffers())


# The whole model


CONFIG = GlimpseModelConfig(
    task="reconstruction",
    backbone_size="tiny",
    image_size=SIZE,
    num_glimpses=3,
    glimpse_grid_size=2,
)


def test_views_fill_up_glimpse_by_glimpse_and_pad_those_that_stopped():
    views = Views(torch.randn(2, 3, *SIZE), CONFIG, 3)
    assert views.known()[0].shape == (2, 0, 3, 16, 16)
    views.look(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert views.known()[2] is None
    assert views.boxes[:, 0].tolist() == [[0, 0, 16, 16], [0, 32, 24, 56]]
    assert not views.boxes[:, 4:].any()
    views.look(torch.rand(2, 3), torch.tensor([False, True]))
    assert views.count == 8
    assert views.known()[2].tolist() == [[True] * 8, [True] * 4 + [False] * 4]
    assert (views.boxes[1, 4:8] == -1).all()
    assert not views.patches[1, 4:8].any()


def test_an_observation_has_the_latents_without_the_class_token_and_raw_boxes():
    model = shaken(GlimpseModel(CONFIG), by=0.1)
    views = model.views(torch.randn(2, 3, *SIZE))
    views.look(torch.rand(2, 3))
    with torch.no_grad():
        encoded = model.encode(views)
    seen = model.observation(views, encoded, CONFIG.max_patches)
    assert [tuple(field.shape[1:]) for field in seen] == [
        (12, 3, 16, 16),
        (12, 1),
        (12, 4),
        (12, 64),
        (12, 1),
    ]
    assert torch.equal(seen.observation[:, :4], encoded.latents[:, 1:])
    assert torch.equal(seen.coords[:, :4], views.boxes[:, :4].float())
    assert torch.equal(seen.attention[:, :4], encoded.importance)
    assert seen.mask[0, :, 0].tolist() == [False] * 4 + [True] * 8
    assert not any(field[:, 4:].any() for field in seen[:4])
    short = model.observation(views, encoded)
    torch.testing.assert_close(model.policy(seen), model.policy(short), atol=1e-5, rtol=0)


def test_a_fixed_scale_takes_the_place_of_the_policys():
    model = GlimpseModel(dataclasses.replace(CONFIG, fixed_scale=0.25))
    actions = torch.rand(4, 3)
    kept = actions.clone()
    assert torch.equal(model.scaled(actions)[:, :2], actions[:, :2])
    assert (model.scaled(actions)[:, 2] == 0.25).all()
    assert torch.equal(actions, kept)


def test_a_saved_model_is_the_model(tmp_path):
    model = with_statistics(shaken(GlimpseModel(CONFIG)))
    model.save_pretrained(tmp_path)
    again = GlimpseModel.from_pretrained(tmp_path)
    assert again.config == CONFIG
    found = again.state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    assert (tmp_path / "README.md").is_file()
