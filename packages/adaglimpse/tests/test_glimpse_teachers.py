"""Teachers: files of every wrapping fill them, wrong ones are refused, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet101
from torchvision.models.segmentation import deeplabv3_resnet101

from adaglimpse.config import SIZES
from adaglimpse.model.mae import ElasticMae
from adaglimpse.teachers import (
    DeepLab,
    VitTeacher,
    deeplab_teacher,
    new_deeplab,
    vit_teacher,
)
from shared_core.checkpoints.weights import save_weights
from shared_core.errors import CheckpointError

CLASSES = 5
SIDE = 48
OTHERS = {"mae._orig_mod.cls_token": torch.zeros(1), "rl_loss_module.qvalue.__device": None}
"""What a pupil's checkpoint holds beside its teacher."""

WRAPPED: dict[str, Callable[[dict[str, Tensor]], dict]] = {
    "bare": lambda state: {"model": state},
    "compiled": lambda state: {"model": {f"_orig_mod.{n}": v for n, v in state.items()}},
    "distributed": lambda state: {"module." + n: v for n, v in state.items()},
    "teacher_model": lambda state: {
        "state_dict": OTHERS | {f"teacher_model.{n}": v for n, v in state.items()}
    },
    "teacher_model compiled": lambda state: {
        "state_dict": OTHERS | {f"teacher_model._orig_mod.{n}": v for n, v in state.items()}
    },
    "teacher compiled": lambda state: {
        "state_dict": OTHERS | {f"teacher._orig_mod.{n}": v for n, v in state.items()}
    },
}


def of_constants(network: nn.Module) -> dict[str, Tensor]:
    """Another constant for each tensor: they take no room in a file."""
    return {
        name: torch.tensor(1 + number % 97).to(value.dtype).expand(value.shape)
        for number, (name, value) in enumerate(network.state_dict().items())
    }


@pytest.fixture(scope="module")
def vit() -> VitTeacher:
    torch.manual_seed(0)
    teacher = VitTeacher(SIZES["tiny"], CLASSES, SIDE).eval()
    with torch.no_grad():
        for value in teacher.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return teacher


@pytest.fixture(scope="module")
def deeplab() -> DeepLab:
    torch.manual_seed(0)
    return DeepLab(CLASSES).eval()


def saved(folder: Path, content: dict) -> Path:
    path = folder / "teacher.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_acceptance_23_a_vit_is_filled_from_every_wrapping(vit, wrapping, tmp_path):
    found = vit_teacher(saved(tmp_path, WRAPPED[wrapping](vit.state_dict())), CLASSES)
    images = torch.randn(2, 3, SIDE, SIDE)
    assert torch.equal(found(images), vit(images))
    assert not found.training
    assert not any(value.requires_grad for value in found.parameters())


@pytest.mark.parametrize("wrapping", ["bare", "compiled", "teacher_model"])
def test_acceptance_23_a_deeplab_is_filled_from_every_wrapping(deeplab, wrapping, tmp_path):
    state = of_constants(deeplab)
    found = deeplab_teacher(saved(tmp_path, WRAPPED[wrapping](state)), CLASSES)
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
    assert not found.training
    assert not any(value.requires_grad for value in found.parameters())


def test_acceptance_23_a_wrong_file_is_refused_with_its_names(vit, deeplab, tmp_path):
    vit_file = tmp_path / "vit.safetensors"
    save_weights(vit_file, vit.state_dict())
    with pytest.raises(CheckpointError, match=r"missing backbone\.conv1\.weight"):
        deeplab_teacher(vit_file)
    path = saved(tmp_path, of_constants(deeplab))
    with pytest.raises(CheckpointError, match=r"weights named backbone\.bn1\.bias"):
        vit_teacher(path, CLASSES)


def test_a_file_of_less_than_95_percent_is_refused(vit, tmp_path):
    state = vit.state_dict()
    few = {name: value for name, value in state.items() if not name.startswith("blocks.1.norm")}
    assert len(few) < 0.95 * len(state)
    with pytest.raises(CheckpointError, match=r"missing blocks\.1\.norm1\.weight \[64\]"):
        vit_teacher(saved(tmp_path, {"model": few}), CLASSES)


def test_what_little_is_missing_is_said(vit, tmp_path, caplog):
    state = vit.state_dict()
    state.pop("norm.bias")
    vit_teacher(saved(tmp_path, {"model": state}), CLASSES)
    assert "left at random: norm.bias" in caplog.text


