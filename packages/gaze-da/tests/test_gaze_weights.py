"""Weights of others, in and out: the authors', Chong's, torchvision's; and none of their code."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gaze_da.config import ConvertConfig, GazeModelConfig, Network
from gaze_da.model.initial import initialise
from gaze_da.model.network import BRANCHES, GazeModel
from gaze_da.weights import command, from_upstream, load_initial, to_upstream
from shared_core.errors import CheckpointError
from shared_core.testing.faults import hostile_checkpoints
from shared_core.testing.filled import seeded

LAYERS = (1, 2, 1, 1, 1)
TINY = Network(
    width=8,
    scene_layers=LAYERS,
    depth_layers=(1, 1, 1, 1, 2),
    face_layers=(2, 1, 1, 1, 1),
    input_size=64,
    output_size=24,
)
EQUAL = replace(TINY, depth_layers=LAYERS, face_layers=LAYERS)
BOTH = {"head_da": True, "rgb_depth_da": True}


def built(network: Network = TINY, key: str = "theirs", **settings: bool) -> GazeModel:
    """A network that has learnt something: its batch norms are not the identity."""
    model = GazeModel(GazeModelConfig(network=network, **settings))
    initialise(model, seeded(key))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.copy_(
                    1 + 0.1 * torch.randn(module.num_features, generator=seeded(name))
                )
                module.num_batches_tracked.fill_(7)
    return model


def state_of(model: GazeModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def authors_file(path: Path, state: dict[str, Tensor], **more: Any) -> Path:
    """What the authors' training writes: modules of losses, and Adam's state, pickled with it."""
    adam = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    content = {
        "run_id": "some run",
        "epoch": 3,
        "model": state,
        "optimizer": adam.state_dict(),
        "mse_loss": nn.MSELoss(reduction="none"),
        "inout_loss": nn.BCEWithLogitsLoss(),
        "adv_loss": nn.NLLLoss(),
        "multimodal_loss": nn.MSELoss(reduction="none"),
    }
    torch.save(content | more, path)
    return path


class Touch:
    """Pickles as a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def same(model: GazeModel, state: dict[str, Tensor]) -> bool:
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], v) for k, v in state.items())


# Acceptance 24.


@pytest.mark.parametrize(
    "adaptation", [{}, {"head_da": True}, {"rgb_depth_da": True}, BOTH], ids=str
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_acceptance_24_a_checkpoint_with_pickled_losses_loads(
    tmp_path: Path, adaptation: dict[str, bool], prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = state_of(built(**adaptation))
    path = authors_file(tmp_path / "c.pth", {f"{prefix}{k}": v for k, v in state.items()})
    with pytest.raises(Exception, match="MSELoss"):
        torch.load(path, weights_only=True)
    model = from_upstream(path)
    assert same(model, state)
    assert model.config == GazeModelConfig(network=TINY, **adaptation)
    assert not model.training
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the state of its optimiser is not taken" in caplog.text


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_acceptance_24_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    corpus = hostile_checkpoints(tmp_path, touched)
    state = state_of(built())
    for name, more in {
        "loss": {"mse_loss": Touch(touched)},
        "optimiser": {"optimizer": {"state": [Touch(touched)]}},
        "weights": {"model": state | {"attn.bias": Touch(touched)}},
    }.items():
        corpus[name] = authors_file(tmp_path / f"{name}.pth", state, **more)
    for what, path in corpus.items():
        with pytest.raises(CheckpointError, match=re.escape(path.name)):
            from_upstream(path)
        with pytest.raises(CheckpointError):
            load_initial(built(), path)
        assert not touched.exists(), what
    torch.load(corpus["loss"], weights_only=False)
    assert touched.exists()  # an unguarded loader would have run it


def test_acceptance_24_without_an_inout_head_there_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = state_of(built())
    kept = {name: v for name, v in state.items() if not name.startswith("inout_decoder.")}
    model = from_upstream(authors_file(tmp_path / "c.pth", kept))
    assert not model.config.inout_trained
    assert "not in it, left as they were: inout_decoder\n" in caplog.text
    assert "the in/out head is untrained" in caplog.text
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in kept.items())
    for name in state.keys() - kept.keys():
        assert torch.isfinite(own[name]).all()


def test_acceptance_24_unknown_keys_are_an_error_that_lists_them(tmp_path: Path) -> None:
    state = state_of(built()) | {"decoder.deconv9.bias": torch.ones(4), "extra": torch.ones(())}
    path = authors_file(tmp_path / "c.pth", state)
    model = built(key="ours")
    before = state_of(model)
    for load in (from_upstream, lambda path: load_initial(model, path)):
        with pytest.raises(
            CheckpointError, match=r"unknown decoder.deconv9.bias \[4\], extra \[\]"
        ):
            load(path)
    assert same(model, before)


def test_an_inout_head_that_never_learnt_is_found_out(tmp_path: Path) -> None:
    """With the authors' default factor of 0, its batch norms stay as they were drawn."""
    model = built()
    model.inout_decoder.bn1.reset_parameters()
    model.inout_decoder.bn1.running_mean.fill_(0.3)
    assert not from_upstream(authors_file(tmp_path / "c.pth", state_of(model))).config.inout_trained


def test_the_weights_are_those_under_model_state_dict_where_there_are_any(tmp_path: Path) -> None:
    theirs, others = state_of(built()), state_of(built(key="others"))
    for first, chosen in (({}, theirs), (others, others)):
        path = authors_file(tmp_path / "c.pth", theirs, model_state_dict=first)
        assert same(from_upstream(path), chosen)


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    state = state_of(built(**BOTH))
    save_file(state, tmp_path / "c.safetensors")
    model = from_upstream(tmp_path / "c.safetensors")
    assert same(model, state)
    assert model.config.head_da
    assert model.config.rgb_depth_da


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({}, "expected weights"),
        ({"weight": torch.ones(2)}, r"unknown weight \[2\]"),
        ({"attn.weight": torch.ones(4, 2)}, "of wrong shape attn.weight"),
        ({"scene_backbone.conv1.weight": torch.ones(0, 4, 7, 7)}, "sizes of no network"),
    ],
)
def test_a_file_of_something_else_is_refused(
    tmp_path: Path, state: dict[str, Tensor], fault: str
) -> None:
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=fault):
        from_upstream(tmp_path / "c.pth", TINY if "weight" in state else None)


