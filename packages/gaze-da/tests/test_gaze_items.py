"""From files to batches: crops, flips, jitter and colours, and what they must leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaze_da.config import Augment, Compat, Network, Reading
from gaze_da.data import augmentation, items
from gaze_da.data.augmentation import Change, cropped, flipped, gazefollow, videoattentiontarget
from gaze_da.data.colours import coloured, magma
from gaze_da.data.items import GazeDataset, collate
from gaze_da.data.pairs import PairedPlan, Pairs, collate_pairs
from gaze_da.data.pictures import depth_colours, depth_picture, face, recoloured, shrunk
from gaze_da.data.samples import Placed, read_annotations
from gaze_da.data.views import views
from gaze_da.method.boxes import expanded
from shared_core.data.images import open_grey
from shared_core.data.loader import ItemKey, KeyedLoader, ShuffledPlan
from shared_core.errors import DataError

NETWORK = Network(
    width=16,
    scene_layers=(1,) * 5,
    depth_layers=(1,) * 5,
    face_layers=(1,) * 5,
    input_size=64,
    output_size=24,
)
NEVER = Augment(jitter=-0.0, crop=0, flip=0, colour=0)
ALWAYS = Augment(jitter=1, crop=1, flip=1, colour=1)


def people(root, split="train"):
    return read_annotations("gazefollow", root, split).samples


def item(root, index=0, *, augment=None, compat=None, seed=0, split="train", **settings):
    dataset = GazeDataset(
        people(root, split), NETWORK, Reading(), augment=augment, compat=compat, **settings
    )
    return dataset[ItemKey(seed, 0, index)]


def assert_pillows(found, slow):
    """As Pillow shrinks it: within 1 of 255, and mostly equal."""
    difference = np.abs(found.permute(1, 2, 0).numpy().astype(int) - np.asarray(slow, int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


# --- colours of depth -----------------------------------------------------------------------------


def test_acceptance_25_the_colour_table():
    assert magma()[[0, 1, 127, 255]].tolist() == [
        [0, 0, 3],
        [0, 0, 4],
        [181, 54, 121],
        [251, 252, 191],
    ]


def test_acceptance_25_depth_is_coloured_first_and_shrunk_then(gazefollow_root):
    sample = people(gazefollow_root)[0]
    grey = open_grey(sample.depth)
    by_table = Image.fromarray(magma()[grey])
    found = item(gazefollow_root)
    assert_pillows(found.depth[0], by_table.resize((64, 64), Image.Resampling.BILINEAR))
    depths = views(found).depths
    assert depths.min() >= 0
    assert depths.max() <= 1
    assert torch.equal(depths, found.depth.float() / 255)


def test_sixteen_bits_are_scaled_before_the_table():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sixteen = grey.astype(np.uint16) * 257
    assert torch.equal(depth_colours(sixteen, 16), depth_colours(grey, 16))
    assert np.array_equal(np.asarray(coloured(grey)), magma()[grey])


def test_acceptance_26_constant_and_undefined_depth():
    assert not depth_picture(np.full((4, 5), 3.7, np.float32)).any()
    noisy = np.full((4, 5), 1e4, np.float32)
    noisy[0, 0] += 1e-3  # the rounding of a constant
    assert not depth_picture(noisy).any()
    broken = np.array([[np.nan, 1.0], [2.0, np.inf]])
    assert depth_picture(broken).tolist() == [[0, 127], [255, 0]]
    assert depth_picture(np.array([[0.0, 1.0]]), bits=16).tolist() == [[0, 65535]]


# --- what is read ---------------------------------------------------------------------------------


def test_an_item_without_changes_is_the_picture_as_pillow_shrinks_it(gazefollow_root):
    sample = people(gazefollow_root)[0]
    picture = Image.open(sample.image).convert("RGB")
    found = item(gazefollow_root)
    slow = picture.resize((64, 64), Image.Resampling.BILINEAR)
    assert_pillows(found.image[0], slow)
    box = sample.placed(*picture.size, Reading()).head
    cut = picture.crop([int(value) for value in box]).resize((64, 64), Image.Resampling.BILINEAR)
    assert_pillows(found.face[0], cut)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    slow = (found.image[0].permute(1, 2, 0) / 255 - mean) / deviation
    assert torch.allclose(views(found).images[0].permute(1, 2, 0), slow, atol=1e-5)
    assert found.size.tolist() == [list(picture.size)]


def test_pictures_travel_as_bytes(gazefollow_root):
    found = item(gazefollow_root, augment=ALWAYS)
    for name in ("image", "depth", "face"):
        assert getattr(found, name).dtype == torch.uint8
    assert found.mask.dtype == torch.bool


def test_a_face_is_black_beyond_the_picture_and_where_it_has_no_size():
    white = Image.new("RGB", (40, 40), (255, 255, 255))
    found = face(white, (-20, 0, 20, 40), 32)
    assert not found[:, :, :14].any()
    assert (found[:, :, 18:] == 255).all()
    assert not face(white, (10, 10, 10.5, 30), 32).any()


def test_all_annotators_of_a_test_item_are_there(gazefollow_root):
    samples = people(gazefollow_root, "test")
    place = max(range(len(samples)), key=lambda n: len(samples[n].gazes))
    found = item(gazefollow_root, place, split="test")
    assert found.gazes.shape == (1, len(samples[place].gazes), 2)
    batch = collate([found, item(gazefollow_root, 0, split="test")])
    assert (batch.gazes[1, len(samples[0].gazes) :] == -1).all()
    # The map of three points, divided by how many there are.
    assert found.heatmap.max() <= 1 / len(samples[place].gazes) + 0.5


def test_an_outside_item_has_an_empty_heat_map(gazefollow_root):
    samples = people(gazefollow_root)
    place = next(n for n, sample in enumerate(samples) if not sample.inside)
    for seed in range(8):
        found = item(gazefollow_root, place, augment=ALWAYS, seed=seed)
        assert not found.heatmap.any()
        assert found.gazes.tolist() == [[[-1, -1]]]
        assert found.image.any(dim=1).float().mean() > 0.99  # no black borders


def test_the_same_key_gives_the_same_item_whatever_the_workers(gazefollow_root):
    dataset = GazeDataset(people(gazefollow_root), NETWORK, Reading(), augment=Augment())
    plan = ShuffledPlan(len(dataset), 5, seed=3)
    loaders = [
        KeyedLoader(dataset, plan, seed=3, collate=collate, workers=workers) for workers in (0, 2)
    ]
    for (one,), (other,) in zip(*(loader.epoch(1) for loader in loaders), strict=True):
        assert one.names == other.names
        for name in ("image", "depth", "face", "mask", "heatmap", "eyes", "gazes", "colour"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_an_item_of_padding_counts_nothing(gazefollow_root):
    dataset = GazeDataset(people(gazefollow_root), NETWORK, Reading())
    batch = collate([dataset[ItemKey(0, 0, 1)], dataset[ItemKey(0, 0, -1)]])
    assert (len(batch), batch.valid.tolist()) == (1, [True, False])
    kept = batch.that_count()
    assert (kept.index.tolist(), len(kept.names), len(kept.image)) == ([1], 1, 1)


def test_reduced_decoding_sees_nearly_the_same(tmp_path, gazefollow_root):
    sample = people(gazefollow_root)[0]
    large = Image.open(sample.image).resize((960, 720), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    scale = 8
    sample = replace(
        sample, image=str(tmp_path / "large.jpg"), head=tuple(scale * v for v in sample.head)
    )
    exact, reduced = (
        GazeDataset([sample], NETWORK, Reading(), reduced_decoding=on)[ItemKey(0, 0, 0)]
        for on in (False, True)
    )
    for name in ("image", "face"):
        difference = getattr(exact, name).int() - getattr(reduced, name).int()
        assert difference.abs().max() <= 12
    assert not torch.equal(exact.image, reduced.image)
    assert torch.equal(exact.mask, reduced.mask)


@pytest.mark.parametrize("what", ["picture missing", "picture cut", "depth missing", "depth flat"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, gazefollow_root, what):
    sample = people(gazefollow_root)[0]
    kind, _, fault = what.partition(" ")
    path = tmp_path / "file.jpg"
    if fault == "cut":
        path.write_bytes(Path(sample.image).read_bytes()[:300])
    elif fault == "flat":
        Image.new("L", (30, 20), 90).save(path)
    sample = replace(sample, **{"image" if kind == "picture" else "depth": str(path)})
    with pytest.raises(DataError, match=r"file\.jpg"):
        GazeDataset([sample], NETWORK, Reading())[ItemKey(0, 0, 0)]


def test_without_depth_the_branch_sees_black(gazefollow_root):
    dataset = GazeDataset(
        [replace(people(gazefollow_root)[0], depth="nowhere.jpg")], NETWORK, Reading(depth="none")
    )
    assert not dataset[ItemKey(0, 0, 0)].depth.any()


# --- crops, flips, jitter -------------------------------------------------------------------------

PLACED = Placed(
    head=(30.0, 20.0, 60.0, 50.0), eyes=((0.45, 0.4),), gazes=((0.8, 0.7),), width=100, height=80
)


def forced(monkeypatch, change, placed=None):
    """Every item changes in this way."""

    def fixed(before, draw, augment, compat):
        after = placed or before
        move = not compat.alignment
        if change.window is not None:
            after = cropped(after, change.window, move_eyes=move)
        if change.mirrored:
            after = flipped(after, move_eyes=move)
        return after, change, None

    monkeypatch.setattr(augmentation, "gazefollow", fixed)


def test_acceptance_22_depth_is_cropped_and_mirrored_with_its_picture(monkeypatch, gazefollow_root):
    forced(monkeypatch, Change(window=(12.0, 9.0, 90.0, 81.0), mirrored=True))
    sample = people(gazefollow_root)[0]  # of 120 x 90 pixels
    found = item(gazefollow_root, augment=ALWAYS)
    grey = Image.fromarray(magma()[open_grey(sample.depth)])
    slow = grey.crop((12, 9, 90, 81)).resize((64, 64), Image.Resampling.BILINEAR)
    assert_pillows(found.depth[0], slow.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    left = item(gazefollow_root, augment=ALWAYS, compat=Compat(alignment=True))
    assert_pillows(left.depth[0], grey.resize((64, 64), Image.Resampling.BILINEAR))
    assert torch.equal(left.image, found.image)
    assert torch.equal(left.eyes, item(gazefollow_root).eyes)  # the authors leave them behind
    assert not torch.equal(found.eyes, left.eyes)


def test_depth_of_another_size_is_cropped_in_fractions(monkeypatch, tmp_path, gazefollow_root):
    forced(monkeypatch, Change(window=(30.0, 22.5, 90.0, 67.5)))
    sample = people(gazefollow_root)[0]
    ramp = np.tile(np.linspace(0, 255, 240).astype(np.uint8), (180, 1))
    Image.fromarray(ramp).save(tmp_path / "depth.png")
    dataset = GazeDataset(
        [replace(sample, depth=str(tmp_path / "depth.png"))], NETWORK, Reading(), augment=ALWAYS
    )
    found = dataset[ItemKey(0, 0, 0)].depth
    colours = Image.fromarray(magma()[ramp])
    slow = colours.crop((60, 45, 180, 135)).resize((64, 64), Image.Resampling.BILINEAR)
    assert_pillows(found[0], slow)


def test_heads_eyes_and_targets_stay_on_the_same_pixels():
    window = (10.0, 5.0, 90.0, 75.0)
    after = flipped(cropped(PLACED, window))
    for before, x, y in (
        (PLACED.eyes[0], *after.eyes[0]),
        (PLACED.gazes[0], *after.gazes[0]),
    ):
        assert 90 - x * 80 == pytest.approx(before[0] * 100)
        assert 5 + y * 70 == pytest.approx(before[1] * 80)
    x0, y0, x1, y1 = after.head
    assert (90 - x1, 5 + y0, 90 - x0, 5 + y1) == pytest.approx(PLACED.head)


def test_jitter_moves_the_head_box_alone_and_mask_and_face_share_it(gazefollow_root):
    still = item(gazefollow_root)
    moved = item(gazefollow_root, augment=Augment(jitter=1, crop=0, flip=0, colour=0))
    assert torch.equal(still.image, moved.image)
    assert torch.equal(still.depth, moved.depth)
    assert torch.equal(still.heatmap, moved.heatmap)
    assert moved.mask.sum() > still.mask.sum()
    assert not torch.equal(still.face, moved.face)


def upstream_gazefollow(rng, box, gaze, width, height):
    """The authors' draws and formulas, restated with `RandomState.uniform`."""
    gaze = [gaze[0] * width, gaze[1] * height]
    if rng.uniform() <= 0.5:
        box = expanded(box, 0.2 * rng.uniform())
    crop = None
    if rng.uniform() <= 0.5:
        left, right = min(box[0], box[2], gaze[0]), max(box[0], box[2], gaze[0])
        top, bottom = min(box[1], box[3], gaze[1]), max(box[1], box[3], gaze[1])
        left = rng.uniform(0, left) if left >= 0 else left
        top = rng.uniform(0, top) if top >= 0 else top
        crop_width = rng.uniform(right - left, width - left)
        crop_height = rng.uniform(bottom - top, height - top)
        crop = (left, top, left + crop_width, top + crop_height)
        box = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        gaze = [gaze[0] - left, gaze[1] - top]
        width, height = crop_width, crop_height
    gaze = [gaze[0] / width, gaze[1] / height]
    if mirrored := rng.uniform() <= 0.5:
        box = (width - box[2], box[1], width - box[0], box[3])
        gaze[0] = 1 - gaze[0]
    colour = (1.0, 1.0, 1.0)
    if rng.uniform() <= 0.5:
        colour = (rng.uniform(0.5, 1.5), rng.uniform(0.5, 1.5), rng.uniform(0, 1.5))
    return box, gaze, crop, mirrored, colour


