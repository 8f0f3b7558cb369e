from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from shared_core.data.audio import Audio, read_audio
from shared_core.data.media import av
from shared_core.errors import DataError
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, tone, write_media


def test_samples_come_back_as_they_were_written(tmp_path):
    samples = tone(0.5)
    audio = read_audio(write_media(tmp_path / "a.mkv", grey_steps(5), sound=[(0, samples)]))
    assert (audio.rate, audio.start_s) == (16_000, 0)
    assert audio.samples.dtype == np.float32
    assert len(audio.samples) == len(samples)
    np.testing.assert_allclose(audio.samples, samples, atol=1e-4)


def test_sound_that_starts_late_says_when(tmp_path):
    audio = read_audio(write_media(tmp_path / "a.mkv", grey_steps(9), sound=[(0.25, tone(0.3))]))
    assert audio.start_s == pytest.approx(0.25, abs=1e-3)
    assert audio.end_s == pytest.approx(0.55, abs=1e-3)


def test_a_gap_is_silence_and_what_follows_keeps_its_time(tmp_path):
    path = write_media(
        tmp_path / "a.mkv", grey_steps(9), sound=[(0.1, tone(0.3)), (1.0, tone(0.2))]
    )
    audio = read_audio(path)
    assert audio.end_s == pytest.approx(1.2, abs=1e-3)
    place = round((1.0 - audio.start_s) * 16_000)
    assert np.abs(audio.samples[round(0.3 * 16_000) : place]).max() == 0
    np.testing.assert_allclose(audio.samples[place:], tone(0.2), atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_agrees_with_a_polyphase_filter(tmp_path, rate):
    source = tone(1.0, 300, rate=rate) + tone(1.0, 1000, rate=rate, peak=0.2)
    audio = read_audio(write_media(tmp_path / "a.mkv", sound=[(0, source)], rate=rate))
    greatest = np.gcd(16_000, rate)
    reference = resample_poly(source, 16_000 // greatest, rate // greatest)
    assert abs(len(audio.samples) - 16_000) <= 16
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(audio.samples[middle], reference[middle], atol=5e-3)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    left, right = np.full(8_000, 16_000, np.int16), np.full(8_000, 8_000, np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="stereo")
        interleaved = np.stack([left, right], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, "s16", "stereo")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    np.testing.assert_allclose(read_audio(path).samples, 12_000 / 32_768, atol=1e-4)


def test_no_sound_stream_is_none(tmp_path):
    assert read_audio(write_media(tmp_path / "v.mp4", grey_steps(3))) is None


def test_the_real_clips():
    folder = shared_data("abaw-va", "video")
    sound = read_audio(folder / "single_face.mp4")
    assert sound.end_s == pytest.approx(2.42, abs=0.03)
    assert np.abs(sound.samples).max() > 0.005
    silent = read_audio(folder / "WolfgangLanger_Pexels.mp4")
    assert silent.end_s == pytest.approx(19.69, abs=0.03)
    assert np.abs(silent.samples).max() == 0


@pytest.mark.parametrize(
    ("name", "seconds"), [("3436-172162-0000.ogg", 16.745), ("LJ050-0131.wav", 7.658)]
)
def test_real_speech_has_its_length(name, seconds):
    audio = read_audio(shared_data("abaw-va", "speech", name))
    assert len(audio.samples) / audio.rate == pytest.approx(seconds, abs=2e-3)
    assert 0.1 < np.abs(audio.samples).max() <= 1


def test_the_second_stream_can_be_chosen():
    video = shared_data("common", "video_plain", "nasa_13013.mp4")
    first, second = read_audio(video, stream=0), read_audio(video, stream=1)
    assert first.end_s == pytest.approx(second.end_s, abs=0.1)
    assert read_audio(video, stream=2) is None


def test_damaged_sound_names_the_time(tmp_path):
    path = write_media(tmp_path / "a.mkv", sound=[(0, tone(2.0))], audio_codec="aac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:] = bytes(byte ^ 0x5A for byte in content[middle:])
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"audio frame \d+ \(after \d"):
        read_audio(path)


def test_covering_adds_silence_on_both_sides_and_never_cuts():
    audio = Audio(samples=np.ones(1_600, np.float32), rate=16_000, start_s=0.5)
    wide = audio.covering(0.25, 1.0)
    assert (wide.start_s, wide.end_s) == (0.25, 1.0)
    assert wide.samples.sum() == 1_600
    np.testing.assert_array_equal(wide.samples[4_000:5_600], 1)
    assert audio.covering(0.52, 0.55).samples.shape == audio.samples.shape
