"""From files to batches: what every kind of file becomes, and what is refused."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from adaglimpse.config import DataSettings
from adaglimpse.data.items import (
    ImageDataset,
    SampledPlan,
    collate,
    denormalised,
    normalised,
)
from adaglimpse.data.layouts import Sample, read_images
from adaglimpse.data.masks import class_indices
from adaglimpse.data.patches import PatchSampler
from shared_core.data.loader import PADDING, ItemKey, KeyedLoader, SequentialPlan
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError
from shared_core.testing.data import shared_data

EXIF_ORIENTATION = 0x0112


def noise(height=20, width=30, channels=3):
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return values if channels > 1 else values[..., 0]


def saved(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def one(samples, *, index=0, task="reconstruction", size=(20, 30), epoch=0, **settings):
    if isinstance(samples, Path):
        samples = [Sample("it", samples)]
    return ImageDataset(samples, task=task, size=size, **settings)[ItemKey(0, epoch, index)]


def segmented(tmp_path, labels, image=None, **settings):
    """The classes of a mask that is written as it is."""
    image = saved(tmp_path / "a.png", noise() if image is None else image)
    mask = saved(tmp_path / "mask.png", labels)
    return one([Sample("a", image, mask=mask)], task="segmentation", **settings)


# --- files ----------------------------------------------------------------------------------------


def test_an_image_becomes_its_pixels(tmp_path):
    item = one(saved(tmp_path / "a.png", noise()))
    assert np.array_equal(item.images[0].permute(1, 2, 0).numpy(), noise())
    assert item.images.dtype == torch.uint8
    assert item.labels.tolist() == [-1]
    assert item.indices.tolist() == [0]
    assert item.valid.tolist() == [True]
    assert item.names == ("it",)
    assert item.masks.shape == (1, 0, 0)
    assert item.boxes.shape == (1, 0, 4)


def test_a_grey_image_has_three_equal_channels(tmp_path):
    grey = noise(channels=1)
    item = one(saved(tmp_path / "a.png", grey))
    for channel in item.images[0].numpy():
        assert np.array_equal(channel, grey)


def test_a_sixteen_bit_image_is_scaled_and_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    found = one(saved(tmp_path / "a.png", values)).images[0, 0].numpy()
    assert np.abs(found - values / 257.0).max() <= 0.5
    assert len(np.unique(found)) == 256


def test_transparency_is_laid_on_black(tmp_path):
    values = noise(channels=4)
    found = one(saved(tmp_path / "a.png", values)).images[0].permute(1, 2, 0).numpy()
    black = values[..., :3] * (values[..., 3:] / 255.0)
    assert np.abs(found - black).max() <= 1


def test_photographs_are_turned_upright_but_not_beside_a_mask(tmp_path):
    """A mask counts the pixels as they are stored."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    path = saved(tmp_path / "a.png", noise(20, 30), exif=exif)
    turned = one(path, size=(30, 20)).images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(turned, np.rot90(noise(20, 30), -1))
    mask = saved(tmp_path / "m.png", np.ones((20, 30), np.uint8))
    stored = one([Sample("a", path, mask=mask)], task="segmentation")
    assert np.array_equal(stored.images[0].permute(1, 2, 0).numpy(), noise(20, 30))


def test_an_unreadable_image_in_a_folder_stops_or_is_listed(tmp_path):
    for name in "abc":
        saved(tmp_path / f"{name}.png", noise())
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:200])
    images = read_images(DataSettings(data_dir=tmp_path), "reconstruction", "test")
    dataset = ImageDataset(images.samples, task="reconstruction", size=(16, 16))
    with pytest.raises(DataError, match=r"b\.png: it is damaged"):
        dataset[ItemKey(0, 0, 1)]

    listed = Quarantine("quarantine", limit_share=0.5)
    loader = KeyedLoader(dataset, SequentialPlan(3, 3), seed=0, collate=collate, quarantine=listed)
    ((batch,),) = loader.epoch()
    assert [Path(row.path).name for row in listed.rows] == ["b.png"]
    assert len(batch) == 2
    assert batch.that_count().names == ("a.png", "c.png")


# --- masks ----------------------------------------------------------------------------------------