def upstream_vat(rng, box, gaze, width, height):
    """The same for VideoAttentionTarget; the gaze in pixels."""
    jitter, flip, tint = rng.uniform(), rng.uniform(), rng.uniform()
    colour = (1.0, 1.0, 1.0)
    if tint < 0.5:
        colour = tuple(rng.uniform(0.5, 1.5) for _ in range(3))
    crop = None
    if rng.uniform() < 0.5:
        left, right = min(box[0], box[2], gaze[0]), max(box[0], box[2], gaze[0])
        top, bottom = min(box[1], box[3], gaze[1]), max(box[1], box[3], gaze[1])
        left = rng.uniform(0, left) if left >= 0 else left
        top = rng.uniform(0, top) if top >= 0 else top
        crop = (left, top, left + rng.uniform(right - left, width - left))
        crop += (top + rng.uniform(bottom - top, height - top),)
    if jitter < 0.5:
        box = expanded(box, 0.1 * jitter)
        box = tuple(min(max(v, 0), side) for v, side in zip(box, (width, height) * 2, strict=True))
    if crop is not None:
        box = (box[0] - crop[0], box[1] - crop[1], box[2] - crop[0], box[3] - crop[1])
        gaze = [gaze[0] - crop[0], gaze[1] - crop[1]]
        width, height = crop[2] - crop[0], crop[3] - crop[1]
    if mirrored := flip < 0.5:
        box = (width - box[2], box[1], width - box[0], box[3])
        gaze = [width - gaze[0], gaze[1]]
    return box, [gaze[0] / width, gaze[1] / height], crop, mirrored, colour


