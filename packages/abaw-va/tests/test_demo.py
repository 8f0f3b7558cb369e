"""The embedded data, and the demo that learns from them."""

from __future__ import annotations

import numpy as np
import pytest

from abaw_va import synthetic
from abaw_va.config import DemoConfig
from abaw_va.data.layout import read_targets, targets_path
from abaw_va.demo import command
from abaw_va.demo.run import PEOPLE, write_root
from shared_core.errors import RunFolderError
from shared_core.reporting.demo_file import read_demo


def test_a_drawn_video_depends_on_its_seed_and_number_alone():
    first, again = synthetic.clip(3, 1, 1.0), synthetic.clip(3, 1, 1.0)
    assert (first.frames == again.frames).all()
    assert (first.sound == again.sound).all()
    assert (first.labels == again.labels).all()
    for other in (synthetic.clip(4, 1, 1.0), synthetic.clip(3, 2, 1.0)):
        assert (first.labels != other.labels).any()
    assert first.frames.shape == (30, 64, 64, 3)
    assert len(first.sound) == 16_000
    assert np.abs(first.labels).max() <= 1


def test_the_mouth_of_a_drawn_face_bends_with_valence():
    """Its corners stand higher than its middle in a smile, lower in a sad face."""
    person = synthetic.Person(0.7, 0.33, 0.0, 0.0, 150.0, 1.0)
    draw = synthetic.generator(0)
    labels = np.array([[0.9, 0.0], [-0.9, 0.0]], np.float32)
    smile, sad = synthetic.draw_face(labels, person, draw).mean(axis=-1)

    def height(face, columns):
        dark = face[36:53, columns].mean(axis=1)
        return np.flatnonzero(dark < (dark.min() + dark.max()) / 2).mean()

    for face, sign in ((smile, 1), (sad, -1)):
        middle, corner = height(face, slice(30, 34)), height(face, slice(23, 26))
        assert sign * (middle - corner) > 0


def test_the_people_of_the_splits_are_different(tmp_path, monkeypatch):
    monkeypatch.setattr("abaw_va.demo.run.SECONDS", 0.5)
    write_root(tmp_path, seed=0)
    names = {split: set(read_targets(targets_path(tmp_path, split))) for split in PEOPLE}
    assert {split: len(of) for split, of in names.items()} == PEOPLE
    assert len(set.union(*names.values())) == sum(PEOPLE.values())


def test_a_folder_that_no_demo_wrote_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="no earlier demo's"):
        command(DemoConfig(out=tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.slow
def test_the_demo_shows_more_than_chance(tmp_path):
    """The interval of the network lies above those of chance and of a constant."""
    command(DemoConfig(out=tmp_path / "demo", device="cpu"))
    found = read_demo(tmp_path / "demo").comparisons[0].found
    assert found["this network"].low > found["chance"].high
    assert found["this network"].low > found["a constant"].high == 0.0
    assert (tmp_path / "demo" / "report.html").is_file()
