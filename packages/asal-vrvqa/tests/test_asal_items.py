"""Frames and batches: which frames, how they are changed, and what is said of those that are missing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from asal_vrvqa.config import Network, Reading
from asal_vrvqa.data.frames import FrameKey, FrameStore, frame_indices
from asal_vrvqa.data.items import ClipDataset, DistinctFrames, collate, collate_frames, normalised
from asal_vrvqa.data.labels import Clip, read_clips
from asal_vrvqa.data.plan import StagedPlan
from shared_core.data.loader import ItemKey, KeyedLoader
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError

SMALL = Network(parts=2, channels=4, height=64, width=64)
SEVEN = Clip(name="7_A_C_CG0.mp4", seconds=7, start="A", source="C_CG0.mp4", score=3.0)
FIFTEEN = replace(SEVEN, name="15_A_C_CG0.mp4", seconds=15)


@pytest.fixture
def store(dataset):
    return FrameStore(dataset / "frames", SMALL)


def test_acceptance_16_frame_indices():
    reading = Reading()
    assert frame_indices(SEVEN, 15, SMALL, reading) == [0, 1, 2, 3, 4, 5, 6]
    assert frame_indices(FIFTEEN, 15, SMALL, reading) == [0, 2, 4, 6, 8, 10, 12]
    assert max(frame_indices(SEVEN, 15, SMALL, reading, [True] * 7)) == 7
    assert max(frame_indices(FIFTEEN, 15, SMALL, reading, [True] * 7)) == 13


def test_training_draws_each_frame_by_its_own_coin(store):
    dataset = ClipDataset([SEVEN], store, Reading(flip="none"), training=True)
    plain = store.read([FrameKey(SEVEN.folder, i) for i in range(8)])
    moved = []
    for epoch in range(40):
        clip = dataset[ItemKey(0, epoch, 0)].frames[0].numpy()
        for k in range(7):
            is_next = np.array_equal(clip[k], plain[k + 1])
            assert is_next or np.array_equal(clip[k], plain[k])
            moved.append(is_next)
    assert 0.4 < np.mean(moved) < 0.6
    again = dataset[ItemKey(0, 3, 0)].frames
    assert torch.equal(again, dataset[ItemKey(0, 3, 0)].frames)


@pytest.mark.parametrize("flip", ["frame", "clip", "none"])
def test_frames_are_mirrored_one_by_one_or_all(store, flip):
    dataset = ClipDataset([SEVEN], store, Reading(flip=flip, jitter=False), training=True)
    plain = store.read([FrameKey(SEVEN.folder, i) for i in range(7)])
    seen = set()
    for epoch in range(20):
        clip = dataset[ItemKey(0, epoch, 0)].frames[0].numpy()
        mirrored = [np.array_equal(clip[k], plain[k][:, ::-1]) for k in range(7)]
        assert all(m or np.array_equal(clip[k], plain[k]) for k, m in enumerate(mirrored))
        seen.add(sum(mirrored))
    expected = {"frame": lambda s: len(s) > 3, "clip": {0, 7}.__eq__, "none": {0}.__eq__}
    assert expected[flip](seen)


def test_without_training_nothing_changes(store):
    dataset = ClipDataset([FIFTEEN], store, Reading())
    plain = store.read([FrameKey(SEVEN.folder, 2 * i) for i in range(7)])
    assert np.array_equal(dataset[ItemKey(0, 5, 0)].frames[0].numpy(), plain)


def test_acceptance_27_missing_frames_name_the_clip(dataset, tmp_path):
    shutil.copytree(dataset / "frames" / SEVEN.folder, tmp_path / SEVEN.folder)
    for number in range(6, 15):
        (tmp_path / SEVEN.folder / f"{number:03d}.png").unlink()
    store = FrameStore(tmp_path, SMALL)
    with pytest.raises(DataError, match=r"7_A_C_CG0.mp4: expected 7 frames or more.*found 6"):
        ClipDataset([SEVEN], store, Reading())[ItemKey(0, 0, 0)]
    with pytest.raises(DataError, match=r"15_A_C_CG0.mp4: expected 13 frames"):
        ClipDataset([FIFTEEN], store, Reading())[ItemKey(0, 0, 0)]
    patient = Reading(missing_frames="repeat-last")
    frames = ClipDataset([SEVEN], store, patient)[ItemKey(0, 0, 0)].frames[0]
    assert torch.equal(frames[6], frames[5])
    training = ClipDataset([SEVEN], store, patient, training=True)
    assert training[ItemKey(0, 0, 0)].frames.shape[1] == 7


def test_acceptance_27_a_frame_that_lacks_in_the_middle_is_no_second_of_another(dataset, tmp_path):
    shutil.copytree(dataset / "frames" / SEVEN.folder, tmp_path / SEVEN.folder)
    (tmp_path / SEVEN.folder / "003.png").unlink()
    store = FrameStore(tmp_path, SMALL)
    with pytest.raises(DataError, match=r"A_C_CG0.mp4: .* found none between 002 and 004"):
        ClipDataset([SEVEN], store, Reading())[ItemKey(0, 0, 0)]


def test_a_folder_that_is_missing_damaged_or_of_another_size(dataset, tmp_path):
    clip = replace(SEVEN, source="nowhere.mp4")
    with pytest.raises(DataError, match="prepare frames"):
        ClipDataset([clip], FrameStore(dataset / "frames", SMALL), Reading())[ItemKey(0, 0, 0)]
    large = Network(parts=2, channels=4, height=128, width=64)
    with pytest.raises(DataError, match=r"000.png: expected 128 x 64 pixels .* found 64 x 64"):
        ClipDataset([SEVEN], FrameStore(dataset / "frames", large), Reading())[ItemKey(0, 0, 0)]
    shutil.copytree(dataset / "frames" / SEVEN.folder, tmp_path / SEVEN.folder)
    (tmp_path / SEVEN.folder / "003.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"003\.png"):
        ClipDataset([SEVEN], FrameStore(tmp_path, SMALL), Reading())[ItemKey(0, 0, 0)]


def test_grey_and_palette_frames_become_rgb(dataset, tmp_path):
    folder = tmp_path / SEVEN.folder
    folder.mkdir()
    for number in range(8):
        Image.new("L", (64, 64), 100).save(folder / f"{number:03d}.png")
    frames = FrameStore(tmp_path, SMALL).read([FrameKey(SEVEN.folder, 0)])
    assert frames.shape == (1, 64, 64, 3)
    assert (frames == 100).all()


def test_the_cache_gives_the_same_frames(dataset, tmp_path, store):
    keys = [FrameKey(SEVEN.folder, i) for i in (0, 3, 14)]
    plain = store.read([FrameKey(SEVEN.folder, i) for i in range(15)])
    np.save(tmp_path / f"{SEVEN.folder}.npy", plain)
    cached = FrameStore(tmp_path / "no pngs", SMALL, tmp_path)
    assert cached.count(SEVEN.folder) == 15
    assert np.array_equal(cached.read(keys), store.read(keys))
    (tmp_path / f"{SEVEN.folder}.npy").write_bytes(b"\x93NUMPY cut short")
    with pytest.raises(DataError, match="Delete it and prepare again"):
        cached.read(keys)
    np.save(tmp_path / f"{SEVEN.folder}.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match="Delete it and prepare again"):
        cached.read(keys)
    with (tmp_path / f"{SEVEN.folder}.npy").open("wb") as file:
        np.savez(file, plain)  # an archive of arrays is none
    with pytest.raises(DataError, match="Delete it and prepare again"):
        cached.read(keys)


def test_frames_of_both_viewing_times_are_seen_once(dataset, store):
    """Indices 0, 2, 4 and 6 are shared: 10 frames instead of 14."""
    frames = DistinctFrames([SEVEN, FIFTEEN], store, Reading())
    assert len(frames) == 10
    assert len(DistinctFrames([SEVEN, FIFTEEN], store, Reading(), share=False)) == 14
    seven, fifteen = frames.of_clip
    assert [frames.keys[n].index for n in seven] == list(range(7))
    assert [frames.keys[n].index for n in fifteen] == list(range(0, 13, 2))
    first = frames[ItemKey(0, 0, fifteen[1])].frames[0].numpy()
    assert np.array_equal(first, store.read([FrameKey(SEVEN.folder, 2)])[0])
    batch = collate_frames([frames[ItemKey(0, 0, 0)], frames[ItemKey(0, 0, -1)]])
    assert len(batch) == 1
    assert len(batch.that_count().frames) == 1


def test_a_bad_clip_is_left_out_of_an_evaluation(dataset, store):
    clips = read_clips(dataset / "labels")
    broken = replace(SEVEN, name="7_B_nowhere.mp4", source="nowhere.mp4")
    quarantine = Quarantine("quarantine")
    frames = DistinctFrames([*clips, broken], store, Reading(), quarantine=quarantine)
    assert frames.of_clip[-1] == []
    assert len(quarantine.rows) == 1


def test_viewports_come_from_the_viewers_folders(dataset, tmp_path):
    network = Network(backbone="viewport", channels=4, height=32, width=32)
    for viewer in (1, 2, 10):
        folder = tmp_path / SEVEN.folder / f"sub{viewer}"
        folder.mkdir(parents=True)
        for number in range(15):
            Image.new("RGB", (32, 32), (viewer, number, 0)).save(folder / f"{number:03d}.png")
    store = FrameStore(tmp_path, network)
    assert store.scanpaths(SEVEN.folder) == [f"{SEVEN.folder}/sub{n}" for n in (1, 2, 10)]
    judged = DistinctFrames([SEVEN], store, Reading(scanpaths=2))
    assert len(judged) == 14
    training = ClipDataset([SEVEN], store, Reading(), training=True)
    viewers = {int(training[ItemKey(0, e, 0)].frames[0, 0, 0, 0, 0]) for e in range(30)}
    assert viewers == {1, 2, 10}
    with pytest.raises(DataError, match="prepare viewports"):
        FrameStore(dataset / "frames", network).scanpaths(SEVEN.folder)


def test_normalising_is_imagenets():
    frames = torch.tensor([[[[255, 0, 128]]]], dtype=torch.uint8)
    found = normalised(frames)[0, :, 0, 0]
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_batches_come_through_the_loader_with_any_workers(dataset, store):
    clips = read_clips(dataset / "labels")[:5]
    dataset_ = ClipDataset(clips, store, Reading(), training=True)
    plan = StagedPlan((3, 2), 2, 2, 0)
    found = []
    for workers in (0, 1):
        loader = KeyedLoader(dataset_, plan, seed=0, collate=collate, workers=workers)
        found.append([batch for (batch,) in loader.epoch(1)])
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(*found, strict=True))
    assert [name for batch in found[0] for name in batch.names] != [c.name for c in clips[:3]]


def test_a_plan_goes_through_its_stages():
    plan = StagedPlan((5, 3), 2, 2, 7)
    epochs = [sorted(i for batch in plan.batches(e) for i in batch) for e in range(5)]
    first, second = [0, 1, 2, 3, 4], [5, 6, 7]
    assert epochs == [first, first, second, second, second]
    assert plan.batches(0) != plan.batches(1)
    assert plan.batches(2) == StagedPlan((5, 3), 2, 2, 7).batches(2)