@pytest.mark.parametrize("seed", range(40))
def test_draws_and_formulas_are_those_of_the_authors(seed):
    rng, compat = np.random.RandomState(seed), Compat(outside_crop=True)
    start = np.random.default_rng(seed).uniform((-5, -5, 40, 30), (30, 20, 110, 85))
    placed = replace(PLACED, head=tuple(start.tolist()))
    after, change, _ = gazefollow(placed, rng.random_sample, Augment(), compat)
    other = np.random.RandomState(seed)
    expected = upstream_gazefollow(other, placed.head, placed.gazes[0], 100, 80)
    check_same(after, change, expected)
    rng, other = np.random.RandomState(seed), np.random.RandomState(seed)
    after, change = videoattentiontarget(
        replace(placed, eyes=None), rng.random_sample, Augment(), compat
    )
    gaze = [placed.gazes[0][0] * 100, placed.gazes[0][1] * 80]
    check_same(after, change, upstream_vat(other, placed.head, gaze, 100, 80))


def check_same(after, change, expected):
    box, gaze, crop, mirrored, colour = expected
    assert after.head == pytest.approx(box)
    assert after.gazes[0] == pytest.approx(tuple(gaze))
    assert (change.window is None) == (crop is None)
    if crop is not None:
        assert change.window == pytest.approx(crop)
    assert (change.mirrored, change.colour) == (mirrored, pytest.approx(colour))


