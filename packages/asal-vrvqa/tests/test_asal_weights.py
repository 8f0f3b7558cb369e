"""Weights of others: the authors' checkpoints and torchvision's ResNet-18, and what is refused."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch

from asal_vrvqa.config import ConvertConfig, Network, QualityModelConfig
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.weights import command, from_upstream, imagenet_backbone, load_initial
from shared_core.errors import CheckpointError
from shared_core.testing.faults import flip_bit, hostile_checkpoints, truncate

SMALL = Network(parts=2, channels=4, height=64, width=128)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return QualityModel(QualityModelConfig(network=SMALL)).eval()


@pytest.fixture
def upstream(model, tmp_path):
    """What the authors' code saves: numpy's scalars between the tensors."""
    content = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": torch.optim.Adam(model.parameters()).state_dict(),
        "scheduler_state_dict": {"last_epoch": 3, "_last_lr": [np.float64(1e-4)]},
        "Overall_SRCC": np.float64(0.5),
        "7_A_PLCC": np.float32(0.25),
        "count": np.int64(3),
        "results": {"task_1": {"Overall": {"SRCC": np.float64(float("nan"))}}},
        "epoch": 4,
    }
    path = tmp_path / "best_model.pth"
    torch.save(content, path)
    return path


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def test_acceptance_30_a_checkpoint_of_the_authors_converts(model, upstream, tmp_path):
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        torch.load(upstream, weights_only=True)
    command(ConvertConfig(source=upstream, out=tmp_path / "model", parts=2))
    found = QualityModel.from_pretrained(tmp_path / "model")
    assert equal(found.state_dict(), model.state_dict())
    assert found.config.network == SMALL
    assert found.config.trained


def test_old_names_of_numpy_are_read(tmp_path):
    """numpy 1 called the module of its scalars `numpy.core`; such pickles are still about."""
    from shared_core.checkpoints.weights import NUMPY_SCALARS, read_legacy

    path = tmp_path / "old.pth"
    text = pickle.dumps({"score": np.float64(0.5)}, protocol=2)
    old = text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != text
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", old)
        archive.writestr("archive/version", "3\n")
    assert read_legacy(path, classes=NUMPY_SCALARS) == {"score": 0.5}


def test_acceptance_30_nothing_in_a_file_is_run(tmp_path):
    touched = tmp_path / "touched"
    for name, path in hostile_checkpoints(tmp_path, touched).items():
        with pytest.raises(CheckpointError):
            from_upstream(path)
        assert not touched.exists(), name


def test_variants_are_known_by_their_names(tmp_path):
    network = Network(parts=2, channels=4, height=64, width=128, regressor="mlp", adapter=False)
    model = QualityModel(QualityModelConfig(network=network))
    torch.save({f"module.{n}": t for n, t in model.state_dict().items()}, tmp_path / "last.pth")
    found = from_upstream(tmp_path / "last.pth", parts=2)
    assert found.config.network == network
    assert equal(found.state_dict(), model.state_dict())


def test_torchvisions_file_gives_a_backbone(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / "resnet18.pth"
    torch.save(theirs, path)
    model = from_upstream(path)
    assert not model.config.trained
    own = model.feature_extractor.backbone.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    plain = imagenet_backbone(path)
    assert torch.equal(plain.conv1.weight, theirs["conv1.weight"])
    started = QualityModel(QualityModelConfig())
    notes = load_initial(started, path)
    assert torch.equal(
        started.feature_extractor.backbone.layer4[1].conv2.weight, theirs["layer4.1.conv2.weight"]
    )
    assert any("regressor" in note for note in notes)


def test_damaged_and_foreign_files_are_refused(upstream, tmp_path, model):
    foreign = tmp_path / "foreign.pth"
    torch.save({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(CheckpointError, match="expected a checkpoint of ASAL"):
        from_upstream(foreign)
    with pytest.raises(CheckpointError, match="no such file"):
        from_upstream(tmp_path / "nowhere.pth")
    truncate(upstream)
    with pytest.raises(CheckpointError):
        from_upstream(upstream)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    wider = QualityModel(
        QualityModelConfig(network=Network(channels=8, parts=2, height=64, width=64))
    )
    wider.save_pretrained(tmp_path / "wider")
    with pytest.raises(CheckpointError, match="of wrong shape"):
        load_initial(model, tmp_path / "wider")
    assert equal(before, model.state_dict())
    flip_bit(tmp_path / "wider" / "model.safetensors")
    with pytest.raises(CheckpointError, match="sha256"):
        QualityModel.from_pretrained(tmp_path / "wider")


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_an_exported_graph_scores_as_the_model(model, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / f"graph.{form}"
    command(ConvertConfig(source=tmp_path / "model", out=path, to=form))
    assert path.stat().st_size > 1000
    if form == "pt2":
        frames = torch.randn(5, 3, 64, 128)
        found = torch.export.load(path).module()(frames)
        assert torch.allclose(found, model.frame_scores(frames).mean[:, 0], atol=1e-5)
