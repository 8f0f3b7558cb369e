"""The reference numbers of the authors' code, each to its tolerance."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from abaw_va.config import (
    Compat,
    FclstmXl,
    LossName,
    Network,
    TrainConfig,
    Transformer,
    TransformerAttention,
    TransformerLstm,
    VaModelConfig,
)
from abaw_va.method.losses import LOSSES, LOSSES_WITH_PADDING, Objective
from abaw_va.model.network import VaModel

UPSTREAM = Compat(padding=True, ccc_padding=True)
FEATURES = {"affectnet": 342, "vggish": 128, "wav2vec": 768}
WIDTH = sum(FEATURES.values())


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))


def rnd(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=seeded(f"input:{name}"))


@torch.no_grad()
def fill(network: nn.Module) -> None:
    """Weights of the recipe: 0.02 randn keyed by the name; norms are around 1."""
    for key, tensor in network.state_dict().items():
        value = torch.randn(tensor.shape, generator=seeded(key)) * 0.02
        tensor.copy_(1 + value if ".norm" in key and key.endswith("weight") else value)


def filled(network: Network) -> VaModel:
    model = VaModel(VaModelConfig(model=network, input_width=WIDTH, compat=UPSTREAM))
    for _, part in model.named_children():
        fill(part)
    return model


OUTPUTS = {
    "transformer": (
        Transformer(),
        69.8294,
        (0.043533, 0.029331), (0.024317, 0.059619), (0.010799, 0.037746), (0.013406, 0.037068),
    ),
    "transformer without positions": (
        Transformer(position_encoding=False),
        70.2276,
        (0.044134, 0.029561), (0.024159, 0.059642), (0.009657, 0.038361), (0.012874, 0.036920),
    ),
    "small transformer": (
        Transformer(hidden_size=128, layers=2, ffn_width=256, regressor=(64, 32)),
        32.3013,
        (0.007368, 0.029313), (0.008144, 0.026201), (0.008941, 0.027115), (0.009015, 0.027140),
    ),
    "transformer-lstm with residual": (
        TransformerLstm(residual=True),
        39.5587,
        (0.003029, 0.032836), (0.003228, 0.036157), (0.004371, 0.032063), (0.004261, 0.032067),
    ),
    "transformer-lstm without residual": (
        TransformerLstm(residual=False),
        39.4150,
        (0.003009, 0.032722), (0.003102, 0.035525), (0.004428, 0.032331), (0.004252, 0.032249),
    ),
    "multihead attention, 100 rows": (
        TransformerAttention(memory_length=100),
        69.6414,
        (0.043533, 0.029331), (0.024193, 0.059552), (0.010300, 0.037571), (0.012918, 0.036717),
    ),
    "multihead attention, 30 rows": (
        TransformerAttention(memory_length=30),
        69.6416,
        (0.043533, 0.029331), (0.024137, 0.059454), (0.010300, 0.037571), (0.012918, 0.036717),
    ),
    "single attention": (
        TransformerAttention(attention="single"),
        72.2842,
        (0.043533, 0.029331), (0.027291, 0.061354), (0.016304, 0.038964), (0.019190, 0.038381),
    ),
    "fclstm-xl": (
        FclstmXl(),
        35.1095,
        (0.002291, 0.033707), (0.000164, 0.032348), (0.002117, 0.030806), (0.002117, 0.030806),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", OUTPUTS)
def test_acceptance_04_outputs_are_those_of_the_authors_code(row: str) -> None:
    network, magnitude, first, last, shorter, alone = OUTPUTS[row]
    model = filled(network).eval()
    videos = [rnd("feat:520", (520, WIDTH)), rnd("feat:310", (310, WIDTH))]
    batch = nn.utils.rnn.pad_sequence(videos, batch_first=True)
    present = torch.arange(520) < torch.tensor([[520], [310]])
    with torch.inference_mode():
        together = model.forward_videos(batch, present)
        by_itself = model.forward_videos(videos[1][None], present[1:, :310])

    frames = torch.stack((together[0, 0], together[0, 519], together[1, 309], by_itself[0, 309]))
    torch.testing.assert_close(
        frames, torch.tensor([first, last, shorter, alone]), rtol=0, atol=2e-5
    )
    # The sum is over all 2080 values: printed to 4 digits, reached up to the rounding of each.
    assert together.abs().sum().item() == pytest.approx(magnitude, abs=5e-4)


@pytest.fixture
def loss_inputs() -> tuple[Tensor, Tensor, Tensor]:
    prediction = rnd("loss_pred", (4, 50, 2))
    target = rnd("loss_target", (4, 50, 2)).tanh()
    return prediction, target, torch.arange(50) < torch.tensor([[50], [37], [12], [1]])


LOSS_VALUES: dict[LossName, float] = {
    "mse_sum": 143.2954,
    "ccc": 1.011022,
    "accc": 1.210084,
    "vccc": 0.811960,
    "batch_ccc": 1.066800,
    "batch_accc": 1.076864,
    "batch_vccc": 1.056736,
}


@pytest.mark.parametrize("name", LOSS_VALUES)
def test_acceptance_06_losses_have_the_golden_values(
    name: LossName, loss_inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    tolerance = 1e-4 if name == "mse_sum" else 1e-5  # given to 4 digits
    value = LOSSES_WITH_PADDING[name](*loss_inputs).item()
    assert value == pytest.approx(LOSS_VALUES[name], abs=tolerance)


def test_acceptance_06_cross_entropy_has_the_golden_value(
    loss_inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    valid = loss_inputs[2]
    logits = rnd("loss_logits", (4, 50, 44)).reshape(4, 50, 22, 2)
    classes = torch.randint(0, 22, (4, 50, 2), generator=seeded("input:loss_cls"))
    classes = torch.where(valid[..., None], classes, -1)
    before = classes.clone()
    assert LOSSES["ce"](logits, classes, valid).item() == pytest.approx(3.506335, abs=1e-5)
    assert torch.equal(classes, before)


LENGTHS = {"a": 137, "b": 60, "c": 211}

TRACES = {
    "transformer": (
        Transformer(chunk_length=100), "batch_ccc",
        "0.999549 1.001447 0.998670 0.993542 1.000073 0.992414 0.989073 0.998951 0.986222",
    ),
    "transformer-lstm": (
        TransformerLstm(chunk_length=100), "batch_ccc",
        "1.000303 0.999716 1.000268 0.999094 0.999384 0.999142 0.998175 0.999101 0.998073",
    ),
    "transformer-attention": (
        TransformerAttention(chunk_length=100), "batch_ccc",
        "0.999549 1.001410 0.998704 0.993542 1.000035 0.992392 0.989082 0.998895 0.986176",
    ),
    "fclstm-xl": (
        FclstmXl(chunk_length=100), "batch_ccc",
        "1.000093 1.000299 0.999437 0.998036 0.999774 0.997581 0.996473 0.999326 0.995650",
    ),
    "transformer, mse": (
        Transformer(chunk_length=100), "mse_sum",
        "53.4790 73.6721 6.16157 52.6524 72.3752 6.01374 51.9543 71.1146 5.87093",
    ),
    "transformer, ccc": (
        Transformer(chunk_length=100), "ccc",
        "1.009237 1.011830 0.999573 1.000113 1.008955 0.998419 0.992415 1.006211 0.997254",
    ),
}  # fmt: skip


def trace_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Features [3, 211, 1238], labels [3, 211, 2], present [3, 211]."""
    pad = nn.utils.rnn.pad_sequence
    features = [
        torch.cat([rnd(f"fts:train:tr_{v}:{f}", (n, d)) for f, d in FEATURES.items()], dim=1)
        for v, n in LENGTHS.items()
    ]
    labels = [
        torch.stack(
            [
                (0.1 * rnd(f"label:train:tr_{v}:{g}", (n,)).cumsum(0)).tanh()
                for g in ("valence", "arousal")
            ],
            dim=1,
        )
        for v, n in LENGTHS.items()
    ]
    present = torch.arange(211) < torch.tensor(list(LENGTHS.values()))[:, None]
    return pad(features, batch_first=True), pad(labels, batch_first=True), present