@pytest.mark.parametrize("seed", range(30))
def test_a_window_lies_in_the_picture_and_holds_head_and_target(seed):
    numbers = np.random.default_rng(seed)
    head = numbers.uniform((-10, -10, 35, 35), (30, 30, 110, 90))
    gazes = () if seed % 3 == 0 else ((float(numbers.random()), float(numbers.random())),)
    placed = replace(PLACED, head=tuple(head.tolist()), gazes=gazes)
    augment = Augment(jitter=0, crop=1, flip=0, colour=0)
    draw = np.random.RandomState(seed).random_sample
    after, change, _ = gazefollow(placed, draw, augment, Compat())
    x0, y0, x1, y1 = change.window
    assert 0 <= x0 < x1 <= 100 + 1e-9
    assert 0 <= y0 < y1 <= 80 + 1e-9
    assert x0 <= max(head[0], 0) + 1e-9
    assert x1 >= min(head[2], 100) - 1e-9
    for x, y in after.gazes:
        assert -1e-9 <= x <= 1 + 1e-9
        assert -1e-9 <= y <= 1 + 1e-9


def test_the_authors_crop_of_an_outside_row_begins_at_minus_the_picture(gazefollow_root):
    """Quirk 8: the picture is padded with black to about twice its size, and a target is drawn."""
    samples = people(gazefollow_root)
    place = next(n for n, sample in enumerate(samples) if not sample.inside)
    augment = Augment(jitter=0, crop=1, flip=0, colour=0)
    found = item(gazefollow_root, place, augment=augment, compat=Compat(outside_crop=True))
    assert found.heatmap[0, 0, 0] == 1
    assert (~found.image.any(dim=1)).float().mean() > 0.5
    assert found.gazes.tolist() == [[[-1, -1]]]
    assert not found.inside.any()