def test_acceptance_19_the_map_of_ade20ks_labels(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[0, :4] = [0, 1, 150, 75]
    item = segmented(tmp_path, labels)
    assert item.masks.shape == (1, 20, 30)
    assert item.masks.dtype == torch.uint8
    assert item.masks[0, 0, :5].tolist() == [255, 0, 149, 74, 255]


def test_labels_above_150_do_not_count_or_are_clipped(tmp_path, caplog):
    labels = np.full((20, 30), 3, np.uint8)
    labels[0, :2] = [151, 255]
    with caplog.at_level(logging.WARNING):
        ignored = segmented(tmp_path, labels)
    assert ignored.masks[0, 0, :3].tolist() == [255, 255, 2]
    assert "label 255; labels above 150 do not count" in caplog.text
    clipped = segmented(tmp_path, labels, labels_above="clip")
    assert clipped.masks[0, 0, :3].tolist() == [149, 149, 2]


def test_labels_above_150_are_told_once(tmp_path, caplog):
    labels = np.full((20, 30), 200, np.uint8)
    sample = Sample("a", saved(tmp_path / "a.png", noise()), mask=saved(tmp_path / "m.png", labels))
    dataset = ImageDataset([sample, sample], task="segmentation", size=(16, 16))
    with caplog.at_level(logging.WARNING):
        for index in (0, 1, 0):
            dataset[ItemKey(0, 0, index)]
    assert len(caplog.records) == 1


def test_labels_of_sixteen_bits_keep_their_meaning(tmp_path):
    labels = np.full((20, 30), 5, np.uint16)
    labels[0, 0] = 261  # 5 where eight bits are taken
    assert segmented(tmp_path, labels).masks[0, 0, :2].tolist() == [255, 4]


def test_a_palette_only_shows_labels(tmp_path):
    labels = np.random.default_rng(0).integers(0, 7, (20, 30), dtype=np.uint8)
    mask = Image.fromarray(labels).convert("P")
    mask.putdata(labels.ravel().tolist())
    mask.putpalette([(37 * i) % 256 for i in range(768)])
    mask.save(tmp_path / "m.png")
    sample = Sample("a", saved(tmp_path / "a.png", noise()), mask=tmp_path / "m.png")
    found = one([sample], task="segmentation").masks[0].numpy()
    assert np.array_equal(found, class_indices(labels, "ignore"))


def test_a_mask_of_another_size_names_both(tmp_path):
    with pytest.raises(DataError) as caught:
        segmented(tmp_path, np.ones((19, 30), np.uint8))
    for part in ("mask.png", "a.png", "30x20", "30x19"):
        assert part in str(caught.value)


def test_a_mask_of_colours_or_a_damaged_one_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"mask\.png: expected one whole number a pixel, .* RGB"):
        segmented(tmp_path, noise())
    sample = Sample("a", saved(tmp_path / "a.png", noise()), mask=tmp_path / "none.png")
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        one([sample], task="segmentation")
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"none\.png: it is damaged"):
        one([sample], task="segmentation")


def test_an_image_without_a_mask_has_no_pixel_that_counts(tmp_path):
    item = one(saved(tmp_path / "a.png", noise()), task="segmentation", kind="three")
    assert item.masks.shape == (1, 20, 30)
    assert (item.masks == 255).all()


def test_real_masks_lie_on_their_images():
    """Sky is brighter than the rest, in every real sample that has some."""
    root = shared_data("adaglimpse/ade20k_mini/ADEChallengeData2016")
    settings = DataSettings(data_dir=root, dataset="ade20k")
    images = read_images(settings, "segmentation", "val")
    dataset = ImageDataset(images.samples, task="segmentation", size=(96, 128))
    batch = collate([dataset[ItemKey(0, 0, i)] for i in range(len(dataset))])
    assert batch.images.shape == (3, 3, 96, 128)
    assert batch.masks.shape == (3, 96, 128)
    with_sky = 0
    for image, mask in zip(batch.images.float().mean(1), batch.masks, strict=True):
        sky = mask == images.classes.index("sky")
        if sky.sum() > 100:
            with_sky += 1
            assert image[sky].mean() > image[~sky].mean() + 30
    assert with_sky


# --- batches --------------------------------------------------------------------------------------


def test_a_batch_is_its_items_below_one_another(tmp_path):
    samples = [
        Sample(name, saved(tmp_path / f"{name}.png", noise(8 + i, 9)), label=i)
        for i, name in enumerate("abc")
    ]
    sampler = PatchSampler(3, 2, (16, 16))
    dataset = ImageDataset(samples, task="classification", size=(16, 16), sampler=sampler)
    items = [dataset[ItemKey(0, 0, i)] for i in (2, 0, PADDING)]
    batch = collate(items)
    assert batch.images.shape == (3, 3, 16, 16)
    assert batch.boxes.shape == (3, 12, 4)
    assert batch.labels.tolist() == [2, 0, -1]
    assert batch.indices.tolist() == [2, 0, -1]
    assert batch.valid.tolist() == [True, True, False]
    assert batch.names == ("c", "a", "padding")
    assert torch.equal(batch.images[1], items[1].images[0])
    assert len(batch) == 2


