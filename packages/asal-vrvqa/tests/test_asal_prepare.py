"""Raw videos into frames and viewports: what lies where, resuming, and videos that cannot be used."""

from __future__ import annotations

import json
import signal
import sys

import numpy as np
import pytest

from asal_vrvqa.cli import main
from asal_vrvqa.config import Network
from asal_vrvqa.data import video360
from asal_vrvqa.data.directions import read_scanpaths, read_starts
from asal_vrvqa.data.frames import FrameKey, FrameStore
from asal_vrvqa.data.prepare import write_pictures
from asal_vrvqa.data.projection import viewport
from asal_vrvqa.data.video360 import every_second, seconds_of
from shared_core.data.images import open_picture
from shared_core.errors import DataError
from shared_core.faultpoints import VARIABLE
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, write_media
from shared_core.testing.processes import Child

STARTS = {
    "A": {"A_Bay.mp4": (-110.0, -3.0), "B_Sea.mp4": (30.0, 12.0)},
    "B": {"A_Bay.mp4": (15.5, 0.0), "B_Sea.mp4": (179.0, -7.0)},
}
"""Yaw and pitch."""
PATHS = {"1": [(0.0, 0.0), (10.0, 5.0), (20.0, 5.0)], "12": [(-170.0, -20.0), (175.0, 0.0)]}
RATE = 4


def panorama(seconds, seed):
    """A picture that moves by four columns a frame."""
    small = np.random.default_rng(seed).integers(0, 255, (8, 16, 3), dtype=np.uint8)
    first = np.kron(small, np.ones((8, 8, 1), np.uint8))
    return [np.roll(first, 4 * index, axis=1) for index in range(RATE * seconds)]


def write_labels(folder, starts=STARTS):
    folder.mkdir(exist_ok=True)
    for start, directions in starts.items():
        rows = [f"{name},{pitch},{yaw},3,4\n" for name, (yaw, pitch) in directions.items()]
        header = "VideoName,HM_pitch,HM_yaw,7s_MOS,15s_MOS\n"
        (folder / f"info{start}.csv").write_text(header + "".join(rows))
        rows = [
            f"{name},{viewer},{pitch},{yaw}\n"
            for name in directions
            for viewer, path in PATHS.items()
            for yaw, pitch in path
        ]
        header = "VideoName,subject,HM_pitch,HM_yaw\n"
        (folder / f"scanpath{start}.csv").write_text(header + "".join(rows))


@pytest.fixture
def raw(tmp_path):
    """Folder with two videos, of 4 and 2 seconds, and their labels."""
    (tmp_path / "videos").mkdir()
    write_media(tmp_path / "videos" / "A_Bay.mp4", panorama(4, 0), fps=RATE)
    write_media(tmp_path / "videos" / "B_Sea.mp4", panorama(2, 1), fps=RATE)
    write_labels(tmp_path / "labels")
    return tmp_path


def words(kind, raw, *more):
    folders = ("--videos", raw / "videos", "--labels", raw / "labels", "--out", raw / "out")
    return [str(word) for word in ("prepare", kind, *folders, *more)]


def frames(raw, *more):
    return main(words("frames", raw, "--width", 64, "--seconds", 3, *more))


def frames_and_cache(raw, *more):
    return frames(raw, "--cache", raw / "cache", *more)


def cut_viewports(raw, *more):
    return main(words("viewports", raw, "--size", 24, *more))


def read(folder):
    return np.stack([np.asarray(open_picture(path)) for path in sorted(folder.glob("*.png"))])


