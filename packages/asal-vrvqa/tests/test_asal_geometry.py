"""The sphere's bands: against the paper's formulas, written out column by column."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from asal_vrvqa.config import Network
from asal_vrvqa.model import geometry, sphere
from asal_vrvqa.model.backbone import ResNet18, Sphere
from asal_vrvqa.model.sphere import PopulationBatchNorm
from shared_core.errors import ConfigError

CPU = torch.device("cpu")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def columns(parts, width):
    weights = [math.ceil(64 * math.sin(math.pi * (g + 0.5) / parts)) for g in range(parts)]
    return [int(weight / 64 * width + 0.5) for weight in weights]


def slow_slice(plane, parts):
    """slice: [N, C, H, W] to [N parts, C, H / parts, W]."""
    batch, channels, height, width = plane.shape
    rows = height // parts
    made = torch.zeros(batch, parts, channels, rows, width)
    for g, valid in enumerate(columns(parts, width)):
        band = plane[:, :, g * rows : (g + 1) * rows]
        for j in range(valid):
            s = np.float32((j + 0.5) / valid * width - 0.5 + 1e-9)
            s = s + np.float32(width) if s < 0 else s
            i = math.floor(s)
            made[:, g, :, :, j] = catmull_rom(band, i, float(s - np.float32(i)), width)
    return made.flatten(0, 1)


def catmull_rom(rows, i, u, width):
    k = (
        (-u + 2 * u**2 - u**3) / 2,
        (2 - 5 * u**2 + 3 * u**3) / 2,
        (u + 4 * u**2 - 3 * u**3) / 2,
        (-(u**2) + u**3) / 2,
    )
    return sum(w * rows[..., (i + o) % width] for w, o in zip(k, (-1, 0, 1, 2), strict=True))


def slow_unslice(stacked, parts):
    """un-slice: the inverse direction, row by row."""
    width, rows = stacked.shape[-1], stacked.shape[-2]
    bands = stacked.unflatten(0, (-1, parts))
    made = torch.zeros(bands.shape[0], stacked.shape[1], parts * rows, width)
    for g, valid in enumerate(columns(parts, width)):
        for j in range(width):
            s = np.float32((j + 0.5) / width * valid - 0.5 + 1e-9)
            s = s + np.float32(valid) if s < 0 else s
            i = math.floor(s)
            value = catmull_rom(bands[:, g, ..., :valid], i, float(s - np.float32(i)), valid)
            made[:, :, g * rows : (g + 1) * rows, j] = value
    return made


def slow_pad(stacked, parts, p):
    """pad(p): [N parts, C, h, W] to [N parts, C, h + 2p, W + 2p]."""
    rows, width = stacked.shape[-2:]
    bands = stacked.unflatten(0, (-1, parts))
    of = columns(parts, width)
    made = torch.zeros(*bands.shape[:3], rows + 2 * p, width + 2 * p)
    for g, valid in enumerate(of):
        for r in range(rows + 2 * p):
            across = g * rows + r - p
            shift = 0.0
            if across < 0 or across >= parts * rows:
                across = -across - 1 if across < 0 else 2 * parts * rows - across - 1
                shift = valid / 2
            q, inner = divmod(across, rows)
            for c in range(valid):
                if 0 <= r - p < rows:
                    value = bands[:, g, :, r - p, c]
                else:
                    n = (c + shift) % valid
                    s = np.float32((n + 0.5) / valid * of[q] - 0.5 + 1e-9)
                    s = s + np.float32(of[q]) if s < 0 else s
                    i = math.floor(s)
                    share = float(np.float32(i + 1) - s)
                    value = share * bands[:, q, :, inner, i % of[q]]
                    value = value + (1 - share) * bands[:, q, :, inner, (i + 1) % of[q]]
                made[:, g, :, r, c + p] = value
            for k in range(p):
                made[:, g, :, r, k] = made[:, g, :, r, p + (k - p) % valid]
                made[:, g, :, r, p + valid + k] = made[:, g, :, r, p + k % valid]
    return made.flatten(0, 1)


def halo_by_parts(stacked, parts, p):
    """Our haloed strip in the authors' layout."""
    rows, width = stacked.shape[-2:]
    table = geometry.halo(parts, rows, width, p, 2 * p + 1, 1, CPU)
    made = sphere.with_halo(sphere.from_parts(stacked, parts), table)
    padded = [valid + 2 * p for valid in columns(parts, width)]
    bands = [
        torch.nn.functional.pad(b.permute(0, 3, 1, 2), (0, width + 2 * p - b.shape[2]))
        for b in made.split(padded, dim=2)
    ]
    return torch.stack(bands, dim=1).flatten(0, 1)


