"""The corpus of the data faults is hostile: what is refused elsewhere would do harm, if it were not."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import PurePosixPath

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image

from shared_core.data.archives import unpack
from shared_core.errors import DataError
from shared_core.testing.archives import tar_of, zip_of
from tools.faults.corpus import answers, arrays, pictures, readers, texts, videos
from tools.faults.corpus.archives import BOMB_BYTES, EVIL, hostile_archives
from tools.faults.corpus.forks import Program, forked
from tools.faults.corpus.pickles import UNSAFE, hostile_pickles, other_pickles


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The hostile archives."""
    return hostile_archives(tmp_path_factory.mktemp("archives"))


@pytest.mark.parametrize(
    ("make", "least"),
    [(other_pickles, 25), pytest.param(hostile_pickles, 90, marks=pytest.mark.slow)],
)
def test_every_pickle_leaves_its_canary_when_it_is_loaded_as_it_asks(tmp_path, make, least):
    """Loaded in forks of one process: `not executed` elsewhere says that the reader refused."""
    canary = tmp_path / "canary"
    corpus = make(tmp_path / "corpus", canary)
    assert len(corpus) >= least
    assert not canary.exists()  # writing them runs nothing
    script = f"import os, sys\n{UNSAFE.partition('for path in')[0]}" + (
        "canary, *paths = sys.argv[1:]\n"
        "for path in paths:\n"
        "    if os.fork() == 0:\n"
        "        for load in LOADERS:\n"
        "            try: load(path)\n"
        "            except BaseException: pass\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    if not os.path.exists(canary): print(path)\n"
        "    else: os.unlink(canary)\n"
    )
    paths = [str(path) for path in corpus.values()]
    command = [sys.executable, "-W", "ignore", "-c", script, str(canary), *paths]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.stdout == ""


def test_every_archive_names_a_member_that_must_not_come_out(archives):
    assert len(archives) >= 30
    for name, path in archives.items():
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                members = [(info.name, info) for info in tar]
            assert any(EVIL in member for member, _ in members), name
            if "link to" in name or "device to" in name or "pipe to" in name:
                assert any(not info.isfile() for _, info in members), name
        else:
            with zipfile.ZipFile(path) as zipped:
                members = [(info.filename, info) for info in zipped.infolist()]
            assert any(EVIL in member for member, _ in members), name
        if " in " in name and name.startswith(("..", "/", "images")):
            outside = [PurePosixPath(member) for member, _ in members]
            assert any(
                ".." in path.parts or path.is_absolute() or "\\" in str(path) for path in outside
            )


def test_the_bombs_are_a_hundred_times_smaller_than_what_they_hold(archives):
    for name in ("bomb in tar.gz", "bomb in zip"):
        assert 100 * archives[name].stat().st_size < BOMB_BYTES, name


def test_a_good_archive_of_the_same_maker_comes_out(tmp_path):
    """What is refused is refused for its member, not for the way it was written."""
    for number, make in enumerate((tar_of, zip_of)):
        archive = make(tmp_path / f"good{number}", {"README": b"read me"})
        assert (unpack(archive, tmp_path / f"out{number}") / "README").read_bytes() == b"read me"


def test_the_maker_of_pictures_makes_whole_ones_and_no_damaged_one_decodes(tmp_path):
    for kind in ("JPEG", "PNG"):
        (tmp_path / kind).write_bytes(pictures.picture(kind))
        with Image.open(tmp_path / kind) as image:
            image.load()
    for number, make in enumerate(pictures.DAMAGED.values()):
        (tmp_path / f"{number}").write_bytes(make())
        with pytest.raises((OSError, SyntaxError, Image.DecompressionBombError)):
            Image.open(tmp_path / f"{number}").load()


def test_the_bombs_among_pictures_declare_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for make in (pictures.png_bomb, pictures.jpeg_bomb):
        (tmp_path / "bomb").write_bytes(make())
        assert (tmp_path / "bomb").stat().st_size < 2**16
        with Image.open(tmp_path / "bomb") as image:
            assert 3 * image.width * image.height > 10**10