def tree(folder):
    """Every file below a folder, and when it was written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "left_out.json")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(found)}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_start_has_its_frames_as_pictures_and_as_an_array(raw, workers):
    assert frames_and_cache(raw, "--workers", workers) == 0
    for start, directions in STARTS.items():
        for source, (yaw, pitch) in directions.items():
            exact = seconds_of(
                raw / "videos" / source,
                count=3,
                size=(32, 64),
                yaw=yaw,
                pitch=pitch,
                repeat_last=True,
            )
            folder = raw / "out" / f"{start}_{source}"
            assert [path.name for path in sorted(folder.iterdir())] == [
                "000.png",
                "001.png",
                "002.png",
            ]
            np.testing.assert_array_equal(read(folder), exact)
            np.testing.assert_array_equal(np.load(raw / "cache" / f"{folder.name}.npy"), exact)
    short = np.load(raw / "cache" / "A_B_Sea.mp4.npy")
    np.testing.assert_array_equal(short[2], short[1])  # two seconds of video
    assert np.abs(short[1].astype(int) - short[0]).mean() > 10
    assert json.loads((raw / "out" / "left_out.json").read_text()) == []


def test_what_is_prepared_can_be_read_by_training(raw):
    assert frames_and_cache(raw) == 0
    keys = [FrameKey("B_A_Bay.mp4", index) for index in range(3)]
    network = Network(backbone="plain", height=32, width=64)
    pictures, arrays = (
        FrameStore(raw / "out", network, cache).read(keys) for cache in (None, raw / "cache")
    )
    np.testing.assert_array_equal(pictures, arrays)


def test_the_cache_alone_can_be_had(raw):
    assert frames_and_cache(raw, "--no-png") == 0
    assert [path.name for path in (raw / "out").iterdir()] == ["left_out.json"]
    assert len(list((raw / "cache").iterdir())) == 4


def test_one_decode_serves_both_starts(raw, monkeypatch):
    decoded = []

    def counting(path):
        decoded.append(path.name)
        return every_frame(path)

    every_frame = video360.frames
    monkeypatch.setattr(video360, "frames", counting)
    assert frames_and_cache(raw) == 0
    assert sorted(decoded) == ["A_Bay.mp4", "B_Sea.mp4"]
    assert cut_viewports(raw) == 0
    assert sorted(decoded) == ["A_Bay.mp4", "A_Bay.mp4", "B_Sea.mp4", "B_Sea.mp4"]


def test_what_is_finished_is_passed_over(raw, capsys):
    assert frames_and_cache(raw) == 0
    before = tree(raw)
    (raw / "videos" / "A_Bay.mp4").unlink()  # is not looked for again
    assert frames_and_cache(raw) == 0
    assert tree(raw) == {name: when for name, when in before.items() if name != "videos/A_Bay.mp4"}
    assert "2 of 2 videos are there already" in capsys.readouterr().out


def test_only_what_is_missing_is_made_again(raw):
    assert frames_and_cache(raw) == 0
    before = tree(raw)
    (raw / "cache" / "B_A_Bay.mp4.npy").unlink()
    (raw / "out" / "A_B_Sea.mp4" / "002.png").unlink()
    assert frames_and_cache(raw) == 0
    after = tree(raw)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"cache/B_A_Bay.mp4.npy"} | {
        f"out/A_B_Sea.mp4/00{index}.png" for index in range(3)
    }


@pytest.mark.parametrize(("kind", "time"), [("frames", 3), ("viewports", 2)])
def test_a_killed_command_leaves_whole_folders_and_goes_on_where_it_was(raw, kind, time):
    more = ("--width", 64, "--seconds", 3) if kind == "frames" else ("--size", 24)
    line = [sys.executable, "-m", "asal_vrvqa", *words(kind, raw, *more, "--workers", 1)]
    with Child(line, environment={VARIABLE: f"pictures-written:{time}"}) as child:
        assert child.wait(120) == -signal.SIGKILL, child.output
    out = raw / "out"
    whole = {name: when for name, when in tree(out).items() if "/." not in f"/{name}"}
    folders = {name.rpartition("/")[0] for name in whole}
    assert len(folders) == time - 1
    for folder in folders:
        wanted = 3 if kind == "frames" else len(PATHS[folder.rpartition("/sub")[2]])
        assert len(list((out / folder).glob("*.png"))) == wanted
    assert main([*words(kind, raw), *map(str, more)]) == 0
    after = tree(out)
    assert {name: after[name] for name in whole} == whole  # not written again
    assert not list(out.rglob(".*"))
    out.rename(raw / "resumed")
    assert main([*words(kind, raw), *map(str, more)]) == 0
    assert tree(out).keys() == after.keys()
    for name in after:
        assert (out / name).read_bytes() == (raw / "resumed" / name).read_bytes()


def test_videos_that_cannot_be_used_are_left_out_and_listed(raw, capsys):
    video = raw / "videos" / "A_Bay.mp4"
    video.write_bytes(video.read_bytes()[:-2000])
    write_media(raw / "videos" / "C_Two.mp4", grey_steps(8, (64, 64)), fps=RATE)
    more = {"C_Two.mp4": (0.0, 0.0), "D_None.mp4": (0.0, 0.0)}
    write_labels(raw / "labels", {start: named | more for start, named in STARTS.items()})
    assert frames_and_cache(raw) == 1
    listed = json.loads((raw / "out" / "left_out.json").read_text())
    why = {row["path"].rpartition("/")[2]: row["message"] for row in listed}
    assert sorted(why) == ["A_Bay.mp4", "C_Two.mp4", "D_None.mp4"]
    assert "cut short or damaged" in why["A_Bay.mp4"]
    assert "likely top-bottom stereo" in why["C_Two.mp4"]
    assert "there is no such file" in why["D_None.mp4"]
    shown = capsys.readouterr().out
    assert all(f"left out: {message}" in shown for message in why.values())
    assert "1 of 4 videos prepared, 3 left out" in shown
    folders = sorted(path.name for path in (raw / "out").iterdir() if path.is_dir())
    assert folders == ["A_B_Sea.mp4", "B_B_Sea.mp4"]
    taken = frames_and_cache(raw, "--projection", "equirectangular")
    assert taken == 1
    assert (raw / "out" / "A_C_Two.mp4" / "002.png").is_file()


@pytest.mark.parametrize("kind", [frames, cut_viewports])
def test_a_video_that_cannot_be_used_may_stop_the_command(raw, kind, capsys):
    (raw / "videos" / "A_Bay.mp4").write_text("no video")
    assert kind(raw, "--on-bad-row", "raise") == 1
    assert "asal-vrvqa: " in (shown := capsys.readouterr().err)
    assert "A_Bay.mp4: expected a video" in shown


def test_two_sizes_are_not_mixed(raw, capsys):
    assert frames_and_cache(raw) == 0
    assert frames(raw, "--width", 128) == 1
    assert "002.png: expected 64 x 128 pixels" in capsys.readouterr().err
    assert frames_and_cache(raw, "--no-png", "--width", 128) == 1
    assert ".npy: expected 64 x 128 pixels" in capsys.readouterr().err


def test_a_longer_viewing_time_is_made_beside_what_is_there(raw):
    assert frames_and_cache(raw) == 0
    assert frames_and_cache(raw, "--seconds", 4) == 0
    assert len(read(raw / "out" / "A_A_Bay.mp4")) == 4
    assert np.load(raw / "cache" / "A_A_Bay.mp4.npy").shape == (4, 32, 64, 3)


def test_a_damaged_cache_is_said(raw, capsys):
    assert frames_and_cache(raw) == 0
    path = raw / "cache" / "A_A_Bay.mp4.npy"
    path.write_bytes(path.read_bytes()[:500])
    assert frames_and_cache(raw) == 1
    assert "A_A_Bay.mp4.npy: no array that can be read" in capsys.readouterr().err


def test_viewports_follow_the_viewers(raw):
    assert cut_viewports(raw) == 0
    for start in STARTS:
        for source in STARTS[start]:
            shown = list(every_second(raw / "videos" / source))
            for viewer, path in PATHS.items():
                exact = [  # a viewer who looks on beyond the last frame still sees it
                    viewport(shown[min(second, len(shown) - 1)], *direction, 24, 90.0)
                    for second, direction in enumerate(path)
                ]
                found = read(raw / "out" / f"{start}_{source}" / f"sub{viewer}")
                np.testing.assert_array_equal(found, np.stack(exact))
    paths = FrameStore(raw / "out", Network()).scanpaths("A_A_Bay.mp4")
    assert paths == ["A_A_Bay.mp4/sub1", "A_A_Bay.mp4/sub12"]


@pytest.mark.parametrize("order", [(frames, cut_viewports), (cut_viewports, frames)])
def test_frames_and_viewports_may_share_a_folder(raw, order):
    for command in order:
        assert command(raw) == 0
    folder = raw / "out" / "B_A_Bay.mp4"
    assert len(read(folder)) == 3
    assert len(read(folder / "sub1")) == 3
    assert not list((raw / "out").rglob(".*"))
    before = tree(raw / "out")
    for command in order:
        assert command(raw) == 0
    assert tree(raw / "out") == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("../A_Bay.mp4,0,0", "the name of a video file"),
        ("/tmp/A_Bay.mp4,0,0", "the name of a video file"),
        ("..,0,0", "the name of a video file"),
        (f"{'a' * 5000},0,0", "the name of a video file"),
        (",0,0", "the name of a video file"),
        ("C_Two.mp4,0,nan", "line 2, column HM_yaw.*finite"),
        ("C_Two.mp4,0,0\nC_Two.mp4,0,0", "line 3.*second row of C_Two.mp4"),
    ],
)
def test_start_directions_that_cannot_be_are_refused(tmp_path, row, message):
    path = tmp_path / "infoA.csv"
    path.write_text(f"VideoName,HM_pitch,HM_yaw\n{row}\n")
    with pytest.raises(DataError, match=message):
        read_starts(path)


def test_viewers_are_numbered_with_or_without_their_prefix(tmp_path):
    path = tmp_path / "scanpathA.csv"
    head = "VideoName,subject,HM_pitch,HM_yaw,more\n"
    path.write_text(head + "v.mp4,sub3,1,2,x\nv.mp4,4,5,6,x\nv.mp4,3,-1,-2,x\n")
    assert read_scanpaths(path) == {
        ("v.mp4", "3"): ((2.0, 1.0), (-2.0, -1.0)),
        ("v.mp4", "4"): ((6.0, 5.0),),
    }
    path.write_text(head + "v.mp4,../3,1,2,x\n")
    with pytest.raises(DataError, match="the number of a viewer"):
        read_scanpaths(path)


def test_the_published_start_directions_are_read():
    labels = shared_data("asal-vrvqa", "vrvqw_labels")
    starts = [read_starts(labels / f"info{start}.csv") for start in "AB"]
    assert [len(named) for named in starts] == [502, 502]
    assert starts[0]["A_Bay.mp4"] == (-110.186984, -0.1028442)


def test_a_folder_without_videos_is_said_at_once(raw, capsys):
    assert frames(raw, "--videos", raw / "nowhere") == 1
    assert "nowhere: expected 360-degree videos, found there is no such folder" in (
        capsys.readouterr().err
    )


def test_pictures_that_cannot_be_written_stop_the_command(raw, capsys):
    """They say nothing against the video."""
    (raw / "out").mkdir()
    (raw / "out" / "A_A_Bay.mp4").write_text("in the way")
    assert frames(raw) == 1
    assert "A_A_Bay.mp4: cannot be written" in capsys.readouterr().err
    assert not (raw / "out" / "left_out.json").exists()
    with pytest.raises(DataError, match="cannot be written"):
        write_pictures(raw / "out" / "A_A_Bay.mp4" / "sub1", [])


def test_the_real_clip_in_both_qualities_becomes_frames(tmp_path):
    folder = shared_data("asal-vrvqa", "clip360")
    starts = {"richoh1_0_3.mp4": (-20.0, 3.0), "richoh1_0_4.mp4": (-20.0, 3.0)}
    write_labels(tmp_path / "labels", {"A": starts, "B": starts})
    line = words("frames", tmp_path, "--width", 128, "--seconds", 5, "--videos", folder)
    assert main(line) == 0
    better, worse = (read(tmp_path / "out" / f"A_{name}").astype(int) for name in starts)
    assert better.shape == (5, 64, 128, 3)
    assert 0 < np.abs(better - worse).mean() < 6  # the same scene, coded twice
    assert better.std() > 30
