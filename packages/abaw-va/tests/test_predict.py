"""From a video file to its curves: any rate, with or without sound and face, and what is written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from abaw_va.cli import main
from abaw_va.config import Perception, Smoothing, Transformer, VaModelConfig
from abaw_va.model.initial import initialise
from abaw_va.model.network import VaModel
from abaw_va.perception import Perceiver
from abaw_va.predict import COLUMNS, frame_rate, predict
from shared_core.data.video import frames
from shared_core.reporting.figures import Svg
from shared_core.testing.data import shared_data
from shared_core.testing.media import draw_face, grey_steps, tone, write_media

BOX = (0.35, 0.25, 0.65, 0.75)
ATTENDING = {
    "hidden_size": 8, "regressor": (8,), "layers": 1, "heads": 2, "ffn_width": 16,
    "chunk_length": 50,
}  # fmt: skip
WIDTHS = {"pixels": 256, "logmel": 64}


def built(features=("pixels", "logmel"), seed=3, **settings):
    width = sum(WIDTHS[name] for name in features)
    config = VaModelConfig(
        model=Transformer(**ATTENDING), features=features, input_width=width, **settings
    )
    model = VaModel(config)
    initialise(model, torch.Generator().manual_seed(seed), gain=0.3)
    return model.eval()


@pytest.fixture
def saved(tmp_path):
    """A random network as a folder."""
    built().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def faces(count):
    return [draw_face(np.full((120, 160, 3), 128, np.uint8), BOX)] * count


def command(saved, out, *words, checkpoints=()):
    names = [str(saved), *map(str, checkpoints)]
    plain = ["--checkpoint", *names, "--out", str(out), "--device", "cpu"]
    return main(["predict", *map(str, words), *plain])


@pytest.fixture
def no_plots(monkeypatch):
    """Drawing takes longer than predicting a few frames."""
    monkeypatch.setattr(
        import_module("abaw_va.predict"), "figure", lambda prediction, title="": Svg("<svg></svg>")
    )


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


CLIPS = {
    "without sound": {"images": faces(90)},
    "without a face": {"images": grey_steps(90), "sound": [(0, tone(3.0))]},
    "at 24 fps": {"images": faces(72), "fps": 24, "sound": [(0, tone(3.0))]},
    "at 60 fps": {"images": faces(180), "fps": 60, "sound": [(0, tone(3.0))]},
}


@pytest.mark.parametrize("kind", CLIPS)
def test_acceptance_23_three_seconds_of_any_kind_give_a_value_per_frame(tmp_path, kind):
    made = CLIPS[kind]
    clip = write_media(tmp_path / "v.mkv", **made)
    found = predict([built()], clip)
    count, fps = len(made["images"]), made.get("fps", 30)
    np.testing.assert_allclose(found.times_s, np.arange(count) / fps, atol=1e-3)
    assert frame_rate(found.times_s) == pytest.approx(fps, rel=0.03)
    assert found.values.shape == (count, 2)
    assert (np.abs(found.values) <= 1).all()
    assert found.audio.all() == (kind != "without sound")
    assert found.face.all() == (kind != "without a face")
    assert found.audio.any() == found.audio.all()
    assert found.face.any() == found.face.all()


def test_acceptance_23_sound_at_the_end_of_a_24_fps_clip_meets_its_last_frame(tmp_path):
    """A sound in the last frame alone changes the prediction there; taken for 30 fps it is missed."""
    start = 71 / 24
    images = faces(72)
    model = built(("logmel",))
    quiet = Smoothing(valence=0, arousal=0, unit="frames")

    def raw(name, sound, *, compat=False):
        clip = write_media(tmp_path / name, images, fps=24, sound=[(0, sound)])
        settings = Perception(compat=compat)
        perceive = Perceiver(settings, ("logmel",), "cpu")
        return perceive(clip).rows["logmel"], predict(
            [model], clip, perceive=perceive, smoothing=quiet
        )

    silence = np.zeros(48_000)
    burst = silence.copy()
    burst[round(start * 16_000) :] = tone(3.0 - start)[: 48_000 - round(start * 16_000)]
    rows, heard = raw("burst.mkv", burst)
    before, unheard = raw("silence.mkv", silence)
    changed = np.flatnonzero(np.abs(rows - before).max(axis=1) > 0.1)
    # logmel looks 50 ms to each side, more than a frame's 42 ms.
    assert set(changed) <= {69, 70, 71}
    assert 71 in changed
    assert np.abs(heard.values - unheard.values).max() > 0


def test_the_windows_in_seconds_follow_the_frame_rate(tmp_path):
    """0.1 s are 2 frames at 24 and 6 at 60."""
    model = built(("logmel",))
    noise = np.random.default_rng(0).normal(0, 0.2, 48_000)
    for fps, reach in ((24, 2), (60, 6)):
        images = grey_steps(fps)
        clip = write_media(tmp_path / f"{fps}.mkv", images, fps=fps, sound=[(0, noise[:16_000])])
        by_time = predict([model], clip, smoothing=Smoothing(valence=0.1, arousal=0.1))
        frames_ = Smoothing(valence=reach, arousal=reach, unit="frames")
        by_frames = predict([model], clip, smoothing=frames_)
        np.testing.assert_array_equal(by_time.values, by_frames.values)


def test_several_networks_are_averaged_before_smoothing(tmp_path):
    clip = write_media(tmp_path / "v.mkv", faces(20), sound=[(0, tone(0.7))])
    models = [built(seed=1), built(("logmel",), seed=2)]
    smoothing = Smoothing(valence=0, arousal=0, unit="frames")
    alone = [predict([model], clip, smoothing=smoothing).values for model in models]
    together = predict(models, clip, smoothing=smoothing).values
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)


def test_a_network_of_one_target_leaves_the_other_empty(tmp_path, no_plots):
    clip = write_media(tmp_path / "v.mkv", faces(10), sound=[(0, tone(0.4))])
    built(target="arousal").save_pretrained(tmp_path / "model")
    assert command(tmp_path / "model", tmp_path / "out", clip) == 0
    rows = rows_of(tmp_path / "out" / "v.csv")
    assert {row["valence"] for row in rows} == {""}
    assert all(abs(float(row["arousal"])) <= 1 for row in rows)
    frames_ = json.loads((tmp_path / "out" / "v.json").read_text())["frames"]
    assert {row["valence"] for row in frames_} == {None}


def test_features_are_standardised_as_in_training(tmp_path):
    """A network that normalises by `trn` predicts alike on raw and on standardised features."""
    clip = write_media(tmp_path / "v.mkv", faces(20), sound=[(0, tone(0.7))])
    plain, normal = built(("logmel",)), built(("logmel",), normalise=("logmel",))
    mean, scale = np.full(64, -2.0, np.float32), np.full(64, 3.0, np.float32)
    normal.set_statistics(mean, scale)
    perceive = Perceiver(Perception(), ("logmel",), "cpu")
    seen = perceive(clip)
    standard = replace(seen, rows={"logmel": (seen.rows["logmel"] - mean) / scale})
    expected = predict([plain], clip, perceive=lambda path: standard)
    np.testing.assert_allclose(
        predict([normal], clip, perceive=perceive).values, expected.values, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("single_face.mp4", 72), ("WolfgangLanger_Pexels.mp4", 472)]
)
def test_a_real_clip_gives_a_row_per_frame_a_plot_and_a_report(tmp_path, saved, name, count):
    clip, out = shared_data("abaw-va", "video", name), tmp_path / "out"
    assert command(saved, out, clip, "--overlay") == 0
    rows = rows_of(out / f"{clip.stem}.csv")
    assert len(rows) == count
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["frame"]) for row in rows] == list(range(count))
    times = np.array([float(row["time_s"]) for row in rows])
    assert (np.diff(times) > 0).all()
    assert np.mean([int(row["face"]) for row in rows]) > 0.9
    found = json.loads((out / f"{clip.stem}.json").read_text())
    assert len(found["frames"]) == count
    assert (out / f"{clip.stem}.svg").read_text().startswith("<svg")
    assert clip.name in (out / "report.html").read_text()
    assert sum(1 for _ in frames(out / f"{clip.stem}_curves.mp4")) == count


def test_what_is_written_for_a_video(tmp_path, saved):
    clip, out = write_media(tmp_path / "v.mp4", faces(12)), tmp_path / "out"
    assert command(saved, out, clip, "--overlay") == 0
    assert {path.name for path in out.iterdir()} == {
        "v.csv", "v.json", "v.svg", "v_curves.mp4", "report.html",
    }  # fmt: skip
    assert tuple(rows_of(out / "v.csv")[0]) == COLUMNS
    pictures = [frame.image for frame in frames(out / "v_curves.mp4")]
    assert len(pictures) == 12
    height, width = pictures[0].shape[:2]
    assert (height, width) == (180, 160)
    assert not np.array_equal(pictures[0][120:], pictures[-1][120:])  # the mark moves


def test_finished_videos_are_passed_over_until_something_changes(tmp_path, saved, no_plots, capsys):
    clip, out = write_media(tmp_path / "v.mkv", faces(10), sound=[(0, tone(0.4))]), tmp_path / "out"

    def said(*words):
        assert command(saved, out, clip, *words) == 0
        return "there already" in capsys.readouterr().out

    assert not said()
    before = (out / "v.json").stat().st_mtime_ns
    assert said()
    assert (out / "v.json").stat().st_mtime_ns == before
    assert not said("--smoothing.valence", "0.1")
    assert not said()
    assert not said("--person", "left")
    assert not said()
    assert not said("--overlay")  # which is not there yet
    assert said("--overlay")
    built(seed=9).save_pretrained(saved)  # trained further, under the same name
    assert not said()
    write_media(tmp_path / "v.mkv", faces(11))
    assert not said()
    (out / "v.json").write_text("{")
    assert not said()


def test_a_broken_file_does_not_stop_the_others(tmp_path, saved, no_plots, capsys):
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    write_media(folder / "a.mkv", grey_steps(6))
    (folder / "b.mp4").write_text("not a video")
    write_media(folder / "c.mkv", grey_steps(6))
    (folder / "notes.txt").write_text("passed over")
    assert command(saved, out, folder) == 1
    told = capsys.readouterr()
    assert "[2/3] b.mp4" in told.err
    assert {path.stem for path in out.glob("*.csv")} == {"a", "c"}
    assert "Not predicted" in (out / "report.html").read_text()


def test_several_checkpoints_are_averaged_by_command(tmp_path, saved, no_plots):
    built(seed=8).save_pretrained(tmp_path / "other")
    clip = write_media(tmp_path / "v.mkv", faces(10), sound=[(0, tone(0.4))])
    values = {}
    for name, first, rest in (
        ("one", saved, []), ("two", tmp_path / "other", []), ("both", saved, [tmp_path / "other"]),
    ):  # fmt: skip
        assert command(first, tmp_path / name, clip, checkpoints=rest) == 0
        values[name] = [float(row["valence"]) for row in rows_of(tmp_path / name / "v.csv")]
    mean = np.mean([values["one"], values["two"]], axis=0)
    np.testing.assert_allclose(values["both"], mean, atol=2e-6)
    assert not np.allclose(values["one"], values["two"], atol=1e-4)


def two_people(count):
    """A small face on the left, a large one on the right."""
    picture = np.full((240, 480, 3), 128, np.uint8)
    left, right = (0.1, 0.3, 0.3, 0.7), (0.55, 0.1, 0.95, 0.9)
    return [draw_face(draw_face(picture, left), right)] * count


@pytest.mark.parametrize(("person", "side"), [("left", 0), ("right", 1), ("largest", 1)])
def test_the_person_that_is_asked_for_is_followed(tmp_path, person, side):
    clip = write_media(tmp_path / "v.mp4", two_people(6))
    perceive = Perceiver(Perception(person=person), ("pixels",), "cpu")
    found = predict([built(("pixels",))], clip, perceive=perceive)
    assert found.face.all()
    middle = (found.boxes[:, 0] + found.boxes[:, 2]) / 2
    assert ((middle > 0.5) == bool(side)).all()


def test_a_network_of_sound_alone_looks_for_no_face(tmp_path):
    clip = write_media(tmp_path / "v.mkv", grey_steps(12), sound=[(0, tone(0.4))])
    built(("logmel",)).save_pretrained(tmp_path / "model")
    assert command(tmp_path / "model", tmp_path / "out", clip) == 0
    assert "no face" not in (tmp_path / "out" / "v.svg").read_text()
    assert "face" not in json.loads((tmp_path / "out" / "v.json").read_text())["summary"]


def test_videos_whose_names_differ_in_their_ending_have_files_of_their_own(tmp_path, saved):
    clips = [
        write_media(tmp_path / name, grey_steps(n)) for n, name in ((3, "v.mkv"), (4, "v.mp4"))
    ]
    assert command(saved, tmp_path / "out", *clips) == 0
    for clip, count in zip(clips, (3, 4), strict=True):
        assert (
            len(json.loads((tmp_path / "out" / f"{clip.name}.json").read_text())["frames"]) == count
        )
        assert len((tmp_path / "out" / f"{clip.name}.csv").read_text().splitlines()) == 1 + count


def test_videos_that_would_overwrite_one_another_are_refused(tmp_path, saved, capsys):
    (tmp_path / "other").mkdir()
    one = write_media(tmp_path / "v.mkv", grey_steps(3))
    two = write_media(tmp_path / "other" / "v.mkv", grey_steps(3))
    assert command(saved, tmp_path / "out", one, two) == 2
    assert "the same files" in capsys.readouterr().err


def test_weights_that_nothing_needs_are_refused(tmp_path, saved, capsys):
    clip = write_media(tmp_path / "v.mkv", grey_steps(3))
    assert command(saved, tmp_path / "out", clip, "--weights", "vgish=x.pth") == 2
    assert "Needed: pixels, logmel" in capsys.readouterr().err


def test_the_card_says_what_the_network_is_and_is_not_for(saved):
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0")
    for part in (
        "pixels, logmel",
        "320 columns",
        "decisions about people",
        "2203.13032",
        "valence",
    ):
        assert part in card, part
