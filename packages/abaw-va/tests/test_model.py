"""What computes: shapes, keys, masks, state, initial weights."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from abaw_va.config import (
    Compat,
    FclstmXl,
    Network,
    TrainConfig,
    Transformer,
    TransformerAttention,
    TransformerLstm,
    VaModelConfig,
)
from abaw_va.model.blocks import sinusoids
from abaw_va.model.carriers import block_means
from abaw_va.model.initial import initialise
from abaw_va.model.network import VaModel
from shared_core.config import load_yaml, to_dict
from shared_core.errors import ConfigError

WIDTH = 12
SMALL = {"hidden_size": 16, "regressor": (8,), "chunk_length": 20}
ATTENDING = {**SMALL, "layers": 2, "heads": 2, "ffn_width": 24}
NETWORKS: dict[str, Network] = {
    "transformer": Transformer(**ATTENDING),
    "transformer-lstm": TransformerLstm(**ATTENDING),
    "transformer-attention": TransformerAttention(**ATTENDING, block_length=3, memory_length=10),
    "transformer-attention, all rows": TransformerAttention(
        **ATTENDING, block_length=3, memory_length=-1
    ),
    "transformer-attention, single": TransformerAttention(
        **ATTENDING, block_length=3, memory_length=4, attention="single"
    ),
    "fclstm-xl": FclstmXl(**SMALL),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def built(network: Network, **settings: object) -> VaModel:
    model = VaModel(VaModelConfig(model=network, input_width=WIDTH, **settings))
    initialise(model, torch.Generator().manual_seed(7), gain=0.15)
    return model.eval()


def video(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, WIDTH, generator=torch.Generator().manual_seed(100 * seed + frames))


def everywhere(features: Tensor) -> Tensor:
    return torch.ones(features.shape[:2], dtype=torch.bool)


# Acceptance 3: what the authors' files hold.

ENCODER_LAYER = {
    "self_attn.in_proj_weight": [768, 256], "self_attn.in_proj_bias": [768],
    "self_attn.out_proj.weight": [256, 256], "self_attn.out_proj.bias": [256],
    "linear1.weight": [1024, 256], "linear1.bias": [1024],
    "linear2.weight": [256, 1024], "linear2.bias": [256],
    "norm1.weight": [256], "norm1.bias": [256], "norm2.weight": [256], "norm2.bias": [256],
}  # fmt: skip
ENCODER = {
    "position_embeddings.weight": [512, 256],
    **{f"encoder.layers.{i}.{key}": size for i in range(4) for key, size in ENCODER_LAYER.items()},
    "linear.weight": [256, 256], "linear.bias": [256],
}  # fmt: skip
PROJECTING = {"affine.weight": [256, 1238], "affine.bias": [256], **ENCODER}


def fully_connected(*widths: int) -> dict[str, list[int]]:
    """Keys `module.0`, `module.3`, ... and the output, of a regressor with dropout."""
    shapes = {}
    for i, (before, after) in enumerate(pairwise(widths[:-1])):
        shapes |= {f"module.{3 * i}.weight": [after, before], f"module.{3 * i}.bias": [after]}
    return shapes | {"fc_out.weight": [widths[-1], widths[-2]], "fc_out.bias": [widths[-1]]}


def lstm(width: int) -> dict[str, list[int]]:
    return {
        "rnn.weight_ih_l0": [4 * width, width], "rnn.weight_hh_l0": [4 * width, width],
        "rnn.bias_ih_l0": [4 * width], "rnn.bias_hh_l0": [4 * width],
    }  # fmt: skip


ATTENTION = {
    "in_proj_weight": [768, 256], "in_proj_bias": [768],
    "out_proj.weight": [256, 256], "out_proj.bias": [256],
}  # fmt: skip
REGRESSOR = fully_connected(256, 256, 256, 2)
FILES = {
    "transformer": (Transformer(), {"seq": PROJECTING, "reg": REGRESSOR}, 3_805_186),
    "transformer-lstm": (
        TransformerLstm(),
        {
            "fc": {"module.0.weight": [256, 1238], "module.0.bias": [256]},
            "te": ENCODER, "lstm": lstm(256), "reg": REGRESSOR,
        },
        4_331_522,
    ),
    "transformer-attention": (
        TransformerAttention(),
        {"seq": PROJECTING, "attn": ATTENTION, "reg": REGRESSOR},
        4_068_354,
    ),
    "fclstm-xl": (
        FclstmXl(),
        {
            "fc": {"module.0.weight": [512, 1238], "module.0.bias": [512]},
            "seq": lstm(512), "reg": fully_connected(512, 512, 256, 2),
        },
        3_130_114,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_acceptance_03_parameters_and_keys_are_those_of_the_authors(kind: str) -> None:
    network, files, count = FILES[kind]
    model = VaModel(VaModelConfig(model=network))
    expected = {f"{net}.{key}": shape for net, keys in files.items() for key, shape in keys.items()}
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"target": "both"}, 132_098),
        ({"target": "valence"}, 131_841),
        ({"target": "both", "head": "distribution"}, 142_892),
    ],
)
def test_acceptance_03_parameters_of_the_regressor(settings: dict[str, str], count: int) -> None:
    model = VaModel(VaModelConfig(**settings))
    assert sum(p.numel() for p in model.reg.parameters()) == count


def test_acceptance_03_dead_weights_are_never_computed() -> None:
    model = built(NETWORKS["transformer"])
    features = video(20)[None]
    before = model(features, everywhere(features))[0]
    torch.nn.init.constant_(model.seq.linear.weight, float("nan"))
    assert torch.equal(model(features, everywhere(features))[0], before)


# Acceptance 5: masks.


@every_network
def test_acceptance_05_prediction_does_not_depend_on_batch_mates(network: Network) -> None:
    model = built(replace(network, chunk_length=25))
    short, long = video(31), video(52)
    batch = torch.nn.utils.rnn.pad_sequence([long, short], batch_first=True)
    present = torch.arange(52) < torch.tensor([[52], [31]])
    with torch.inference_mode():
        together = model.forward_videos(batch, present)[1, :31]
        alone = model.forward_videos(short[None], present[1:, :31])[0]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", FILES)
def test_acceptance_05_at_full_size(kind: str) -> None:
    """A 310-frame video alone and beside a 520-frame one, with the authors' widths."""
    model = VaModel(VaModelConfig(model=FILES[kind][0], input_width=WIDTH))
    initialise(model.eval(), torch.Generator().manual_seed(3))
    batch = torch.nn.utils.rnn.pad_sequence([video(520), video(310)], batch_first=True)
    present = torch.arange(520) < torch.tensor([[520], [310]])
    with torch.inference_mode():
        together = model.forward_videos(batch, present)[1, :310]
        alone = model.forward_videos(batch[1:, :310], present[1:, :310])[0]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@every_network