def test_sizes_that_are_asked_for_must_be_those_of_the_file(tmp_path: Path) -> None:
    path = authors_file(tmp_path / "c.pth", state_of(built()))
    assert from_upstream(path, TINY).config.network == TINY
    with pytest.raises(CheckpointError, match=r"of wrong shape scene_backbone\.conv1\.weight"):
        from_upstream(path, replace(TINY, width=12))


# Other people's networks.


def chong_state(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of the spatial model of Chong et al. (2020), each written out."""
    names: dict[str, str] = {}
    for theirs, our in (("scene", "scene_backbone"), ("face", "face_backbone")):
        for part in ("conv1", "bn1", *(f"layer{n}" for n in range(1, 6))):
            names[f"{our}.{part}"] = f"{part}_{theirs}"
    names["attn"] = "attn"
    for part in ("conv1", "bn1", "conv2", "bn2"):
        names[f"scene_encoder.{part}"] = f"compress_{part}"
        names[f"inout_decoder.{part}"] = f"compress_{part}_inout"
    names["inout_decoder.fc"] = "fc_inout"
    for n in (1, 2, 3):
        names[f"decoder.deconv{n}"] = f"deconv{n}"
        names[f"decoder.bn{n}"] = f"deconv_bn{n}"
    names["decoder.conv4"] = "conv4"
    return {
        theirs + name.removeprefix(our): value
        for name, value in ours.items()
        for our, theirs in names.items()
        if name.startswith(f"{our}.")
    }


def test_a_spatial_model_of_chong_fills_all_but_the_depth(tmp_path: Path) -> None:
    state = state_of(built())
    theirs = chong_state(state)
    depth = ("depth_backbone.", "depth_encoder.")
    assert len(theirs) == sum(not name.startswith(depth) for name in state)
    torch.save({"model": theirs}, tmp_path / "chong.pt")
    model = built(key="ours")
    before = state_of(model)
    notes = load_initial(model, tmp_path / "chong.pt")
    assert notes == ["not in it, left as they were: depth_backbone, depth_encoder"]
    assert same(model, {k: (before if k.startswith(depth) else state)[k] for k in before})


def test_a_spatial_model_of_chong_becomes_a_model(tmp_path: Path) -> None:
    torch.save({"model": chong_state(state_of(built()))}, tmp_path / "chong.pt")
    network = from_upstream(tmp_path / "chong.pt").config.network
    assert (network.width, network.input_size) == (TINY.width, TINY.input_size)
    assert network.scene_layers == network.depth_layers == TINY.scene_layers
    assert network.face_layers == TINY.face_layers


def test_a_spatiotemporal_model_of_chong_is_refused(tmp_path: Path) -> None:
    state = chong_state(state_of(built())) | {"convlstm_scene.0.Wxi.weight": torch.ones(1)}
    torch.save({"model": state}, tmp_path / "chong.pt")
    with pytest.raises(CheckpointError, match=r"unknown convlstm_scene\.0\.Wxi\.weight"):
        load_initial(built(), tmp_path / "chong.pt")


def resnet_state() -> dict[str, Tensor]:
    """A ResNet of torchvision's names, small; without the counters that its old files lack."""
    ours = state_of(built(EQUAL))
    start = "face_backbone."
    state = {k.removeprefix(start): v for k, v in ours.items() if k.startswith(start)}
    return {
        name: value
        for name, value in state.items()
        if not name.startswith("layer5.") and not name.endswith("num_batches_tracked")
    } | {"fc.weight": torch.ones(1000, 256), "fc.bias": torch.ones(1000)}


def test_a_resnet_of_torchvision_starts_all_three_branches(tmp_path: Path) -> None:
    model = built(EQUAL, key="ours")
    before = state_of(model)
    theirs = resnet_state()
    torch.save(theirs, tmp_path / "resnet.pth")
    notes = load_initial(model, tmp_path / "resnet.pth")
    own = model.state_dict()
    for branch in BRANCHES:
        for name, value in theirs.items():
            if name.startswith("fc."):
                continue
            found = own[f"{branch}.{name}"]
            if name == "conv1.weight" and branch != "face_backbone":
                assert torch.equal(found[:, 3:], torch.zeros_like(found[:, 3:]))
                found = found[:, :3]
            assert torch.equal(found, value), (branch, name)
    untouched = ("layer5.", "attn.", "scene_encoder.", "decoder.", "inout_decoder.")
    assert all(torch.equal(own[k], v) for k, v in before.items() if any(u in k for u in untouched))
    assert notes == [
        "not in it, left as they were: scene_backbone.layer5, depth_backbone.layer5, "
        "face_backbone.layer5, attn, scene_encoder, depth_encoder, inout_decoder, decoder"
    ]


def test_a_resnet_of_torchvision_becomes_a_model_with_nothing_said_of_inside(
    tmp_path: Path,
) -> None:
    torch.save(resnet_state(), tmp_path / "resnet.pth")
    config = from_upstream(tmp_path / "resnet.pth").config
    assert config.network.width == 8
    assert config.network.face_layers == (1, 2, 1, 1, 2)
    assert config.network.input_size == 224
    assert not config.inout_trained


def test_every_key_of_torchvisions_resnet50_has_its_place() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs = torchvision.models.resnet50().state_dict()
        ours = GazeModel(GazeModelConfig()).face_backbone.state_dict()
    expected = {name: value.shape for name, value in theirs.items() if not name.startswith("fc.")}
    found = {name: value.shape for name, value in ours.items() if not name.startswith("layer5.")}
    assert found == expected


# Initial weights of a training run.


def test_what_the_network_has_not_is_not_taken_and_said(tmp_path: Path) -> None:
    state = state_of(built(**BOTH))
    path = authors_file(tmp_path / "c.pth", state)
    model = built(key="ours", head_da=True)
    notes = load_initial(model, path)
    assert same(model, {k: v for k, v in state.items() if not k.startswith("multimodal_da.")})
    assert notes == [
        "the state of its optimiser is not taken: training would start a new one",
        "its reconstruction (multimodal_da) is not taken: the network has none",
    ]


def test_what_the_file_has_not_is_left_and_said(tmp_path: Path) -> None:
    theirs = built()
    theirs.save_pretrained(tmp_path / "run" / "model")
    model = built(key="ours", **BOTH)
    before = state_of(model)
    notes = load_initial(model, tmp_path / "run")
    assert notes == ["not in it, left as they were: adv_da, multimodal_da"]
    assert same(model, before | state_of(theirs))


def test_single_keys_that_are_missing_are_named(tmp_path: Path) -> None:
    state = state_of(built())
    for name in ("decoder.conv4.bias", "attn.weight", "attn.bias"):
        del state[name]
    torch.save(state, tmp_path / "c.pth")
    notes = load_initial(built(), tmp_path / "c.pth")
    assert notes == ["not in it, left as they were: attn, decoder.conv4.bias"]


# Out.


def test_what_is_written_for_the_authors_code_comes_back(tmp_path: Path) -> None:
    model = built(**BOTH)
    to_upstream(model, tmp_path / "c.pth")
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    assert list(content["model"]) == list(model.state_dict())
    assert same(from_upstream(tmp_path / "c.pth"), state_of(model))


def test_convert_goes_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of(built(head_da=True))
    kept = {name: v for name, v in state.items() if not name.startswith("inout_decoder.")}
    path, folder, back = authors_file(tmp_path / "c.pth", kept), tmp_path / "m", tmp_path / "b.pth"
    command(ConvertConfig(source=path, out=folder))
    said = capsys.readouterr().out
    assert "NOTE: the state of its optimiser" in said
    assert "NOTE: the in/out head is untrained" in said
    assert said.endswith(f"written to {folder}\n")
    model = GazeModel.from_pretrained(folder)
    assert not model.config.inout_trained
    assert "untrained" in (folder / "README.md").read_text()
    command(ConvertConfig(source=folder, out=back, to="upstream"))
    assert "paper's sizes only" in capsys.readouterr().out
    assert same(from_upstream(back), state_of(model))
