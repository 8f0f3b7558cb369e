from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from abaw_va.features.mapping import frame_spans
from abaw_va.features.spectrum import log_mel, mel_weights
from abaw_va.features.vggish import (
    WINDOW,
    Vggish,
    VggishExtractor,
    spectra,
    upstream_starts,
    window_starts,
)
from shared_core.checkpoints.weights import save_weights
from shared_core.data.audio import Audio
from shared_core.errors import CheckpointError
from shared_core.testing.filled import filled, rnd


@pytest.fixture(scope="module")
def network():
    return filled(Vggish())


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vggish.safetensors"
    save_weights(path, network.state_dict())
    yield path
    path.unlink()  # 289 MB


@pytest.fixture(scope="module")
def golden():
    """1.5 s of noise, as 16-bit values."""
    return np.clip(rnd("wav", (24_000,)).numpy() * 3000, -32_768, 32_767).astype(np.int16)


def sound(samples: np.ndarray, start_s: float = 0.0) -> Audio:
    return Audio(samples=(samples / 32_768).astype(np.float32), rate=16_000, start_s=start_s)


def test_acceptance_16_windows_and_log_mel(golden):
    starts = upstream_starts(len(golden))
    assert (len(starts), WINDOW) == (45, 15_679)
    images = torch.cat(list(spectra(golden, starts)))
    assert images.shape == (45, 96, 64)
    means = images.mean(dim=(1, 2))[[0, 20, 43, 44]]
    np.testing.assert_allclose(means, [6.507456, 11.400575, 6.072052, 5.679788], atol=1e-4)
    np.testing.assert_allclose(images[0, 0, :2], [6.327402, 6.830013], atol=1e-4)


@torch.inference_mode()
def test_acceptance_16_body(golden, network):
    images = torch.cat(list(spectra(golden, upstream_starts(len(golden))[[0, 20, 43]])))
    assert network(images.float()).abs().sum().item() == pytest.approx(10.474714, abs=1e-4)


def test_acceptance_16_calling_twice_gives_the_same(golden, weights):
    extractor = VggishExtractor(weights)
    times = np.arange(4) / 30
    first = extractor(sound(golden), times)
    assert first.shape == (4, extractor.width)
    assert torch.equal(first, extractor(sound(golden), times))


def test_the_network_is_the_released_one(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == 72_141_184
    layers = [f"features.{n}" for n in (0, 3, 6, 8, 11, 13)] + [
        f"embeddings.{n}" for n in (0, 2, 4)
    ]
    assert set(network.state_dict()) == {f"{x}.{y}" for x in layers for y in ("weight", "bias")}


def test_at_30_fps_the_windows_by_time_are_the_authors():
    starts, ends = frame_spans(np.arange(900) / 30)
    np.testing.assert_array_equal(window_starts(starts, ends), upstream_starts(900 * 16_000 // 30))


@pytest.mark.parametrize("fps", [15, 24, 60])
def test_at_any_rate_a_frame_lies_in_the_middle_of_its_window(fps):
    starts, ends = frame_spans(np.arange(50) / fps)
    middle = window_starts(starts, ends) + WINDOW / 2
    np.testing.assert_allclose(middle / 16_000, (starts + ends) / 2, atol=1.1 / 16_000)


def test_mel_bands_are_triangles_in_mel():
    """Every weight from the definition, one by one."""
    edge = [1127 * math.log(1 + f / 700) for f in (125, 7500)]
    edges = [edge[0] + (edge[1] - edge[0]) * k / 65 for k in range(66)]
    weights = mel_weights().numpy()
    for place in range(0, 257, 7):
        mel = 1127 * math.log(1 + place * 31.25 / 700)
        for band in range(64):
            low, peak, high = edges[band : band + 3]
            expected = max(0.0, min((mel - low) / (peak - low), (high - mel) / (high - peak)))
            assert weights[place, band] == pytest.approx(expected if place else 0.0, abs=1e-9)


def test_log_mel_is_the_definition_on_one_frame():
    samples = rnd("one frame", (400,)).double()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.concatenate([samples.numpy() * window, np.zeros(112)])
    k, n = np.arange(257)[:, None], np.arange(512)[None]
    spectrum = np.abs((padded * np.exp(-2j * np.pi * k * n / 512)).sum(axis=1))
    expected = np.log(spectrum @ mel_weights().numpy() + 0.01)
    np.testing.assert_allclose(log_mel(samples)[0], expected, atol=1e-8)


def test_edges_repeat_the_first_and_last_sample():
    ramp = np.arange(1.0, 16_001.0)
    by_hand = np.concatenate([np.full(7573, 1.0), ramp[: WINDOW - 7573]])
    (image,) = spectra(ramp, np.array([-7573]))
    torch.testing.assert_close(image[0], log_mel(torch.from_numpy(by_hand)))


def test_vggish_hears_16_bit_values_and_vggish_norm_fractions(golden, weights):
    loud = VggishExtractor(weights)
    scaled = VggishExtractor(weights, scaled=True)
    times = np.arange(2) / 30
    louder = Audio(samples=sound(golden).samples * 32_768, rate=16_000)
    assert torch.equal(loud(sound(golden), times), scaled(louder, times))
    assert not torch.equal(loud(sound(golden), times), scaled(sound(golden), times))


def test_compat_ignores_the_times_and_repeats_the_last_window(golden, weights):
    extractor = VggishExtractor(weights, compat=True)
    half_second = sound(golden[:1_700])  # three windows
    by_rate = extractor(half_second, np.arange(5) / 7)
    assert torch.equal(by_rate, extractor(half_second, np.arange(5) / 30))
    assert torch.equal(by_rate[3], by_rate[2])
    assert torch.equal(by_rate[4], by_rate[2])


def test_late_sound_meets_the_frames_it_belongs_to(golden, weights):
    extractor = VggishExtractor(weights)
    begin = extractor(sound(golden), np.array([0.6, 0.6 + 1 / 30]))
    moved = extractor(sound(golden, start_s=4.0), np.array([4.6, 4.6 + 1 / 30]))
    torch.testing.assert_close(begin, moved)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_weights(path, {"features.0.weight": torch.zeros(3, 3)})
    with pytest.raises(CheckpointError, match="expected VGGish, found weights of another network"):
        VggishExtractor(path)