def test_without_masks_the_prediction_depends_on_padding(network: Network) -> None:
    """The quirk is there on request, where the network looks across frames in both directions."""
    model = built(network, compat=Compat(padding=True))
    padded = torch.cat((video(9), torch.zeros(11, WIDTH)))[None]
    present = torch.arange(20)[None] < 9
    alone = model(padded[:, :9], present[:, :9])[0]
    assert torch.allclose(model(padded, present)[0][:, :9], alone, atol=1e-6) == isinstance(
        network, FclstmXl
    )


@every_network
def test_rows_without_frames_are_finite_and_have_finite_gradients(network: Network) -> None:
    model = built(network).train()
    features = torch.zeros(2, 20, WIDTH)
    output, state = model(features, torch.zeros(2, 20, dtype=torch.bool))
    output = output + model(features, torch.zeros(2, 20, dtype=torch.bool), state)[0]
    output.sum().backward()
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# State.


@every_network
def test_encoding_chunks_and_decoding_videos_is_the_whole_forward(network: Network) -> None:
    model = built(network)
    features = video(65)
    with torch.inference_mode():
        whole = model.forward_videos(features[None], everywhere(features[None]))[0]
        padded = torch.cat((features, torch.zeros(15, WIDTH))).unflatten(0, (4, 20))
        present = (torch.arange(80) < 65).unflatten(0, (4, 20))
        order = torch.tensor([2, 0, 3, 1])
        encoded = model.encode(padded[order], present[order])[order.argsort()]
        decoded = model.decode(encoded.flatten(0, 1)[:65])
    torch.testing.assert_close(decoded, whole, rtol=0, atol=1e-6)


