"""Packed inference: the same predictions for the price of the real frames alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from abaw_va.config import FclstmXl, Transformer, TransformerAttention, TransformerLstm
from abaw_va.config.training import VaModelConfig
from abaw_va.inference import FramesInMemory, infer
from abaw_va.method.smoothing import smooth
from abaw_va.model.network import VaModel

SMALL = {"hidden_size": 16, "regressor": (16,), "chunk_length": 25}
ATTENDING = {**SMALL, "layers": 1, "heads": 2, "ffn_width": 32}
NETWORKS = {
    "transformer": Transformer(**ATTENDING, hop=0),
    "transformer-lstm": TransformerLstm(**ATTENDING),
    "transformer-attention": TransformerAttention(
        **{**ATTENDING, "heads": 4}, block_length=5, memory_length=20
    ),
    "fclstm-xl": FclstmXl(**SMALL),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_acceptance_25_packing_computes_the_same_from_a_quarter_of_the_frames(kind, monkeypatch):
    """A tenth of the check's size: 250 + 15 x 50 frames. The ratios of time are in the bench.

    Counted is what every encoder is given: 16 videos padded to the longest, or packed chunks.
    """
    torch.manual_seed(0)
    config = VaModelConfig(model=NETWORKS[kind], features=("x",), input_width=12)
    model = VaModel(config).eval()
    lengths = [250] + [50] * 15
    videos = [torch.randn(n, 12).numpy() for n in lengths]
    given: list[int] = []
    encode = VaModel.encode

    def counted(self, features, present):
        given.append(features.shape[0] * features.shape[1])
        return encode(self, features, present)

    monkeypatch.setattr(VaModel, "encode", counted)
    names = {f"v{number}": video for number, video in enumerate(videos)}
    packed = dict(infer(model, FramesInMemory(names)))
    of_packed = sum(given)
    given.clear()
    features = torch.zeros(16, 250, 12)
    present = torch.zeros(16, 250, dtype=torch.bool)
    for row, video in enumerate(videos):
        features[row, : len(video)] = torch.from_numpy(video)
        present[row, : len(video)] = True
    with torch.inference_mode():
        padded = model.prediction(model.forward_videos(features, present)).numpy()
    assert of_packed == sum(lengths)
    assert sum(given) / of_packed >= 3.5
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(packed[row], padded[row, :length], atol=1e-5)


@pytest.mark.parametrize("frames", [700, 250, 90, 301])
def test_acceptance_18_overlapping_windows_are_averaged(frames, monkeypatch):
    """What each window says of a frame depends on the window; each frame gets their plain mean."""
    network = Transformer(**{**ATTENDING, "chunk_length": 250}, hop=50)
    model = VaModel(VaModelConfig(model=network, features=("x",), input_width=2)).eval()

    def numbers(self, features, present):
        """The frame's number, times a factor that grows along the window."""
        place = torch.arange(features.shape[1])[None, :, None]
        return features * (1 + place / 250), None

    monkeypatch.setattr(VaModel, "forward", numbers)
    monkeypatch.setattr(VaModel, "prediction", lambda self, output: output)
    video = np.repeat(np.arange(frames, dtype=np.float32)[:, None] / frames, 2, axis=1)
    ((_, found),) = infer(model, FramesInMemory({"v": video}))
    starts = [0]
    while starts[-1] + 250 <= frames:
        starts.append(starts[-1] + 50)
    assert len(starts) == {700: 11, 250: 2, 90: 1, 301: 3}[frames]
    for t in range(0, frames, 7):
        covering = [
            t / frames * (1 + (t - start) / 250) for start in starts if start <= t < start + 250
        ]
        assert found[t] == pytest.approx([sum(covering) / len(covering)] * 2, abs=1e-6)


def test_acceptance_25_smoothing_is_the_mean_of_each_window():
    values = np.random.default_rng(0).standard_normal(2000)
    reach = 50
    slow = [values[max(0, t - reach) : t + reach + 1].mean() for t in range(len(values))]
    np.testing.assert_allclose(smooth(torch.from_numpy(values), reach).numpy(), slow, atol=1e-12)