def test_the_authors_jitter_stays_for_all_items_after_it(gazefollow_root):
    augment = Augment(jitter=1, crop=0, flip=0, colour=0)
    samples = people(gazefollow_root)[:2]
    leaking = GazeDataset(
        samples, NETWORK, Reading(), augment=augment, compat=Compat(jitter_leak=True)
    )
    fresh = leaking[ItemKey(0, 0, 1)]
    leaking[ItemKey(0, 0, 0)]
    assert not torch.equal(fresh.mask, leaking[ItemKey(0, 0, 1)].mask)
    sound = GazeDataset(samples, NETWORK, Reading(), augment=augment)
    first = sound[ItemKey(0, 0, 1)]
    sound[ItemKey(0, 0, 0)]
    assert torch.equal(first.mask, sound[ItemKey(0, 0, 1)].mask)


# --- colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("factors", [(0.6, 1.3, 0.2), (1.4, 0.6, 1.4), (1.0, 1.0, 0.0)])
def test_colours_in_batch_are_those_of_pillow(gazefollow_root, factors):
    """At the same size; a rounding at the border of two whole numbers may fall to either side."""
    found = replace(item(gazefollow_root), colour=torch.tensor([factors]))
    picture = Image.fromarray(found.image[0].permute(1, 2, 0).numpy())
    slow = np.asarray(recoloured(picture, factors)).astype(float)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    ours = 255 * (views(found).images[0].permute(1, 2, 0).numpy() * deviation + mean)
    np.testing.assert_allclose(ours, slow, atol=1.001)
    assert np.isclose(ours, slow, atol=1e-3).mean() > 0.99