def test_padding_fits_beside_every_item_and_counts_nothing(tmp_path):
    mask = saved(tmp_path / "m.png", np.ones((20, 30), np.uint8))
    samples = [Sample("a", saved(tmp_path / "a.png", noise()), mask=mask)]
    dataset = ImageDataset(
        samples, task="segmentation", size=(32, 48), sampler=PatchSampler(2, 2, (32, 48))
    )
    batch = collate([dataset[ItemKey(0, 0, 0)], dataset[ItemKey(0, 0, PADDING)]])
    assert (batch.masks[1] == 255).all()
    y1, x1, y2, x2 = batch.boxes[1].T  # boxes that can be cut, whatever is made of them
    assert (y2 > y1).all()
    assert (x2 > x1).all()
    assert (y2 <= 32).all()
    assert (x2 <= 48).all()


@pytest.mark.parametrize("kind", ["flip", "crop", "three", "segmentation"])
def test_an_item_is_a_function_of_its_key(tmp_path, kind):
    """In whatever order items are asked for, also after a journey to a worker."""
    samples = [Sample("a", saved(tmp_path / "a.png", noise())) for _ in range(2)]
    sampler = PatchSampler(4, 2, (32, 32))
    dataset = ImageDataset(samples, task="segmentation", size=(32, 32), kind=kind, sampler=sampler)
    first = dataset[ItemKey(0, 3, 1)]
    for key in (ItemKey(0, 3, 0), ItemKey(0, 4, 1), ItemKey(1, 3, 1)):
        other = dataset[key]
        assert not torch.equal(first.boxes, other.boxes)
    again = pickle.loads(pickle.dumps(dataset))[ItemKey(0, 3, 1)]
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.boxes, again.boxes)
    epochs = [dataset[ItemKey(0, epoch, 1)].images for epoch in range(12)]
    assert any(not torch.equal(epochs[0], images) for images in epochs)


def test_validation_draws_nothing(tmp_path):
    path = saved(tmp_path / "a.png", noise())
    assert torch.equal(one(path, size=(16, 16)).images, one(path, size=(16, 16), epoch=9).images)


# --- values ---------------------------------------------------------------------------------------


def test_normalised_images_are_torchvisions():
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    expected = functional.normalize(
        images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    assert torch.equal(normalised(images), expected)
    assert torch.equal(normalised(images[None])[0], expected)


def test_denormalised_images_are_the_pixels_again():
    images = torch.arange(256, dtype=torch.uint8).expand(2, 4, 3, 2, 256)
    back = denormalised(normalised(images))
    assert back.shape == images.shape
    assert (back - images).abs().max() < 1e-4


def test_denormalised_values_are_clipped_and_not_rounded():
    values = torch.tensor([-10.0, 10.0, 0.0]).expand(3, 1, 3)
    found = denormalised(values)
    assert found[:, 0, 0].tolist() == [0, 0, 0]
    assert found[:, 0, 1].tolist() == [255, 255, 255]
    np.testing.assert_allclose(found[:, 0, 2], np.array([0.485, 0.456, 0.406]) * 255, rtol=1e-6)


# --- plan -----------------------------------------------------------------------------------------


def test_a_sampled_epoch_has_the_items_that_are_asked_for():
    plan = SampledPlan(size=10, num_samples=23, batch_size=5, seed=0)
    batches = plan.batches(0)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert {index for batch in batches for index in batch} <= set(range(10))
    full = SampledPlan(size=10, num_samples=23, batch_size=5, seed=0, drop_last=True)
    assert full.batches(0) == batches[:4]


def test_a_sampled_epoch_draws_with_replacement_by_seed_and_epoch_alone():
    plan = SampledPlan(size=50, num_samples=2000, batch_size=2000, seed=3)
    counts = torch.bincount(torch.tensor(plan.batches(1)[0]), minlength=50)
    expected = 2000 / 50
    assert float(((counts - expected) ** 2 / expected).sum()) < 85.4  # 0.1 % tail of 49
    assert plan.batches(1) == SampledPlan(50, 2000, 2000, 3).batches(1)
    assert plan.batches(1) != plan.batches(2)
    assert plan.batches(1) != SampledPlan(50, 2000, 2000, 4).batches(1)
