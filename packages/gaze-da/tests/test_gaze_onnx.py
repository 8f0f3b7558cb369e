"""The ONNX file computes what PyTorch does, for any number of people, and needs no other file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gaze_da import onnx as exporting
from gaze_da.config import ConvertConfig, GazeModelConfig, Network
from gaze_da.model.initial import initialise
from gaze_da.model.network import GazeModel
from gaze_da.model.views import Views
from gaze_da.weights import command
from shared_core.config import from_dict
from shared_core.errors import DataError, MissingExtraError, UsageError
from shared_core.testing.filled import seeded

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TINY = Network(
    width=16,
    scene_layers=(1, 1, 1, 1, 1),
    depth_layers=(1, 1, 1, 1, 1),
    face_layers=(1, 1, 1, 1, 1),
    input_size=64,
    output_size=24,
)


@pytest.fixture(scope="module")
def model() -> GazeModel:
    """A network whose running statistics are those of some batches."""
    network = GazeModel(
        GazeModelConfig(network=TINY, head_da=True, rgb_depth_da=True, inout_trained=False)
    )
    initialise(network, seeded("weights"))
    with torch.no_grad():
        for batch in range(4):
            network.train()(views(3, f"batch {batch}"))
    return network.eval()


def views(rows: int, key: str) -> Views:
    image, depth, face = torch.randn(3, rows, 3, 64, 64, generator=seeded(key))
    masks = (torch.rand(rows, 1, 64, 64, generator=seeded(key)) > 0.8).float()
    return Views(image, depth.sigmoid(), masks, face)


@pytest.fixture(scope="module")
def exported(model: GazeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    model.save_pretrained(folder / "model")
    command(ConvertConfig(source=folder / "model", out=folder / "alone" / "gaze.onnx", to="onnx"))
    return folder / "alone" / "gaze.onnx"


@pytest.mark.parametrize("rows", [1, 3, 5])
@torch.no_grad()
def test_the_file_computes_what_the_network_does(
    model: GazeModel, exported: Path, rows: int
) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert [put.name for put in session.get_inputs()] == ["image", "depth", "mask", "face"]
    x = views(rows, "test")
    names = ("image", "depth", "mask", "face")
    heatmaps, inout = session.run(
        ["heatmap", "inout"], {name: field.numpy() for name, field in zip(names, x, strict=True)}
    )
    expected = model(x)
    for found, value in ((heatmaps, expected.heatmaps), (inout, expected.inout)):
        assert found.shape == value.shape
        assert np.abs(found - value.numpy()).max() <= 1e-4 * np.abs(value.numpy()).max()
    assert heatmaps.std() > 0


def test_the_file_stands_alone_and_says_how_its_input_is_read(
    model: GazeModel, exported: Path
) -> None:
    assert list(exported.parent.iterdir()) == [exported]
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(exported, load_external_data=False)
    onnx.checker.check_model(proto)
    assert not any(weight.external_data for weight in proto.graph.initializer)
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert from_dict(GazeModelConfig, json.loads(about["config"])) == model.config


class Program:
    """Stands for what the exporter gives, which takes seconds."""

    model = SimpleNamespace(metadata_props={})

    def save(self, path: Path, *, external_data: bool) -> None:
        path.write_bytes(b"a network")


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_a_file_that_computes_something_else_is_not_written(
    model: GazeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program())
    monkeypatch.setattr(exporting, "_difference", lambda *_: 1e-5)
    assert exporting.export(model, tmp_path / "g.onnx") == 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]
    (tmp_path / "g.onnx").unlink()
    differences = iter((1e-5, difference))  # of a batch of 1, and of 3
    monkeypatch.setattr(exporting, "_difference", lambda *_: next(differences))
    with pytest.raises(
        DataError, match=r"g\.onnx: expected a network that differs .* at most 0.0001"
    ):
        exporting.export(model, tmp_path / "g.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_check_sees_a_file_of_other_weights(model: GazeModel, exported: Path) -> None:
    other = GazeModel(model.config)
    initialise(other, seeded("other"))
    example = exporting._example(2, 64)
    same, different = (
        exporting._difference(exporting._Predicting(m.for_evaluation()), exported, example)
        for m in (model, other)
    )
    assert same < 1e-5 < 1e-2 < different


def test_a_network_too_large_for_one_file_is_refused(
    model: GazeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LARGEST", 1000)
    with pytest.raises(UsageError, match="one ONNX file holds less than 2"):
        exporting.export(model, tmp_path / "g.onnx")


def test_what_is_not_installed_is_named(
    model: GazeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"gaze-da\[onnx\]"):
        exporting.export(model, tmp_path / "g.onnx")