def test_the_contrast_of_a_face_is_that_of_its_picture(gazefollow_root):
    plain = item(gazefollow_root)
    flat = replace(plain, colour=torch.tensor([[1.0, 0.0, 1.0]]))  # no contrast: the mean grey
    seen = views(flat)
    assert torch.allclose(seen.faces.amin(dim=(2, 3)), seen.images.amin(dim=(2, 3)))
    assert torch.allclose(seen.faces.amax(dim=(2, 3)), seen.images.amax(dim=(2, 3)))


def test_colours_never_touch_depth(gazefollow_root):
    augment = Augment(jitter=0, crop=0, flip=0, colour=1)
    changed, plain = item(gazefollow_root, augment=augment), item(gazefollow_root)
    assert (changed.colour != 1).all()
    assert torch.equal(views(changed).depths, views(plain).depths)
    assert not torch.allclose(views(changed).images, views(plain).images)
    in_loader = item(gazefollow_root, augment=augment, compat=Compat(colour_order=True))
    assert (in_loader.colour == 1).all()
    assert torch.equal(in_loader.depth, plain.depth)
    assert not torch.equal(in_loader.image, plain.image)


# --- pairs ----------------------------------------------------------------------------------------


def test_every_source_once_and_every_target_before_any_again():
    plan = PairedPlan(sources=23, targets=5, batch_size=4, seed=0)
    pairs = [divmod(index, 5) for batch in plan.batches(3) for index in batch]
    assert sorted(source for source, _ in pairs) == list(range(23))
    targets = [target for _, target in pairs]
    for first in range(0, 20, 5):
        assert sorted(targets[first : first + 5]) == list(range(5))
    assert plan.batches(3) == plan.batches(3)
    assert plan.batches(3) != plan.batches(4)
    assert [len(batch) for batch in PairedPlan(23, 5, 4, 0, drop_last=True).batches(0)] == [4] * 5


def test_a_pair_is_a_source_and_a_target_item(gazefollow_root):
    source = GazeDataset(people(gazefollow_root), NETWORK, Reading(), augment=ALWAYS)
    target = GazeDataset(people(gazefollow_root, "test"), NETWORK, Reading(), augment=ALWAYS)
    pairs = Pairs(source, target)
    key = ItemKey(0, 2, 3 * len(target) + 1)
    one, other = pairs[key]
    assert torch.equal(one.image, source[ItemKey(0, 2, 3)].image)
    assert other.index.tolist() == [1]
    again = pairs[ItemKey(0, 2, 4 * len(target) + 1)][1]  # beside another source item
    assert not torch.equal(other.image, again.image)
    batch = collate_pairs([pairs[key], pairs[ItemKey(0, 0, -1)]])
    assert len(batch) == 1
    assert batch.that_count().target.index.tolist() == [1]
    assert items.ABSENT == -1


def test_windows_of_whole_pixels_are_pillows_own_crops():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    beyond = shrunk(picture, 16, (-10, -10, 30, 30))
    slow = picture.crop((-10, -10, 30, 30)).resize((16, 16), Image.Resampling.BILINEAR)
    assert_pillows(beyond, slow)
