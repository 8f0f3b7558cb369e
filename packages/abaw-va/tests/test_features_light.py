from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from abaw_va.features import light
from abaw_va.features.extractors import WITH_WEIGHTS, WITHOUT_WEIGHTS, extractor
from abaw_va.features.light import LogMel, Pixels
from abaw_va.features.spectrum import log_mel
from shared_core.data.audio import Audio
from shared_core.errors import UsageError
from shared_core.testing.media import tone


def sound(samples: np.ndarray, start_s: float = 0.0) -> Audio:
    return Audio(samples=samples.astype(np.float32), rate=16_000, start_s=start_s)


def test_pixels_are_standardised_crop_by_crop():
    crops = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 3, 64, 64), np.uint8))
    rows = Pixels()(crops)
    assert rows.shape == (3, Pixels.width)
    torch.testing.assert_close(rows.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(dim=1, correction=0), torch.ones(3))
    torch.testing.assert_close(Pixels()(crops[1:2]), rows[1:2])


def test_pixels_do_not_depend_on_brightness_and_a_plain_crop_is_zero():
    crops = torch.from_numpy(np.random.default_rng(1).integers(40, 90, (1, 3, 64, 64), np.uint8))
    torch.testing.assert_close(Pixels()(crops), Pixels()(crops + 100), atol=2e-2, rtol=0)
    assert Pixels()(torch.full((1, 3, 64, 64), 77, dtype=torch.uint8)).abs().max() == 0


def test_a_sound_is_heard_in_the_frames_in_which_it_sounds():
    samples = np.concatenate([np.zeros(16_000), tone(1.0, 1000), np.zeros(16_000)])
    times = np.arange(75) / 25
    rows = LogMel()(sound(samples), times)
    assert rows.shape == (75, LogMel.width)
    loud = rows.amax(dim=1) > 0
    assert loud[26:49].all()
    assert not loud[:23].any()
    assert not loud[52:].any()
    silence = math.log(0.01)
    torch.testing.assert_close(rows[5], torch.full((64,), silence))


def test_rows_are_the_mean_of_the_spectra_around_a_frame():
    samples = np.random.default_rng(2).normal(size=32_000) * 0.1
    rows = LogMel()(sound(samples), np.array([1.0, 1.04]))
    whole = log_mel(torch.from_numpy(samples.astype(np.float32)).double())
    # 0.97 to 1.07 s around the middle of frame 0; row k stands for 0.0075 + 0.01 k and 10 ms more.
    torch.testing.assert_close(rows[0].double(), whole[96:107].mean(dim=0), atol=1e-5, rtol=0)


def test_frames_outside_the_sound_hear_silence():
    rows = LogMel()(sound(tone(0.5), start_s=2.0), np.arange(10) / 2)
    torch.testing.assert_close(rows[0], torch.full((64,), math.log(0.01)))
    torch.testing.assert_close(rows[9], torch.full((64,), math.log(0.01)))
    assert rows[4].max() > 0


def test_long_sound_in_pieces_is_sound_in_one_piece(monkeypatch):
    samples = np.random.default_rng(3).normal(size=48_000) * 0.1
    times = np.arange(90) / 30
    whole = LogMel()(sound(samples), times)
    pieces = light._overlapping
    monkeypatch.setattr(light, "_overlapping", lambda signal, length: pieces(signal, 16_000))
    torch.testing.assert_close(LogMel()(sound(samples), times), whole)


def test_an_unknown_feature_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'vggish'"):
        extractor("vgish")
    with pytest.raises(
        UsageError, match=r"(?s)'xyz'\. Known: pixels.*own tables come from no video"
    ):
        extractor("xyz")


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_network_without_weights_says_which_option_gives_them(name):
    with pytest.raises(UsageError, match="needs weights: --weights"):
        extractor(name)


def test_weights_that_have_no_use_are_refused():
    with pytest.raises(UsageError, match="has no weights"):
        extractor("pixels", "some.pth")
    assert "pixels" in WITHOUT_WEIGHTS


def test_a_suffix_keeps_the_name_and_chooses_the_kind():
    made = extractor("logmel_fine")
    assert isinstance(made, LogMel)
    assert made.name == "logmel_fine"
    assert extractor("pixels").name == "pixels"


def test_the_longest_known_name_chooses_the_kind():
    """`vggish_norm_mine` is a vggish_norm, not a vggish with a suffix."""
    with pytest.raises(UsageError, match="--weights vggish_norm_mine=PATH"):
        extractor("vggish_norm_mine")
