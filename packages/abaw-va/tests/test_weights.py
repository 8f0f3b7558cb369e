"""The authors' checkpoint sets, in and out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from abaw_va.config import (
    Compat,
    FclstmXl,
    Network,
    Transformer,
    TransformerAttention,
    TransformerLstm,
    VaModelConfig,
)
from abaw_va.model.initial import initialise
from abaw_va.model.network import VaModel
from abaw_va.weights import from_upstream, to_upstream, transfer_encoder
from shared_core.errors import CheckpointError

ATTENDING = {"hidden_size": 16, "regressor": (8, 6), "layers": 2, "heads": 2, "ffn_width": 24}
NETWORKS: dict[str, Network] = {
    "transformer": Transformer(**ATTENDING),
    "transformer_lstm": TransformerLstm(**ATTENDING, residual=False),
    "transformer_attention": TransformerAttention(**ATTENDING, memory_length=-1),
    "single": TransformerAttention(**ATTENDING, attention="single"),
    "fclstm_xl": FclstmXl(hidden_size=16, regressor=(8,)),
}
FILES = {
    "transformer": {"seq", "reg"},
    "transformer_lstm": {"fc", "te", "lstm", "reg"},
    "transformer_attention": {"seq", "attn", "reg"},
    "single": {"seq", "attn", "reg"},
    "fclstm_xl": {"fc", "seq", "reg"},
}


def built(network: Network, **settings: object) -> VaModel:
    config = VaModelConfig(model=network, input_width=10, features=("a", "b"), **settings)
    model = VaModel(config)
    initialise(model, torch.Generator().manual_seed(11))
    return model.eval()


@pytest.mark.parametrize("kind", NETWORKS)
def test_acceptance_03_a_set_of_the_authors_files_loads_strictly(kind: str, tmp_path: Path) -> None:
    model = built(NETWORKS[kind], target="valence", normalise=("b",), norm_method="batch")
    to_upstream(model, tmp_path, "7")
    assert {path.name for path in tmp_path.glob("*.pth")} == {
        f"7_net_{net}.pth" for net in FILES[kind]
    }
    loaded = from_upstream(tmp_path, "7")
    assert loaded.config == model.config
    assert all(
        torch.equal(loaded.state_dict()[key], value) for key, value in model.state_dict().items()
    )


@pytest.mark.parametrize("kind", ["transformer", "fclstm_xl"])
def test_classes_and_quirks_survive(kind: str, tmp_path: Path) -> None:
    compat = Compat(padding=True)
    model = built(NETWORKS[kind], head="distribution", weighted_bins=True, compat=compat)
    to_upstream(model, tmp_path, "latest")
    assert from_upstream(tmp_path, "latest", compat=compat).config == model.config


def authors_set(folder: Path, **changes: object) -> None:
    """Files as the authors' code writes them, made by torch's own layers."""
    seq = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 24), 2, enable_nested_tensor=False
    )
    layers = {f"encoder.{key}": value for key, value in seq.state_dict().items()}
    affine, dead, attn = nn.Linear(10, 16), nn.Linear(16, 16), nn.MultiheadAttention(16, 4)
    others = {"affine": affine, "linear": dead}
    named = {f"{n}.{k}": v for n, m in others.items() for k, v in m.state_dict().items()}
    table = {"position_embeddings.weight": torch.randn(512, 16)}
    torch.save(table | layers | named, folder / "3_net_seq.pth")
    torch.save(attn.state_dict(), folder / "3_net_attn.pth")
    regressor = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.3))
    reg = {f"module.{k}": v for k, v in regressor.state_dict().items()}
    out = {f"fc_out.{k}": v for k, v in nn.Linear(8, 2).state_dict().items()}
    torch.save(reg | out, folder / "3_net_reg.pth")
    options = {
        "model": "transformer_attention", "feature_set": "a, b", "norm_features": "None",
        "norm_method": "trn", "target": "both", "max_seq_len": 250, "hidden_size": 16,
        "regress_layers": "8", "num_layers": 2, "ffn_dim": 24, "nhead": 2, "dropout_rate": 0.3,
        "use_pe": True, "former_attention": "multihead", "mem_avg_len": 10, "max_mem_len": 100,
        "loss_type": ["batch_ccc"], "cls_loss": False, "cls_weighted": False,
        "max_dataset_size": float("inf"),
    } | changes  # fmt: skip
    (folder / "train_opt.conf").write_text(json.dumps(options, indent=4))
    assert "Infinity" in (folder / "train_opt.conf").read_text()


def test_acceptance_03_files_of_torchs_own_layers_compute_the_same(tmp_path: Path) -> None:
    """One chunk through torch's encoder and attention, and through ours from their files."""
    authors_set(tmp_path)
    model = from_upstream(tmp_path, "3").eval()
    assert model.config.model == TransformerAttention(**{**ATTENDING, "regressor": (8,)})
    seq = torch.load(tmp_path / "3_net_seq.pth")
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    start = "encoder."
    encoder.load_state_dict({k[len(start) :]: v for k, v in seq.items() if k.startswith(start)})
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    attention.load_state_dict(torch.load(tmp_path / "3_net_attn.pth"))

    features = torch.randn(2, 500, 10, generator=torch.Generator().manual_seed(2))
    x = features @ seq["affine.weight"].T + seq["affine.bias"]
    first, second = (
        encoder(chunk + seq["position_embeddings.weight"][:250]) for chunk in x.split(250, dim=1)
    )
    memory = first.unflatten(1, (25, 10)).mean(dim=2)
    expected = model.reg(torch.cat((first, second + attention(second, memory, memory)[0]), dim=1))
    found = model.forward_videos(features, torch.ones(2, 500, dtype=torch.bool))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_attention_without_memory_is_a_transformer(tmp_path: Path) -> None:
    authors_set(tmp_path, former_attention="None")
    assert isinstance(from_upstream(tmp_path, "3").config.model, Transformer)


