"""Random patches: the authors' stream, and ours, which reaches every place of any image."""

from __future__ import annotations

import torch

from adaglimpse.data.patches import PatchSampler, UpstreamStream, whole_grid
from shared_core.data.loader import generator

SIZES = ((224, 224), (64, 64), (96, 160), (160, 96), (32, 48))


def drawn(size, count=400, **sides):
    """Many squares of one image size, without the first glimpse."""
    return PatchSampler(count + 1, 1, size, **sides).boxes(generator(0))[1:]


def test_acceptance_06_the_authors_stream_of_patches():
    boxes = UpstreamStream(14, 2, (224, 224)).boxes(torch.Generator())
    assert boxes.shape == (56, 4)
    assert boxes.dtype == torch.int64
    whole = [[0, 0, 112, 112], [0, 112, 112, 224], [112, 0, 224, 112], [112, 112, 224, 224]]
    assert boxes[:6].tolist() == [*whole, [8, 101, 39, 132], [86, 18, 123, 55]]


def test_the_authors_stream_goes_on_and_ours_depends_on_its_generator():
    stream = UpstreamStream(3, 2, (224, 224))
    assert not torch.equal(stream.boxes(generator(0)), stream.boxes(generator(0)))
    ours = PatchSampler(3, 2, (224, 224))
    assert torch.equal(ours.boxes(generator(1, 2)), ours.boxes(generator(1, 2)))
    assert not torch.equal(ours.boxes(generator(1, 2)), ours.boxes(generator(1, 3)))


def test_an_item_has_as_many_patches_as_an_episode():
    for glimpses, grid in ((1, 2), (14, 2), (5, 1), (4, 3)):
        sampler = PatchSampler(glimpses, grid, (96, 96))
        assert sampler.count == glimpses * grid**2
        assert sampler.boxes(generator(0)).shape == (sampler.count, 4)


def test_the_first_glimpse_is_the_whole_image_in_patches_by_rows():
    for size in SIZES:
        boxes = PatchSampler(2, 2, size).boxes(generator(0))[:4]
        assert torch.equal(boxes, whole_grid(2, size))
    assert whole_grid(2, (96, 160)).tolist() == [
        [0, 32, 48, 80], [0, 80, 48, 128], [48, 32, 96, 80], [48, 80, 96, 128],
    ]  # fmt: skip
    assert whole_grid(3, (48, 48))[5].tolist() == [16, 32, 32, 48]


def test_patches_are_squares_inside_of_images_of_any_shape():
    for size in SIZES:
        y1, x1, y2, x2 = drawn(size).T
        assert torch.equal(y2 - y1, x2 - x1)
        assert (y1 >= 0).all()
        assert (x1 >= 0).all()
        assert (y2 <= size[0]).all()
        assert (x2 <= size[1]).all()


def test_every_side_of_the_range_is_drawn_and_no_other():
    boxes = drawn((64, 64), 2000)
    assert sorted(set((boxes[:, 2] - boxes[:, 0]).tolist())) == list(range(16, 56))
    small = drawn((32, 48), 500)
    assert (small[:, 2] - small[:, 0]).max() == 32  # as large as the image allows


def test_the_last_row_and_the_last_column_can_be_drawn():
    """The authors' draws end a pixel before."""
    boxes = drawn((20, 24), 500, smallest=16, largest=16)
    assert sorted(set(boxes[:, 0].tolist())) == list(range(5))
    assert sorted(set(boxes[:, 1].tolist())) == list(range(9))
    theirs = torch.cat([UpstreamStream(100, 1, (60, 60)).boxes(generator(0))[1:] for _ in "ab"])
    assert theirs[:, 2:].max() < 60


def test_places_are_uniform():
    """Of 17 x 17 places each is as likely: chi-squared of rows and columns, within the 0.1 % tail."""
    boxes = drawn((32, 32), 4000, smallest=16, largest=16)
    for starts in (boxes[:, 0], boxes[:, 1]):
        counts = torch.bincount(starts, minlength=17).double()
        expected = 4000 / 17
        assert float(((counts - expected) ** 2 / expected).sum()) < 39.25  # 16 degrees of freedom