def test_feature_files_are_whole_or_broken_as_their_names_say(tmp_path):
    arrays.whole(tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as file:
        assert np.isfinite(file[f"{arrays.VIDEO}/fts"][()]).all()
    for number, write in enumerate(arrays.UNUSABLE.values()):
        write(tmp_path / f"{number}.h5")
        assert (tmp_path / f"{number}.h5").is_file()


def test_videos_are_damaged_and_the_play_list_names_a_file_that_is_there(tmp_path):
    for number, write in enumerate(videos.DAMAGED.values()):
        write(tmp_path / f"{number}.mp4")
    listed = [path for path in tmp_path.glob("*.mp4") if b"#EXTM3U" in path.read_bytes()[:16]]
    assert len(listed) == 1
    assert (tmp_path / "secret.txt").read_text().strip() == videos.SECRET


def test_the_tags_among_the_settings_would_be_obeyed_by_an_unsafe_loader():
    called = texts.YAML["a tag that calls"].replace(b"touch CANARY", b"exit 7")
    assert yaml.unsafe_load(called) == {"seed": 7 << 8}


def test_texts_that_must_be_refused_are_among_the_texts():
    assert set(texts.REFUSED) <= texts.VALUES.keys()
    assert set(texts.REFUSED_TABLES) <= texts.csv_texts("a,b", "1,2").keys()


def test_slow_texts_have_the_length_that_is_asked_and_seeds_decide_the_others():
    assert {len(text) for text in answers.slow_texts(5000).values()} <= set(range(4900, 5001))
    assert answers.completions(20, 1) == answers.completions(20, 1) != answers.completions(20, 2)


@pytest.mark.parametrize(
    ("work", "status"),
    [(lambda: 3, 3), (lambda: 1 / 0, 1), (lambda: os.kill(os.getpid(), 9) or 0, -9)],
)
def test_a_fork_tells_how_its_work_ended(tmp_path, work, status):
    ended = forked(work, tmp_path / "told", 30)
    assert ended["status"] == status
    assert ("ZeroDivisionError" in (tmp_path / "told").read_text()) == (status == 1)


def test_a_fork_that_takes_too_long_is_ended(tmp_path):
    assert forked(lambda: time.sleep(60) or 0, tmp_path / "told", 0.2)["status"] == -9


def test_a_program_runs_line_after_line_and_says_what_it_read(tmp_path):
    read = Program("tools.faults.corpus.readers")
    (tmp_path / "good.json").write_text("[1]")
    (tmp_path / "bad.json").write_text("[NaN]")
    try:
        assert read("json", tmp_path / "good.json").status == 0
        refused = read("json", tmp_path / "bad.json")
        assert (refused.status, refused.crashed) == (1, False)
        assert "bad.json, line 1, column 2: expected JSON, found NaN" in refused.told
    finally:
        read.close()


def test_the_readers_take_whole_files(tmp_path):
    """A refusal in the table is the reader's, and not that of a maker that writes nothing usable."""
    arrays.whole(tmp_path / "whole.h5")
    (tmp_path / "whole.png").write_bytes(pictures.picture("PNG"))
    videos.video(tmp_path / "whole.mp4")
    (tmp_path / "whole.csv").write_text("path,score\na.png,3.5\n")
    (tmp_path / "whole.yaml").write_text("run: runs/a\nseed: 3\n")
    for kind, name in (
        ("features", "whole.h5"),
        ("image", "whole.png"),
        ("video", "whole.mp4"),
        ("csv", "whole.csv"),
        ("yaml", "whole.yaml"),
    ):
        assert readers.main([kind, str(tmp_path / name)]) == 0, kind


def test_a_bomb_is_stopped_by_the_core(archives, tmp_path):
    with pytest.raises(DataError, match="bytes come out"):
        unpack(archives["bomb in zip"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