@every_network
def test_streams_of_videos_give_what_each_video_gives_alone(network: Network) -> None:
    """Two streams, the second one holding two videos of which the first ends amid a chunk."""
    model = built(network)
    first, second, third = video(70, 1), video(30, 2), video(35, 3)
    alone = [
        model.forward_videos(v[None], everywhere(v[None]))[0].detach()
        for v in (first, second, third)
    ]
    empty = video(0)
    steps = [
        ((first[:20], second[:20]), (True, True)),
        ((first[20:40], second[20:]), (False, False)),
        ((first[40:60], third[:20]), (False, True)),
        ((first[60:], third[20:]), (False, False)),
        ((empty, empty), (False, False)),
    ]
    rows: tuple[list[Tensor], list[Tensor]] = ([], [])
    state = None
    for chunks, restart in steps:
        features = torch.stack(
            [torch.cat((chunk, torch.zeros(20 - len(chunk), WIDTH))) for chunk in chunks]
        )
        present = torch.arange(20) < torch.tensor([[len(chunk)] for chunk in chunks])
        output, state = model(features, present, state, torch.tensor(restart))
        for row, chunk, result in zip(rows, chunks, output, strict=True):
            row.append(result[: len(chunk)].detach())
    torch.testing.assert_close(torch.cat(rows[0]), alone[0], rtol=0, atol=5e-6)
    torch.testing.assert_close(torch.cat(rows[1]), torch.cat(alone[1:]), rtol=0, atol=5e-6)


@every_network
def test_the_state_is_detached_and_has_one_row_per_stream(network: Network) -> None:
    model = built(network)
    features = torch.stack((video(20, 1), video(20, 2)))
    _, state = model(features, everywhere(features))
    assert (state is not None) == model.carries_state
    for part in (state or {}).values():
        assert len(part) == 2
        assert not part.requires_grad


def test_memory_holds_block_means_and_is_cut_once_it_existed() -> None:
    """Chunks of 20 frames make 7 rows; the first 7 stay whole, then the newest 4 are kept."""
    network = replace(NETWORKS["transformer-attention, single"], memory_length=4)
    model = built(network)
    features = torch.stack((video(20, 1), video(20, 2)))
    encoded = model.encode(features, everywhere(features))
    means = torch.stack([block.mean(dim=1) for block in encoded.split(3, dim=1)], dim=1)
    _, state = model(features, everywhere(features))
    assert state is not None
    torch.testing.assert_close(state["memory"][:, -7:], means)
    assert state["filled"].sum(dim=1).tolist() == [7, 7]
    _, state = model(features, everywhere(features), state, torch.tensor([False, True]))
    assert state is not None
    assert state["filled"].sum(dim=1).tolist() == [4, 7]
    torch.testing.assert_close(state["memory"][0][state["filled"][0]], means[0, -4:])


def test_all_memory_is_kept_when_it_has_no_limit() -> None:
    model = built(NETWORKS["transformer-attention, all rows"])
    features = video(20)[None]
    state = None
    for _ in range(5):
        _, state = model(features, everywhere(features), state)
    assert state is not None
    assert state["filled"].sum().item() == 35
    _, state = model(features, everywhere(features), state, torch.tensor([True]))
    assert state["memory"].shape[1] == 7  # rows that no video uses any more are dropped


