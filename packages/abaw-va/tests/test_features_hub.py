"""wav2vec and vision encoders: tiny random ones on disk, loaded by the real code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from abaw_va.features import wav2vec
from abaw_va.features.extractors import extractor
from abaw_va.features.mapping import average_rows, frame_spans
from abaw_va.features.vision import VisionExtractor
from abaw_va.features.wav2vec import Wav2vecExtractor
from shared_core.data.audio import Audio
from shared_core.errors import CheckpointError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def speech_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wav2vec")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def sound(seconds: float, start_s: float = 0.0) -> Audio:
    samples = np.random.default_rng(4).normal(size=round(seconds * 16_000)) * 0.1
    return Audio(samples=samples.astype(np.float32), rate=16_000, start_s=start_s)


@torch.inference_mode()
def hidden(folder, samples: np.ndarray) -> np.ndarray:
    """The library's own way: zero mean, unit variance, one pass."""
    ready = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    model = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    return model(torch.from_numpy(ready)[None]).last_hidden_state[0].numpy()


def test_short_sound_is_one_pass_averaged_over_the_frames(speech_model):
    extract = Wav2vecExtractor(speech_model)
    audio, times = sound(2.0), np.arange(50) / 25
    rows = hidden(speech_model, audio.samples)
    assert len(rows) == 99
    expected = average_rows(rows, 0.02, *frame_spans(times))
    assert extract.width == 32
    np.testing.assert_allclose(extract(audio, times), expected, atol=1e-4)


def test_pieces_overlap_so_that_each_row_sees_its_surroundings(speech_model, monkeypatch):
    extract = Wav2vecExtractor(speech_model)
    audio, times = sound(6.0), np.arange(150) / 25
    whole = extract(audio, times)
    monkeypatch.setattr(wav2vec, "PIECE_S", 2)
    pieces = extract(audio, times)
    monkeypatch.setattr(wav2vec, "OVERLAP_S", 0)
    abrupt = extract(audio, times)
    assert pieces.shape == whole.shape == (150, 32)
    seam = slice(48, 52)
    assert (pieces - whole)[seam].abs().mean() < (abrupt - whole)[seam].abs().mean()
    assert (pieces - whole).abs().mean() < 0.1 * whole.std()


def test_compat_runs_pieces_by_themselves_and_repeats_the_last_row(speech_model, monkeypatch):
    monkeypatch.setattr(wav2vec, "UPSTREAM_PIECE_S", 1)
    extract = Wav2vecExtractor(speech_model, compat=True)
    audio = sound(2.5)
    parts = [hidden(speech_model, audio.samples[s : s + 16_000]) for s in (0, 16_000, 32_000)]
    assert [len(part) for part in parts] == [49, 49, 24]
    rows = np.concatenate([parts[0], parts[0][-1:], parts[1], parts[1][-1:], parts[2]])
    times = np.arange(80) / 11  # the rate plays no part
    expected = average_rows(rows, 0.02, *frame_spans(times, thirty_fps=True))
    np.testing.assert_allclose(extract(audio, times), expected, atol=1e-4)


def test_late_and_very_short_sound_gives_a_row_per_frame(speech_model):
    extract = Wav2vecExtractor(speech_model)
    assert extract(sound(0.5, start_s=1.0), np.arange(60) / 30).shape == (60, 32)
    rows = extract(sound(0.005), np.array([0.0]))
    assert rows.shape == (1, 32)
    assert rows.isfinite().all()


def vit(folder):
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=8,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return 24, 32


def clip(folder):
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": 50},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    crop = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(
        folder
    )
    return 12, 32


def convnet(folder):
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 40, "width": 40}).save_pretrained(folder)
    return 16, 40


@pytest.mark.parametrize("make", [vit, clip, convnet])
def test_any_encoder_gives_a_row_per_crop(tmp_path, make):
    torch.manual_seed(0)
    width, size = make(tmp_path)
    extract = VisionExtractor(tmp_path)
    assert (extract.width, extract.size) == (width, size)
    crops = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, 3, size, size), np.uint8)
    )
    rows = extract(crops)
    assert (rows.shape, rows.dtype) == ((3, width), torch.float32)
    torch.testing.assert_close(extract(crops[1:2]), rows[1:2], atol=1e-5, rtol=1e-4)
    assert (rows[0] - rows[1]).abs().max() > 1e-4


@torch.inference_mode()
def test_pixels_are_normalised_as_the_model_asks(tmp_path):
    torch.manual_seed(0)
    vit(tmp_path)
    crops = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    model = transformers.ViTModel.from_pretrained(tmp_path).eval()
    expected = model((crops / 255 - 0.5) / 0.5).pooler_output
    torch.testing.assert_close(VisionExtractor(tmp_path)(crops), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["wav2vec", "vision"])
def test_an_absent_model_is_a_message(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="nothing that Auto"):
        extractor(name, tmp_path / "absent")