def test_a_file_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    authors_set(tmp_path, regress_layers="8,8")
    with pytest.raises(CheckpointError, match=r"3_net_reg.pth.*missing module.3.weight"):
        from_upstream(tmp_path, "3")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"train_opt.conf.*options of the run"):
        from_upstream(tmp_path, "3")
    authors_set(tmp_path)
    with pytest.raises(CheckpointError, match=r"4_net_seq.pth or 4_net_fc.pth"):
        from_upstream(tmp_path, "4")
    (tmp_path / "3_net_attn.pth").unlink()
    with pytest.raises(CheckpointError, match=r"3_net_attn.pth"):
        from_upstream(tmp_path, "3")


@pytest.mark.parametrize("change", [{"model": "mamba"}, {"nhead": 5}, {"hidden_size": "wide"}])
def test_unknown_options_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    authors_set(tmp_path, **change)
    with pytest.raises(CheckpointError, match=r"train_opt.conf"):
        from_upstream(tmp_path, "3")


def test_a_trained_encoder_starts_a_transformer_lstm_and_stays_fixed(tmp_path: Path) -> None:
    teacher = built(NETWORKS["transformer"])
    to_upstream(teacher, tmp_path, "9")
    student = built(replace(NETWORKS["transformer_lstm"], fc_activation="none"))
    transfer_encoder(student, tmp_path / "9_net_seq.pth")
    features = torch.randn(2, 30, 10)
    present = torch.ones(2, 30, dtype=torch.bool)
    # Without an activation the student sees what the teacher saw.
    torch.testing.assert_close(student.encode(features, present), teacher.encode(features, present))
    fixed = {n.partition(".")[0] for n, p in student.named_parameters() if not p.requires_grad}
    assert fixed == {"fc", "te"}
    assert all(p.requires_grad for part in (student.lstm, student.reg) for p in part.parameters())


def test_an_encoder_of_another_width_is_not_transferred(tmp_path: Path) -> None:
    to_upstream(built(Transformer(**{**ATTENDING, "hidden_size": 8})), tmp_path, "9")
    student = built(NETWORKS["transformer_lstm"])
    with pytest.raises(CheckpointError, match=r"wrong shape"):
        transfer_encoder(student, tmp_path / "9_net_seq.pth")
