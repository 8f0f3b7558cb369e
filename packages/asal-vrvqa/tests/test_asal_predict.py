"""A user's own videos: scores, files, messages; and the real clip in both qualities."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from asal_vrvqa.config import Network, PredictConfig, QualityModelConfig, Scale
from asal_vrvqa.data.items import normalised
from asal_vrvqa.data.projection import turned
from asal_vrvqa.model.card import not_mos
from asal_vrvqa.model.initial import initialise
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.predict import command, jobs_of, predict
from asal_vrvqa.synthetic import write_video
from shared_core.errors import ConfigError, DataError, UsageError
from shared_core.testing.data import shared_data

SMALL = Network(parts=2, channels=4, height=64, width=128)


@pytest.fixture(scope="module")
def model():
    """An untrained network whose scores are drawn severities."""
    made = QualityModel(
        QualityModelConfig(network=SMALL, scale=Scale(name="drawn severity", low=1, high=5))
    )
    initialise(made, torch.Generator().manual_seed(0))
    return made.eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Nine seconds of a drawn panorama."""
    path = tmp_path_factory.mktemp("video") / "drawn.mp4"
    write_video(path, "CG", 0.5, height=64, width=128, seconds=9, rate=4, seed=0)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fourteen frames, one a second."""
    made = tmp_path_factory.mktemp("frames") / "walk"
    made.mkdir()
    draw = np.random.default_rng(0)
    for second in range(14):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 16, 3), dtype=np.uint8))
        coarse.resize((128, 64), Image.Resampling.BICUBIC).save(made / f"{second:03d}.png")
    return made


def frames_of(folder, indices):
    return np.stack([np.asarray(Image.open(folder / f"{i:03d}.png")) for i in indices])


@pytest.mark.parametrize(("seconds", "indices"), [(7, range(7)), (15, range(0, 14, 2))])
def test_the_score_is_the_mean_over_the_frames_of_the_viewing_time(model, folder, seconds, indices):
    found = predict(model, folder, seconds=seconds)
    frames = torch.from_numpy(frames_of(folder, indices))
    with torch.no_grad():
        slow = model(normalised(frames)[None])
    assert found.score == pytest.approx(slow.score.item(), abs=1e-5)
    assert found.frame_scores == pytest.approx(slow.frames.mean[0].numpy(), abs=1e-5)
    sigmas = (slow.frames.log_variance[0] / 2).exp().numpy()
    assert found.frame_sigmas == pytest.approx(sigmas, rel=1e-4)
    assert found.sigma == pytest.approx(np.sqrt((sigmas**2).mean()), rel=1e-4)
    assert found.times == tuple(indices)
    assert found.low <= found.score <= found.high
    assert found.high - found.low < np.ptp(found.frame_scores)
    assert "not opinion scores (MOS)" in found.note


def test_the_start_direction_turns_the_frames(model, folder):
    frames = turned(frames_of(folder, range(7)), 90.0, 10.0)
    with torch.no_grad():
        expected = model(normalised(torch.from_numpy(frames))[None]).score.item()
    assert predict(model, folder, yaw=90, pitch=10).score == pytest.approx(expected, abs=1e-5)
    assert predict(model, folder).score != pytest.approx(expected, abs=1e-6)


def test_a_video_is_scored_and_a_short_one_refused(model, video):
    found = predict(model, video)
    assert len(found.frame_scores) == 7
    assert predict(model, video, begin=2).score != found.score
    with pytest.raises(DataError, match=r"expected .*13"):
        predict(model, video, seconds=15)
    assert len(predict(model, video, seconds=15, repeat_last=True).frame_scores) == 7


def test_a_short_folder_is_refused_or_its_last_frame_repeated(model, folder, tmp_path):
    short = tmp_path / "short"
    short.mkdir()
    for second in range(3):
        shutil.copy(folder / f"{second:03d}.png", short)
    with pytest.raises(DataError, match="found 3 from frame 0"):
        predict(model, short)
    found = predict(model, short, repeat_last=True)
    assert len(set(found.frame_scores[2:].round(6))) == 1


def test_what_is_not_equirectangular_is_refused(model, tmp_path):
    folder = tmp_path / "stereo"
    folder.mkdir()
    for second in range(7):
        Image.new("RGB", (128, 128)).save(folder / f"{second}.png")
    with pytest.raises(DataError, match="top-bottom"):
        predict(model, folder)
    assert predict(model, folder, projection="equirectangular").score


def test_viewport_networks_have_no_single_video(folder):
    network = Network(backbone="viewport", channels=4, height=64, width=64)
    with pytest.raises(UsageError, match="prepare viewports"):
        predict(QualityModel(QualityModelConfig(network=network)).eval(), folder)


def test_a_plain_regressor_has_no_sigma(folder):
    network = Network(parts=2, channels=4, height=64, width=128, regressor="mlp")
    found = predict(QualityModel(QualityModelConfig(network=network)).eval(), folder)
    assert found.sigma is None
    assert not_mos(QualityModelConfig()) is None
    assert "MOS" not in (found.note or "")


def test_what_has_to_be_said_of_a_score_is_said(folder, model):
    """Outside of the scale, and too few frames for an interval."""
    assert "outside of the scale" in predict(model, folder).note
    wide = replace(model.config, scale=Scale(name="MOS", low=-100, high=100))
    wide_model = QualityModel(wide).eval()
    wide_model.load_state_dict(model.state_dict())
    assert predict(wide_model, folder).note is None
    few = replace(wide, network=replace(SMALL, frames=3, key_frames=2))
    found = predict(QualityModel(few).eval(), folder)
    assert found.note == "no interval: fewer than 5 frames"
    assert np.isnan(found.low)


def test_the_command_writes_scores_plots_and_a_report(checkpoint, video, folder, tmp_path, capsys):
    config = PredictConfig(
        sources=(video, folder), checkpoint=checkpoint, out=tmp_path, device="cpu"
    )
    assert command(config) == 0
    content = json.loads((tmp_path / "drawn.json").read_text())
    assert content["scale"] == {"name": "drawn severity", "low": 1, "high": 5}
    assert len(content["frames"]) == 7
    assert content["interval_95"][0] <= content["score"] <= content["interval_95"][1]
    assert (tmp_path / "walk.svg").read_text().startswith("<svg")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["source"] for row in rows] == [str(folder), str(video)]
    # That they are no MOS stands in every output.
    for name in ("drawn.json", "scores.csv", "report.html"):
        assert "not opinion scores (MOS)" in (tmp_path / name).read_text(), name
    assert "not opinion scores (MOS)" in capsys.readouterr().out
    before = (tmp_path / "drawn.json").stat().st_mtime_ns
    assert command(config) == 0
    assert (tmp_path / "drawn.json").stat().st_mtime_ns == before


def test_a_table_of_many_videos(checkpoint, video, folder, tmp_path, capsys):
    shutil.copy(video, tmp_path / "drawn.mp4")
    table = tmp_path / "videos.csv"
    table.write_text(
        f"path,seconds,yaw\ndrawn.mp4,7,0\n{folder},15,90\ndrawn.mp4,7,45\nnowhere.mp4,7,0\n"
    )
    out = tmp_path / "out"
    config = PredictConfig(table=table, checkpoint=checkpoint, out=out, device="cpu")
    assert [job.name for job in jobs_of(config)] == ["drawn", "walk", "drawn-2", "nowhere"]
    assert command(config) == 1
    assert "nowhere.mp4: cannot be read" in capsys.readouterr().err
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [row["seconds"] for row in rows] == ["7", "15", "7", "7"]
    assert [row["yaw"] for row in rows] == ["0.0", "90.0", "45.0", "0.0"]
    assert rows[0]["score"] != rows[2]["score"]
    assert rows[3]["score"] == ""
    assert "cannot be read" in rows[3]["error"]
    table.write_text("path,seconds\ndrawn.mp4,8\n")
    with pytest.raises(DataError, match="seconds"):
        jobs_of(config)


def test_one_bad_video_does_not_stop_the_others(checkpoint, video, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    config = PredictConfig(
        sources=(broken, video), checkpoint=checkpoint, out=tmp_path / "out", device="cpu"
    )
    assert command(config) == 1
    assert "[1/2] broken:" in capsys.readouterr().err
    assert (tmp_path / "out" / "drawn.json").is_file()


def test_without_a_checkpoint_it_says_how_to_get_one(video, tmp_path):
    with pytest.raises(UsageError, match="asal-vrvqa convert"):
        command(PredictConfig(sources=(video,), out=tmp_path))
    with pytest.raises(ConfigError, match="or --table"):
        PredictConfig()


@pytest.mark.parametrize("rendition", ["richoh1_0_3.mp4", "richoh1_0_4.mp4"])
def test_the_real_clip_in_both_qualities(model, rendition):
    """640x322 and 426x214 are 2:1 within two percent; the frames of 15 seconds exist."""
    path = shared_data("asal-vrvqa", "clip360", rendition)
    found = predict(model, path, seconds=15, yaw=30, pitch=-10)
    assert len(found.frame_scores) == 7
    assert np.ptp(found.frame_scores) > 0


def test_the_audio_of_the_real_clip_is_no_video(model):
    with pytest.raises(DataError, match="no video stream"):
        predict(model, shared_data("asal-vrvqa", "clip360", "richoh1_0_1.mp4"))