def test_block_means_leave_absent_frames_out() -> None:
    x = torch.arange(10.0).reshape(1, 5, 2)
    means, some = block_means(x, torch.tensor([[True, True, True, False, False]]), 2)
    assert means.tolist() == [[[1.0, 2.0], [4.0, 5.0], [0.0, 0.0]]]
    assert some.tolist() == [[True, True, False]]


# Gradients and numbers.


@every_network
def test_every_trainable_weight_has_a_gradient_in_the_first_step(network: Network) -> None:
    """What processes rely on that do not search for unused weights."""
    model = built(network).train()
    features = torch.stack((video(20, 1), video(20, 2)))
    output, _ = model(features, everywhere(features))
    output.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_the_authors_first_chunk_leaves_the_memory_attention_out() -> None:
    model = built(NETWORKS["transformer-attention"], compat=Compat(padding=True))
    features = video(20)[None]
    model(features, everywhere(features))[0].sum().backward()
    assert all(p.grad is None for p in model.attn.parameters())


@every_network
def test_bf16_autocast_stays_near_fp32_and_keeps_the_state_in_fp32(network: Network) -> None:
    model = built(network)
    features = torch.stack((video(20, 1), video(20, 2)))
    exact, state = model(features, everywhere(features))
    with torch.autocast("cpu", torch.bfloat16):
        _, half_state = model(features, everywhere(features))
        half, half_state = model(features, everywhere(features), half_state)
    exact, _ = model(features, everywhere(features), state)
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.1)
    for part in (half_state or {}).values():
        assert part.dtype in {torch.float32, torch.bool}


def test_acceptance_26_chunks_of_600_frames_work() -> None:
    """Positions beyond the stored 512 follow the formula."""
    model = built(replace(NETWORKS["transformer"], chunk_length=600))
    features = video(600)[None]
    assert model.forward_videos(features, everywhere(features)).shape == (1, 600, 2)
    positions = model.seq.position_embeddings(600)
    angle = 590 / 10000 ** (6 / 16)
    assert positions[590, 6].item() == pytest.approx(torch.tensor(angle).sin().item(), abs=1e-4)
    torch.testing.assert_close(positions, sinusoids(0, 600, 16))


def test_positions_start_with_a_row_of_zeros() -> None:
    table = sinusoids(0, 3, 4)
    angles = [1.0, 1.0 / 100]
    expected = torch.tensor(
        [f(a) for a in map(torch.tensor, angles) for f in (torch.sin, torch.cos)]
    )
    assert table[0].tolist() == [0.0] * 4
    torch.testing.assert_close(table[1], expected)


def test_a_stored_table_of_positions_is_the_one_that_is_used() -> None:
    model = built(NETWORKS["transformer"])
    features = video(20)[None]
    before = model(features, everywhere(features))[0]
    with torch.no_grad():
        model.seq.position_embeddings.weight.add_(1.0)
    assert not torch.allclose(model(features, everywhere(features))[0], before)


@every_network
def test_distribution_head_predicts_inside_the_scale(network: Network) -> None:
    model = built(network, head="distribution", target="arousal")
    features = video(20)[None]
    output, _ = model(features, everywhere(features))
    assert output.shape == (1, 20, 22, 1)
    prediction = model.prediction(10 * output)
    assert prediction.shape == (1, 20, 1)
    assert (prediction.abs() <= 1).all()


def test_the_class_is_the_slow_axis_of_the_output() -> None:
    """Class c of target k is channel c K + k of the last layer."""
    model = built(NETWORKS["transformer"], head="distribution")
    torch.nn.init.zeros_(model.reg.fc_out.weight)
    with torch.no_grad():
        model.reg.fc_out.bias.copy_(torch.arange(44.0))
    output, _ = model(video(20)[None], everywhere(video(20)[None]))
    assert output[0, 0].tolist() == torch.arange(44.0).reshape(22, 2).tolist()