def test_a_teacher_without_its_last_layer_is_refused_however_little_that_is(vit, tmp_path):
    state = vit.state_dict()
    state.pop("head.weight")
    with pytest.raises(CheckpointError, match=r"missing head\.weight"):
        vit_teacher(saved(tmp_path, {"model": state}), CLASSES)


def test_counters_of_batch_norms_may_be_absent(deeplab, tmp_path, caplog):
    state = of_constants(deeplab)
    old = {name: value for name, value in state.items() if "num_batches" not in name}
    found = deeplab_teacher(saved(tmp_path, {"model": old}))
    assert torch.equal(found.backbone.bn1.running_var, state["backbone.bn1.running_var"])
    assert not caplog.records


def test_another_number_of_classes_is_refused(vit, deeplab, tmp_path):
    with pytest.raises(CheckpointError, match=r"head\.weight \[5, 64\] instead of \[7, 64\]"):
        vit_teacher(saved(tmp_path, {"model": vit.state_dict()}), 7)
    with pytest.raises(CheckpointError, match=r"classifier\.4\.weight"):
        deeplab_teacher(saved(tmp_path, {"model": of_constants(deeplab)}), 7)


def test_a_vit_uses_the_position_code_of_its_file(vit, tmp_path):
    """Its code was learnt: the backbone's, of boxes, would be another network."""
    other = VitTeacher(SIZES["tiny"], CLASSES, SIDE)
    other.load_state_dict(vit.state_dict())
    with torch.no_grad():
        other.pos_embed.copy_(torch.randn_like(other.pos_embed))
    found = vit_teacher(saved(tmp_path, {"model": other.state_dict()}))
    images = torch.randn(1, 3, SIDE, SIDE)
    x = functional.conv2d(images, other.patch_embed.proj.weight, other.patch_embed.proj.bias, 16)
    x = torch.cat((other.cls_token, x.flatten(2).transpose(1, 2) + other.pos_embed), dim=1)
    for block in other.blocks:
        x = block(x)
    expected = other.head(other.norm(x)[:, 0])
    assert torch.allclose(found(images), expected, atol=1e-6)
    assert not torch.allclose(vit(images), expected, atol=1e-2)


def test_with_the_code_of_boxes_a_vit_is_the_backbone(vit):
    mae = ElasticMae(SIZES["tiny"], "none", (SIDE, SIDE), head_classes=CLASSES).eval()
    plain = VitTeacher(SIZES["tiny"], CLASSES, SIDE).eval()
    plain.load_state_dict(mae.state_dict())
    images = torch.randn(2, 3, SIDE, SIDE)
    expected = mae.classify(mae.encode_image(images).tokens)
    assert torch.allclose(plain(images), expected, atol=1e-5)


def test_a_vit_resizes_images_to_those_of_its_training(vit):
    images = torch.randn(2, 3, 32, 64)
    resized = functional.interpolate(
        images, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    assert torch.equal(vit(images), vit(resized))


def test_a_deeplab_answers_as_torchvisions(deeplab):
    theirs = deeplabv3_resnet101(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    theirs.load_state_dict(deeplab.state_dict())
    images = torch.randn(1, 3, 32, 48)
    found = deeplab(images)
    assert found.shape == (1, CLASSES, 32, 48)
    assert torch.equal(found, theirs(images)["out"])


def test_a_new_deeplab_may_begin_with_a_resnet_or_a_deeplab(deeplab, tmp_path):
    resnet = of_constants(resnet101())
    path = saved(tmp_path, dict(resnet))
    found = new_deeplab(7, path)
    assert found.training
    assert all(value.requires_grad for value in found.parameters())
    state = found.state_dict()
    taken = [name for name in resnet if not name.startswith("fc.")]
    assert all(torch.equal(state[f"backbone.{name}"], resnet[name]) for name in taken)
    whole = of_constants(deeplab)
    again = new_deeplab(CLASSES, saved(tmp_path, {"model": whole})).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in again.items())


def test_reading_a_teacher_moves_nobodys_random_numbers(vit, tmp_path):
    path = saved(tmp_path, {"model": vit.state_dict()})
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    vit_teacher(path)
    assert torch.equal(torch.rand(2), expected)