def trimmed(stacked, parts):
    """Zero the invalid columns."""
    valid = torch.tensor(columns(parts, stacked.shape[-1]))
    mask = torch.arange(stacked.shape[-1]) < valid[:, None]
    return stacked * mask[:, None, None].repeat(len(stacked) // parts, 1, 1, 1)


def test_acceptance_01_columns_of_the_bands():
    half = [4, 10, 16, 21, 25, 29, 31, 32]
    assert list(geometry.band_columns(16, 32)) == half + half[::-1]
    assert geometry.band_columns(16, 64)[0] == 7
    assert geometry.band_columns(16, 512)[:8] == (56, 152, 248, 328, 400, 456, 496, 512)
    assert geometry.band_columns(16, 16)[:8] == (2, 5, 8, 10, 13, 14, 16, 16)


@pytest.mark.parametrize(
    ("parts", "rows", "width"), [(4, 2, 32), (16, 1, 32), (2, 3, 64), (6, 2, 96)]
)
def test_acceptance_02_operations_match_the_slow_ones(parts, rows, width):
    plane = noise(2, 3, parts * rows, width)
    strip = sphere.to_strip(plane, parts)
    stacked = slow_slice(plane, parts)
    assert torch.allclose(sphere.to_parts(strip, parts, width), stacked, atol=1e-5)
    assert torch.equal(sphere.from_parts(sphere.to_parts(strip, parts, width), parts), strip)
    assert torch.allclose(
        sphere.to_plane(strip, parts, width), slow_unslice(stacked, parts), atol=1e-5
    )
    for p in (1, 2, 3):
        found, expected = halo_by_parts(stacked, parts, p), slow_pad(stacked, parts, p)
        assert torch.allclose(found, expected, atol=1e-6), p


@pytest.mark.parametrize("p", [1, 3])
def test_acceptance_02_backward_is_the_transpose(p):
    """<A v, g> = <v, A' g>, for the halo and for both resamplings."""
    parts, rows, width = 4, 2, 64
    table = geometry.halo(parts, rows, width, p, 2 * p + 1, 1, CPU)
    makers = {
        "halo": (lambda v: sphere.with_halo(v, table), (2, rows, sum(columns(parts, width)), 3)),
        "slice": (lambda v: sphere.to_strip(v, parts), (2, 3, parts * rows, width)),
        "un-slice": (
            lambda v: sphere.to_plane(v, parts, width),
            (2, rows, sum(columns(parts, width)), 3),
        ),
    }
    for name, (make, shape) in makers.items():
        v = noise(*shape, seed=1).double().requires_grad_()
        made = make(v)
        g = noise(*made.shape, seed=2).double()
        made.backward(g)
        left, right = (made * g).sum(), (v * v.grad).sum()
        assert left.item() == pytest.approx(right.item(), rel=1e-4), name


def test_acceptance_03_a_constant_stays_constant():
    plane = torch.full((1, 2, 64, 64), 0.7)
    back = sphere.to_plane(sphere.to_strip(plane, 4), 4, 64)
    assert torch.allclose(back, plane, atol=1e-6)


def test_acceptance_04_halo_of_ones_and_the_pole_rule():
    parts, rows, width = 16, 2, 128
    ones = trimmed(torch.ones(parts, 1, rows, width), parts)
    padded = halo_by_parts(ones, parts, 1)
    for g, valid in enumerate(columns(parts, width)):
        assert torch.equal(padded[g, 0, :, : valid + 2], torch.ones(rows + 2, valid + 2))
        assert not padded[g, 0, :, valid + 2 :].any()
    random = trimmed(noise(parts, 1, rows, width), parts)
    padded = halo_by_parts(random, parts, 1)
    top, bottom = random[0, 0, 0, :14], random[15, 0, -1, :14]
    assert torch.allclose(padded[0, 0, 0, 1:15], top.roll(7), atol=1e-6)
    assert torch.allclose(padded[15, 0, -1, 1:15], bottom.roll(7), atol=1e-6)


def test_acceptance_05_statistics_see_valid_columns_alone_and_are_biased():
    parts = 4
    stacked = trimmed(noise(parts * 2, 3, 2, 32), parts)
    spoilt = stacked + (1 - trimmed(torch.ones_like(stacked), parts)) * 1e6
    made, norms = [], []
    for each in (stacked, spoilt):
        norm = PopulationBatchNorm(3)
        made.append(sphere.normalised(sphere.from_parts(each, parts), norm))
        norms.append(norm)
    assert torch.equal(*made)
    values = sphere.from_parts(stacked, parts).flatten(0, 2).double()
    mean, biased = values.mean(dim=0), values.var(dim=0, correction=0)
    assert torch.allclose(norms[0].running_mean.double(), 0.1 * mean, atol=1e-6)
    assert torch.allclose(norms[0].running_var.double(), 0.9 + 0.1 * biased, atol=1e-6)
    assert int(norms[0].num_batches_tracked) == 1
    expected = (values - mean) / torch.sqrt(biased + 1e-5)
    assert torch.allclose(made[0].flatten(0, 2).double(), expected, atol=1e-5)


def test_acceptance_06_garbage_in_invalid_columns_changes_no_feature(monkeypatch):
    network = ResNet18(Sphere(4), 4).eval()
    frames = noise(2, 3, 128, 128)
    clean = network(frames)
    pool = sphere.max_pooled

    def spoilt(strip, **sizes):
        stacked = sphere.to_parts(pool(strip, **sizes), 4, 32)
        stacked = stacked + (1 - trimmed(torch.ones_like(stacked), 4)) * 1e6
        return sphere.from_parts(stacked, 4)

    monkeypatch.setattr(sphere, "max_pooled", spoilt)
    assert torch.equal(network(frames), clean)


def test_acceptance_09_the_folded_pool_is_the_mean_of_the_plane():
    for parts, width in ((4, 32), (16, 32), (16, 64)):
        strip = sphere.to_strip(noise(2, 5, parts, width), parts)
        plane = sphere.to_plane(strip, parts, width)
        found = sphere.pooled(strip, parts, width)
        assert torch.allclose(found, plane.mean(dim=(2, 3)), atol=1e-6)


def test_acceptance_08_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"32 x parts \(16\) = 512; the nearest is 512"):
        Network(height=256)
    with pytest.raises(ConfigError, match="width: expected a multiple of 32"):
        Network(width=1000)
    with pytest.raises(ConfigError, match="even number"):
        Network(parts=3)
    with pytest.raises(ConfigError, match="no column"):
        Network(parts=16, width=32)
    Network(parts=64, height=2048)
    Network(parts=4, height=128, width=256)


@pytest.mark.parametrize("parts", [2, 6, 10])
def test_any_even_number_of_parts_makes_features(parts):
    network = ResNet18(Sphere(parts), 4).eval()
    assert network(noise(1, 3, 32 * parts, 256)).shape == (1, 32)


def test_tables_made_while_predicting_serve_training_too():
    network = ResNet18(Sphere(2), 4).eval()
    frames = noise(1, 3, 64, 160)  # no other test has this size
    with torch.inference_mode():
        network(frames)
    network.train()(frames).sum().backward()
    assert network.conv1.weight.grad.abs().sum() > 0
