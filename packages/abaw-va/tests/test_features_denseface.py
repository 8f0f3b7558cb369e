from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from abaw_va.features.denseface import DEVIATION, MEAN, DenseFace, DenseFaceExtractor
from abaw_va.features.light import grey
from shared_core.checkpoints.weights import save_weights
from shared_core.errors import CheckpointError
from shared_core.testing.filled import filled, rnd


@pytest.fixture(scope="module")
def network():
    return filled(DenseFace())


@pytest.fixture
def crops():
    return torch.from_numpy(np.random.default_rng(5).integers(0, 256, (4, 3, 112, 112), np.uint8))


@torch.inference_mode()
def test_acceptance_17_features_and_logits(network):
    faces = rnd("gray_faces", (3, 1, 64, 64))
    features = network.embed(faces)
    assert features.shape == (3, 342)
    assert features.sum().item() == pytest.approx(11.742628, abs=1e-4)
    np.testing.assert_allclose(features[0, :3], [0, 0.015464, 0.013583], atol=1e-5)
    logits = [0.012247, 0.004732, 0.000122, 0.012247, 0.021886, -0.035253, -0.004996, 0.023434]
    np.testing.assert_allclose(network(faces)[0], logits, atol=1e-5)


@torch.inference_mode()
def test_acceptance_17_the_path_through_the_convolutions_tells_faces_apart():
    """With weights of usual size, against the same layers called and concatenated by hand."""
    torch.manual_seed(0)
    network = DenseFace().eval()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    faces = rnd("gray_faces", (3, 1, 64, 64))
    maps = network.features.conv0(faces)
    for block in (1, 2, 3):
        for layer in getattr(network.features, f"denseblock{block}"):
            inside = layer.conv1(torch.relu(layer.norm1(maps)))
            maps = torch.cat([maps, layer.conv2(torch.relu(layer.norm2(inside)))], dim=1)
        assert maps.shape == (
            3,
            (216, 300, 342)[block - 1],
            (32, 16, 8)[block - 1],
            (32, 16, 8)[block - 1],
        )
        if block < 3:
            transition = getattr(network.features, f"transition{block}")
            maps = transition.conv(torch.relu(transition.norm(maps)))
            maps = maps.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean(dim=(3, 5))
    by_hand = torch.relu(network.features.norm3(maps)).mean(dim=(2, 3))
    features = network.embed(faces)
    torch.testing.assert_close(features, by_hand, atol=1e-5, rtol=1e-4)
    assert features.std(dim=0).max() > 1e-2


def test_the_network_has_the_authors_weights(network):
    state = network.state_dict()
    assert len(state) == 596
    assert sum(p.numel() for p in network.parameters()) == 768_044
    assert sum(p.numel() for p in network.features.parameters()) == 765_300
    for key in (
        "features.conv0.weight",
        "features.denseblock3.denselayer16.conv2.weight",
        "features.transition2.norm.running_var",
        "features.norm3.bias",
        "classifier.weight",
    ):
        assert key in state


def test_grey_is_opencv_s(crops):
    ours = grey(crops)[:, 0]
    for crop, luma in zip(crops, ours, strict=True):
        reference = cv2.cvtColor(
            np.ascontiguousarray(crop.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY
        )
        np.testing.assert_array_equal(luma, reference)


def test_faces_are_shrunk_as_opencv_does(crops):
    luma = grey(crops)
    ours = interpolate(luma, (64, 64), mode="bilinear")[:, 0]
    for one, small in zip(luma, ours, strict=True):
        np.testing.assert_allclose(small, cv2.resize(one[0].numpy(), (64, 64)), atol=1e-3)


@pytest.mark.parametrize("classifier", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_rows_are_the_network_s_on_normalised_grey_faces(
    tmp_path, network, crops, suffix, classifier
):
    state = {k: v for k, v in network.state_dict().items() if classifier or "classifier" not in k}
    path = tmp_path / f"denseface{suffix}"
    if suffix == ".pth":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    else:
        save_weights(path, state)
    extractor = DenseFaceExtractor(path)
    rows = extractor(crops)
    assert (rows.shape, rows.dtype) == ((4, extractor.width), torch.float32)
    small = np.stack(
        [
            cv2.resize(
                cv2.cvtColor(c.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY).astype(np.float32),
                (64, 64),
            )
            for c in crops
        ]
    )
    with torch.inference_mode():
        expected = network.embed(((torch.from_numpy(small) - MEAN) / DEVIATION)[:, None])
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(extractor(crops[2:3]), rows[2:3], atol=1e-6, rtol=1e-5)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_weights(path, {"fc.weight": torch.zeros(3, 3)})
    with pytest.raises(
        CheckpointError, match="expected DenseFace, found weights of another network"
    ):
        DenseFaceExtractor(path)