def trace(network: Network, loss: LossName) -> list[float]:
    """Loss of each chunk while the authors' loop sees the batch three times."""
    model = filled(network)
    for module in model.modules():  # built with dropout, so that the keys are the authors'
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    config = TrainConfig(data=Path(), model=network, losses=(loss,), compat=UPSTREAM)
    objective = Objective(config)
    rate = 3e-5 if isinstance(network, FclstmXl) else 2e-5
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=rate, betas=config.betas)
    chunks = list(zip(*(part.split(100, dim=1) for part in trace_batch()), strict=True))
    losses = []
    for _ in range(3):
        state = None
        for features, target, present in chunks:
            output, state = model(features, present, state)
            value, _ = objective(output, model.prediction(output), target, present)
            optimizer.zero_grad()
            value.backward()
            for part in model.children():
                nn.utils.clip_grad_norm_(part.parameters(), 5.0)
            optimizer.step()
            losses.append(value.item())
    return losses


@pytest.mark.parametrize("row", TRACES)
def test_acceptance_08_training_follows_the_authors_traces(row: str) -> None:
    network, loss, text = TRACES[row]
    golden = [float(number) for number in text.split()]
    tolerance = {"rel": 1e-4} if loss == "mse_sum" else {"abs": 2e-4, "rel": 0}
    assert trace(network, loss) == pytest.approx(golden, **tolerance)
