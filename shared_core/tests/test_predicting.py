"""What every predict command does: find its files, be safe with results, go on after a bad file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from shared_core.errors import DataError, UsageError
from shared_core.files import VIDEO_SUFFIXES, find_files
from shared_core.predicting import (
    DEPENDS_ON,
    beginnings,
    digest,
    each,
    is_finished,
    make_writable,
)


def touched(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def test_files_are_found_once_and_folders_in_order(tmp_path):
    a, b = touched(tmp_path / "a.mp4", tmp_path / "b.MKV")
    touched(tmp_path / "notes.txt", tmp_path / ".hidden.mp4")
    other = touched(tmp_path / "x" / "clip.weird")[0]
    assert find_files([b, tmp_path, other, a], VIDEO_SUFFIXES, "video") == [b, a, other]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        find_files([tmp_path / "none"], VIDEO_SUFFIXES, "video")
    with pytest.raises(DataError, match="no video in this folder"):
        find_files([tmp_path], VIDEO_SUFFIXES, "video")


def test_a_file_in_the_way_of_the_folder_is_said(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match="cannot be written"):
        make_writable(tmp_path / "out")
    make_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_files_about_a_source_are_called_after_its_stem_or_where_two_share_it_after_its_name():
    alone, photo, clip = Path("a/w.v1.mp4"), Path("a/v.jpg"), Path("b/v.mov")
    assert beginnings([alone, photo, clip], Path("out")) == {
        alone: Path("out/w.v1"),
        photo: Path("out/v.jpg"),
        clip: Path("out/v.mov"),
    }


@pytest.mark.parametrize("names", [("a/v.mp4", "b/v.mp4"), ("v.mp4", "v.mkv", "v.mp4.avi")])
def test_sources_whose_files_would_have_one_name_are_refused(names):
    with pytest.raises(UsageError, match=rf"{names[0]} and .* the same files"):
        beginnings([Path(name) for name in names], Path("out"))


def test_a_digest_tells_networks_apart():
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert digest(one) != digest(other)
    other.load_state_dict(one.state_dict())
    assert digest(one) == digest(other)
    with torch.no_grad():
        other.bias[0] += 1e-7 + other.bias[0].abs() * 1e-6
    assert digest(one) != digest(other)


def test_a_result_is_finished_when_it_is_whole_and_of_the_same_things(tmp_path):
    path = tmp_path / "v.json"
    assert not is_finished(path, {"bytes": 1})
    path.write_text(json.dumps({DEPENDS_ON: {"bytes": 1}}))
    assert is_finished(path, {"bytes": 1})
    assert not is_finished(path, {"bytes": 2})
    for damaged in (path.read_text()[:10], "[1]"):
        path.write_text(damaged)
        assert not is_finished(path, {"bytes": 1})


def test_a_bad_file_does_not_stop_the_others(capsys):
    done, bad = [], []

    def work(path: Path, name: str) -> None:
        if path.stem == "bad":
            raise DataError(path, "is bad")
        done.append(name)

    status = each(
        [Path("bad.png"), Path("good.png")], work, lambda path, error: bad.append(path), program="x"
    )
    assert (status, done, bad) == (1, ["[2/2] good.png"], [Path("bad.png")])
    assert "x: [1/2] bad.png: bad.png: is bad" in capsys.readouterr().err
    assert each([Path("good.png")], work, lambda *_: None, program="x") == 0


def test_a_bug_is_not_taken_for_a_bad_file():
    def broken(path: Path, name: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        each([Path("a")], broken, lambda *_: None, program="x")
