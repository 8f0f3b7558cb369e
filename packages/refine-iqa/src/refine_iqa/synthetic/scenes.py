"""Drawn scenes, and how good they are by construction.

A scene is a slope of two colours under soft noise, with a few discs and stripes. It is spoilt by one
distortion of a strength drawn uniformly from 0 to 1, and its MOS falls linearly with it, from 5 to 1.
So a model that sees the strength can know the score, and one that sees nothing cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from shared_core.data.tables import write_json

Kind = Literal["exposure", "blur", "noise"]
Pixels = UInt8[np.ndarray, "side side 3"]

DARKEST = 0.12
"""Share of the light that is left at full strength (exposure)."""


class Spoilt(NamedTuple):
    """A picture and how good it is."""

    pixels: Pixels
    mos: float
    """1..5."""


def draw_scene(draws: np.random.Generator, side: int = 56) -> Pixels:
    """A scene, of the given pixels along each side."""
    across = np.linspace(0, 1, side, dtype=np.float32)
    slope = across[:, None, None] * draws.random(3, dtype=np.float32)
    slope = slope + across[None, :, None] * draws.random(3, dtype=np.float32)
    scene = 0.45 + 0.35 * slope + 0.05 * _soft_noise(draws, side)[..., None]
    rows, columns = np.mgrid[:side, :side]
    for _ in range(int(draws.integers(2, 5))):
        centre, radius = draws.uniform(0, side, 2), draws.uniform(side / 10, side / 4)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        scene[inside] = 0.35 + 0.6 * draws.random(3, dtype=np.float32)
    return (255 * scene.clip(0, 1)).round().astype(np.uint8)


def spoil(scene: Pixels, kind: Kind, strength: float, draws: np.random.Generator) -> Spoilt:
    """A scene with a distortion of a strength, 0 (none) to 1, and the MOS that follows from it."""
    spoilt = _KINDS[kind](scene.astype(np.float32) / 255, strength, draws)
    pixels = (255 * spoilt.clip(0, 1)).round().astype(np.uint8)
    return Spoilt(pixels, 5.0 - 4.0 * strength)


def write_table(
    folder: Path, *, count: int, seed: int, kinds: tuple[Kind, ...] = ("exposure",), side: int = 56
) -> Path:
    """Write pictures and the table that rates them; strengths are spread evenly, in random order.

    Args:
        folder: for the pictures and `table.json`.
        count: of pictures.
        seed: one seed, one set, byte for byte.
        kinds: distortions, in turn.
        side: pixels along each side.

    Returns:
        The table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed)
    strengths = (draws.permutation(count) + draws.random(count)) / count
    rows = []
    for number, strength in enumerate(strengths):
        kind = kinds[number % len(kinds)]
        pixels, mos = spoil(draw_scene(draws, side), kind, float(strength), draws)
        name = f"{number:05d}.png"
        Image.fromarray(pixels).save(folder / name)
        rows.append({"image": name, "question": "How good is this image?", "solution": mos})
    table = folder / "table.json"
    write_json(table, rows)
    return table


def _soft_noise(draws: np.random.Generator, side: int) -> Float32[np.ndarray, "side side"]:
    coarse = draws.standard_normal((side // 4, side // 4), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _darken(scene: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    return scene * (1 - (1 - DARKEST) * strength)


def _blur(scene: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    side = len(scene)
    small = max(3, round(side * (1 - 0.9 * strength)))
    image = Image.fromarray((255 * scene).astype(np.uint8))
    coarse = image.resize((small, small), Image.Resampling.BOX)
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255


def _noise(scene: np.ndarray, strength: float, draws: np.random.Generator) -> np.ndarray:
    noise = draws.standard_normal(scene.shape, dtype=np.float32)
    return np.asarray(scene + 0.3 * strength * noise)


_KINDS: dict[Kind, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "exposure": _darken,
    "blur": _blur,
    "noise": _noise,
}