def test_hidden_size_of_minus_one_follows_the_input() -> None:
    config = VaModelConfig(model=Transformer(hidden_size=-1), input_width=1238)
    assert config.hidden_size == 512
    assert replace(config, input_width=40).hidden_size == 20


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hidden_size.*multiple of 5"):
        VaModelConfig(model=Transformer(heads=5))


def test_hop_is_half_a_chunk_unless_the_network_carries_state() -> None:
    hops = [built(replace(NETWORKS["transformer"], hop=hop)).hop for hop in (None, 0, 5)] + [
        built(NETWORKS["fclstm-xl"]).hop
    ]
    assert hops == [10, 20, 5, 20]


# Presets.


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("upstream", [False, True])
def test_presets_carry_the_authors_settings(kind: str, upstream: bool) -> None:
    name = f"upstream-{kind}.yaml" if upstream else f"{kind}.yaml"
    text = (files("abaw_va") / "presets" / name).read_text()
    config = load_yaml(TrainConfig, f"data: somewhere\n{text}")
    network = FILES[kind][0]
    if upstream and isinstance(network, Transformer):
        network = replace(network, hop=0)
    assert config.model == network
    assert config.lr == (3e-5 if kind == "fclstm-xl" else 2e-5)
    assert (config.constant_epochs, config.epochs) == (3 if kind == "fclstm-xl" else 10, 30)
    assert set(to_dict(config.compat).values()) == {upstream}
    assert config.clip == ("per-network" if upstream else "global")


# Initial weights.


def test_initial_weights_follow_the_authors_rules() -> None:
    model = VaModel(VaModelConfig(model=TransformerAttention(), input_width=64))
    initialise(model, torch.Generator().manual_seed(1))
    layers = [layer.self_attn for layer in model.seq.encoder.layers]
    for linear in (model.seq.affine, layers[0].out_proj, model.attn.out_proj, model.reg.fc_out):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not linear.bias.any()
    bound = (6 / (256 + 768)) ** 0.5
    assert bound * 0.99 < layers[0].in_proj_weight.abs().max().item() <= bound
    assert not torch.equal(layers[0].in_proj_weight, layers[1].in_proj_weight)
    assert model.seq.encoder.layers[0].norm1.weight.eq(1).all()


def test_the_authors_layers_start_from_one_projection() -> None:
    model = VaModel(VaModelConfig(model=NETWORKS["transformer"], input_width=WIDTH))
    initialise(model, torch.Generator().manual_seed(1), same_projections=True)
    first, second = (layer.self_attn.in_proj_weight for layer in model.seq.encoder.layers)
    assert torch.equal(first, second)


def test_lstm_starts_within_its_bound() -> None:
    model = VaModel(VaModelConfig(model=FclstmXl(hidden_size=64), input_width=WIDTH))
    initialise(model, torch.Generator().manual_seed(1))
    assert model.seq.rnn.weight_hh_l0.abs().max().item() == pytest.approx(0.125, rel=0.01)


@every_network
def test_initial_weights_depend_on_the_generator_alone(network: Network) -> None:
    torch.manual_seed(1)
    one = VaModel(VaModelConfig(model=network, input_width=WIDTH))
    torch.manual_seed(2)
    other = VaModel(VaModelConfig(model=network, input_width=WIDTH))
    for model in (one, other):
        initialise(model, torch.Generator().manual_seed(5))
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("scheme", "gain", "deviation"),
    [
        ("xavier", 0.5, 0.5 * (2 / (256 + 256)) ** 0.5),
        ("kaiming", 0.02, (2 / 256) ** 0.5),
        ("orthogonal", 0.5, 0.5 / 256**0.5),
    ],
)
def test_other_schemes_of_initial_weights(scheme: str, gain: float, deviation: float) -> None:
    model = VaModel(VaModelConfig(model=Transformer(layers=1)))
    initialise(model, torch.Generator().manual_seed(5), scheme=scheme, gain=gain)
    found = model.reg.module[0].weight.std().item()
    assert found == pytest.approx(deviation, rel=0.05)
