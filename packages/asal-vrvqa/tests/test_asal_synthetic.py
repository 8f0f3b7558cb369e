"""The embedded data: what is drawn, what goes wrong with it, and that the real readers read it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from asal_vrvqa.config import TASKS, Network
from asal_vrvqa.data.frames import FrameKey, FrameStore
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.data.projection import turned
from asal_vrvqa.synthetic import KINDS, write_dataset, write_video
from asal_vrvqa.synthetic.distortions import DISTORTIONS, USUAL, Severity, distorted
from asal_vrvqa.synthetic.drawing import LOOKS, angles, compose
from shared_core.data.tables import read_csv
from shared_core.data.video import frames, probe

SIZE = {"height": 32, "width": 64}
DIRECTIONS = [(yaw, pitch) for yaw in (-170, -60, 0, 90) for pitch in (-15, 0, 22)]


def severity(level=0.5, latitude=0.2, longitude=1.0, drift=0.1):
    return Severity(level=level, latitude=latitude, longitude=longitude, drift=drift)


def scene(look, seed=0, height=32, width=64):
    return compose(look, height, width, np.random.default_rng(seed))


def sent(name, level, look="Cityscape", **options):
    """A panorama with a distortion of that level everywhere."""
    everywhere = severity(level, **options)
    return distorted(scene(look).at(0), name, everywhere, 0, np.random.default_rng(1)).astype(int)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    return root, write_dataset(root, sources=dict.fromkeys(KINDS, 2), **SIZE, seed=3)


def test_one_seed_is_one_data_set_byte_for_byte(drawn, tmp_path):
    root, _ = drawn
    write_dataset(tmp_path / "again", sources=dict.fromkeys(KINDS, 2), **SIZE, seed=3)
    assert contents(tmp_path / "again") == contents(root)
    write_dataset(tmp_path / "other", sources={"Shows": 1}, **SIZE, seed=4)
    first = "frames/A_D_Shows00.mp4/000.png"
    assert (tmp_path / "other" / first).read_bytes() != (root / first).read_bytes()


def test_a_source_depends_on_seed_category_and_number_alone(drawn, tmp_path):
    root, _ = drawn
    write_dataset(tmp_path, sources={"Others": 1, "Sports": 3}, **SIZE, seed=3)
    here, there = contents(root / "frames"), contents(tmp_path / "frames")
    shared = here.keys() & there.keys()
    assert len(shared) == (1 + 2) * 2 * 15
    assert all(here[path] == there[path] for path in shared)


def test_the_layout_is_that_of_vr_vqw(drawn):
    root, data = drawn
    assert {path.name for path in (root / "labels").iterdir()} == {
        "infoAB_all.csv",
        "infoA.csv",
        "infoB.csv",
        "categorized_videos.csv",
        "video_info.csv",
    }
    assert data.labels == root / "labels"
    folders = {path.name for path in data.frames.iterdir()}
    assert folders == {f"{start}_{of.name}" for start in "AB" for of in data.sources}
    for folder in data.frames.iterdir():
        pictures = sorted(folder.iterdir())
        assert [path.name for path in pictures] == [f"{n:03d}.png" for n in range(15)]
        for path in pictures:
            with Image.open(path) as picture:
                assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (64, 32))


def test_the_real_readers_read_every_clip(drawn):
    root, data = drawn
    clips = read_clips(root / "labels")
    assert len(clips) == 4 * len(data.sources)
    assert {clip.category for clip in clips} == {*TASKS, "Others"}
    store = FrameStore(root / "frames", Network(backbone="plain", channels=4, **SIZE))
    of = {source.name: source for source in data.sources}
    for clip in clips:
        source = of[clip.source]
        assert clip.category == source.category
        assert clip.score == pytest.approx(source.score(clip.start, clip.seconds), abs=1e-6)
        assert store.count(clip.folder) == 15
    assert store.read([FrameKey(clips[0].folder, 14)]).shape == (1, 32, 64, 3)


def test_start_directions_are_written_as_prepare_reads_them(drawn):
    root, data = drawn
    clips = {clip.name: clip.score for clip in read_clips(root / "labels")}
    columns = {
        "VideoName": str,
        "HM_pitch": float,
        "HM_yaw": float,
        "7s_MOS": float,
        "15s_MOS": float,
    }
    for start in "AB":
        rows = [*read_csv(root / "labels" / f"info{start}.csv", columns)]
        for source, (_, values) in zip(data.sources, rows, strict=True):
            assert values["VideoName"] == source.name
            found = values["HM_yaw"], values["HM_pitch"]
            assert found == pytest.approx(source.starts[start], abs=1e-6)
            assert -15 <= values["HM_pitch"] <= 22
            for time in (7, 15):
                assert values[f"{time}s_MOS"] == clips[f"{time}_{start}_{source.name}"]


def test_scores_of_few_sources_cover_the_range(tmp_path):
    """Ten sources of a category: of each fifth of the levels two, give or take one."""
    data = write_dataset(tmp_path, sources={"CG": 10}, height=8, width=16, seed=0)
    levels = sorted((of.severity.level - 0.05) / 0.85 for of in data.sources)
    counts = np.histogram(levels, bins=5, range=(0, 1))[0]
    assert counts.min() >= 1
    assert counts.max() <= 3
    scores = [of.score(start, time) for of in data.sources for start in "AB" for time in (7, 15)]
    assert 1 <= min(scores) < 3 < 4 < max(scores) <= 5
    for of in data.sources:
        mine = {of.score(start, time) for start in "AB" for time in (7, 15)}
        assert len(mine) == 4
        assert max(mine) - min(mine) < 1


@pytest.mark.parametrize("look", LOOKS)
def test_a_panorama_has_no_edge_at_180_degrees(look):
    """A camera that has turned by a whole number of pixels sees the same, rolled."""
    still = scene(look)
    turned = type(still)(still.still, still.movers, 2 * math.pi * 10 / 64)
    ahead = type(still)(still.still, still.movers, 0.0)
    np.testing.assert_allclose(turned.at(1), np.roll(ahead.at(1), -10, axis=1), atol=1e-6)
    # Across 180 degrees neighbours differ as much as elsewhere.
    many = np.stack([scene(look, seed).at(0) for seed in range(24)])
    steps = abs(many - np.roll(many, 1, axis=2)).mean(axis=(0, 1, 3))
    assert steps[0] < 2 * np.median(steps) + 3 * steps.std()


@pytest.mark.parametrize("name", ["blur", "noise", "seams", "banding"])
def test_a_distortion_makes_no_edge_at_180_degrees(name):
    """Of a panorama without any edge, to which the distortion is the same at all longitudes."""
    flat = np.full((32, 64, 3), 0.4, np.float32)
    made = [DISTORTIONS[name](flat, np.random.default_rng(seed)) for seed in range(20)]
    across = abs(np.subtract(made, np.roll(made, 1, axis=2))).mean(axis=(0, 1, 3))
    assert across[0] <= 1.2 * np.median(across) + 1e-6


def test_blur_reaches_across_180_degrees():
    point = np.zeros((32, 64, 3), np.float32)
    point[16, 0] = 1
    blurred = DISTORTIONS["blur"](point, np.random.default_rng(0))
    np.testing.assert_allclose(blurred[:, 1:6], blurred[:, :-6:-1], atol=1e-7)
    assert blurred[16, -1, 0] > 0.01


@pytest.mark.parametrize("name", DISTORTIONS)
def test_what_is_sent_differs_more_the_severer_it_is(name):
    clean = 255 * scene("Cityscape").at(0)
    np.testing.assert_allclose(sent(name, 0), clean, atol=0.501)  # rounded, and no more
    gaps = [abs(sent(name, level) - clean).mean() for level in (0, 0.2, 0.5, 0.9)]
    assert (np.diff(gaps) > 1).all()


def test_blur_takes_detail_away_and_noise_adds_some():
    """What makes a network forget: one kind's sign of quality is the other's of its lack."""

    def detail(name, level):
        return abs(np.diff(sent(name, level, "Landscape"), axis=1)).mean()

    assert detail("blur", 0.8) < 0.6 * detail("blur", 0) == 0.6 * detail("noise", 0)
    assert detail("noise", 0.8) > 1.3 * detail("noise", 0)


def test_every_category_has_its_own_distortion():
    assert set(USUAL) == set(TASKS) == set(LOOKS)
    assert set(USUAL.values()) == set(DISTORTIONS)


def test_severity_depends_on_latitude():
    """By hand: 1 - 0.6 sin^2 of the distance from the worst latitude."""
    longitude, latitude = angles(180, 8)
    found = severity(0.8, latitude=0.3, longitude=0.0, drift=0.0).at(longitude, latitude, 3)
    column = found[:, 4]
    assert abs(latitude[column.argmax(), 0] - 0.3) < math.radians(1)
    assert column.min() == pytest.approx(0.4 * column.max(), rel=1e-3)
    by_hand = 1 - 0.6 * math.sin(latitude[20, 0] - 0.3) ** 2
    assert column[20] / column.max() == pytest.approx(by_hand, rel=1e-3)
    gap = abs(sent("noise", 0.9, latitude=1.5) - sent("noise", 0)).mean(axis=(1, 2))
    assert gap[:6].mean() > 1.5 * gap[13:19].mean()


def test_severity_stays_within_0_and_1():
    longitude, latitude = angles(32, 64)
    for level in (0, 0.5, 1):
        for second in (0, 7, 15):
            found = severity(level, drift=0.2).at(longitude, latitude, second)
            assert found.min() >= 0
            assert found.max() <= 1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_score_falls_with_the_severity(direction):
    for seconds in (7, 15):
        scores = [severity(level).score(*direction, seconds) for level in (0, 0.2, 0.5, 0.9)]
        assert scores[0] == 5
        assert (np.diff(scores) < 0).all()
        assert scores[-1] > 1


def test_a_score_is_of_what_lies_in_the_middle_of_the_turned_frame():
    """The severity itself as a frame, turned as frames are: what is bright in the middle costs most."""
    there = severity(0.9, latitude=0.5, longitude=-2.0, drift=0.0)
    grey = np.rint(255 * there.at(*angles(64, 128), 0)).astype(np.uint8)
    frame = np.repeat(grey[..., None], 3, axis=2)
    directions = [(yaw, pitch) for yaw in range(-175, 180, 35) for pitch in (-15, 0, 20)]
    middle = [turned(frame, *of)[24:40, 48:80].mean() for of in directions]
    scores = [there.score(*of, 7) for of in directions]
    assert np.corrcoef(middle, scores)[0, 1] < -0.98


def test_a_picture_that_gets_worse_costs_those_more_who_watch_longer():
    for drift, sign in ((0.2, 1), (-0.2, -1)):
        short, long = (severity(0.8, drift=drift).score(0, 0, seconds) for seconds in (7, 15))
        assert 0 < sign * (short - long) < 0.5


def test_a_video_shows_the_panorama_moving(tmp_path):
    path = tmp_path / "drawn.mp4"
    write_video(path, "Sports", 0.3, height=64, width=128, seconds=2.5, rate=8, seed=0)
    (stream,) = probe(path).video
    assert (stream.width, stream.height, stream.rate) == (128, 64, 8)
    pictures = [frame.image.astype(int) for frame in frames(path)]
    assert len(pictures) == 20
    assert abs(pictures[-1] - pictures[0]).mean() > 3


def test_a_video_is_of_its_severity(tmp_path):
    found = []
    for level in (0.0, 0.9):
        path = tmp_path / f"{level}.mp4"
        write_video(path, "Landscape", level, height=64, width=128, seconds=1, rate=2, seed=0)
        first = next(frames(path)).image.astype(int)
        found.append(abs(np.diff(first, axis=1)).mean())
    assert found[1] < 0.7 * found[0]
