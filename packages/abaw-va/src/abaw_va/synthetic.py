"""Embedded data: drawn faces that smile with valence and open with arousal, and voices that rise.

Small stand-ins for in-the-wild videos, so that every command can be tried without a data set. What a
face and a voice show is the emotion mixed with a person's own looks, head movement, light and noise;
a network has to separate them, and people of the validation set are new to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter1d

from abaw_va.data.layout import Labels, features_path, targets_path, write_targets
from shared_core.data.features import write_features
from shared_core.data.loader import generator

FRAME_RATE = 30.0
"""Frames per second of every drawn video."""

SOUND_RATE = 16_000
"""Samples per second of every voice."""

SIZE = 64
"""Height and width of a drawn face, pixels."""


@dataclass(frozen=True)
class Person:
    """Looks and voice of one person, each number drawn around 0 unless said otherwise.

    Attributes:
        skin: brightness of the skin, 0..1.
        width: half the width of the face, as a fraction of the picture.
        smile: curvature of the mouth at rest.
        gaze: opening of the eyes at rest.
        pitch: fundamental of the voice at rest, Hz.
        loudness: level of the voice at rest, as a factor.
    """

    skin: float
    width: float
    smile: float
    gaze: float
    pitch: float
    loudness: float

    @classmethod
    def draw(cls, draw: torch.Generator) -> Person:
        """A random person."""
        u = torch.rand(6, generator=draw).tolist()
        return cls(
            skin=0.55 + 0.3 * u[0],
            width=0.3 + 0.06 * u[1],
            smile=0.5 * (u[2] - 0.5),
            gaze=0.4 * (u[3] - 0.5),
            pitch=100 + 120 * u[4],
            loudness=0.6 + 0.8 * u[5],
        )


def emotion(length: int, draw: torch.Generator, seconds: float = 1.5) -> Float[np.ndarray, "n 2"]:
    """Valence and arousal that wander smoothly in [-1, 1], changing over about `seconds`."""
    noise = torch.randn(length, 2, generator=draw).numpy()
    sigma = seconds * FRAME_RATE / 2
    smooth = gaussian_filter1d(noise, sigma, axis=0, mode="wrap")
    smooth *= np.sqrt(2 * np.sqrt(np.pi) * sigma)  # to unit variance, whatever the length
    level = torch.randn(2, generator=draw).numpy() * 0.4
    return np.asarray(np.tanh(0.7 * smooth + level), np.float32)


def draw_face(
    labels: Float[np.ndarray, "n 2"], person: Person, draw: torch.Generator
) -> UInt8[np.ndarray, "n 64 64 3"]:
    """Frames of a face: the mouth bends up with valence; eyes and mouth open with arousal."""
    n = len(labels)
    valence, arousal = labels.T[:, :, None, None]
    sway = gaussian_filter1d(torch.randn(n, 3, generator=draw).numpy(), 12, axis=0, mode="wrap")
    dx, dy, light = (0.15 * sway.T)[:, :, None, None]
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE - 0.5
    x, y = axis[None, None, :] - dx, axis[None, :, None] - dy
    inside = (x / person.width) ** 2 + (y / 0.42) ** 2 < 1
    picture = np.where(inside, person.skin, 0.15) + 0.5 * light
    opening = 0.035 + 0.02 * person.gaze + 0.025 * arousal
    for side in (-0.13, 0.13):
        eye = ((x - side) / 0.06) ** 2 + ((y + 0.1) / opening) ** 2 < 1
        picture = np.where(eye, 0.05, picture)
    bend = 4.0 * (valence + person.smile)
    centre = 0.2 - bend * (x**2 - 0.012)
    mouth = (np.abs(x) < 0.16) & (np.abs(y - centre) < 0.03 + 0.02 * arousal)
    picture = np.where(mouth, 0.3, picture)
    picture = picture + 0.04 * torch.randn(n, SIZE, SIZE, generator=draw).numpy()
    tint = np.array([1.0, 0.85, 0.75], np.float32)
    return (np.clip(picture[..., None] * tint, 0, 1) * 255).astype(np.uint8)


def speak(
    labels: Float[np.ndarray, "n 2"], person: Person, draw: torch.Generator
) -> Float[np.ndarray, " samples"]:
    """A voice of the same length as the frames: pitch and loudness rise with arousal; with pauses."""
    samples = round(len(labels) / FRAME_RATE * SOUND_RATE)
    at = np.arange(samples) / SOUND_RATE * FRAME_RATE
    arousal = np.interp(at, np.arange(len(labels)), labels[:, 1])
    valence = np.interp(at, np.arange(len(labels)), labels[:, 0])
    rhythm = torch.randn(len(labels), generator=draw).numpy()
    talking = (
        np.interp(at, np.arange(len(labels)), gaussian_filter1d(rhythm, 6, mode="wrap")) > -0.1
    )
    phase = 2 * np.pi * np.cumsum(person.pitch * 2 ** (0.6 * arousal)) / SOUND_RATE
    bright = 0.5 + 0.3 * valence
    tone = sum(np.sin(k * phase) * bright ** (k - 1) for k in range(1, 6))
    level = 0.08 * person.loudness * np.exp(0.8 * arousal)
    noise = 0.01 * torch.randn(samples, generator=draw).numpy()
    return np.asarray(np.clip(level * talking * tone + noise, -1, 1), np.float32)


@dataclass(frozen=True)
class Clip:
    """One drawn video: frames uint8 [n, 64, 64, 3] RGB, sound float32 at 16 kHz, labels [n, 2]."""

    frames: np.ndarray
    sound: np.ndarray
    labels: np.ndarray


def clip(seed: int, number: int, seconds: float) -> Clip:
    """Video `number` of a seed: always the same, and of a person of its own."""
    draw = generator(seed, number)
    labels = emotion(round(seconds * FRAME_RATE), draw)
    person = Person.draw(draw)
    return Clip(draw_face(labels, person, draw), speak(labels, person, draw), labels)


def write_random_root(
    root: Path,
    splits: Mapping[str, Mapping[str, int]],
    features: Mapping[str, int],
    *,
    seed: int = 0,
    linear: bool = False,
) -> None:
    """Write a data root of random features, for tests and benchmarks.

    Args:
        root: folder to write.
        splits: for each split the length of each video.
        features: width of each feature.
        seed: key of every number.
        linear: labels are a linear function of the features rather than random walks.
    """
    draw = generator(seed)
    weights = {name: torch.randn(width, 2, generator=draw) for name, width in features.items()}
    for split, lengths in splits.items():
        rows = {
            name: {v: torch.randn(n, width, generator=draw).numpy() for v, n in lengths.items()}
            for name, width in features.items()
        }
        targets = {}
        for video, n in lengths.items():
            if linear:
                total = sum(rows[f][video] @ weights[f].numpy() for f in features)
                values = np.tanh(0.5 * total / np.sqrt(sum(features.values())))
            else:
                steps = torch.randn(n, 2, generator=draw).numpy()
                values = np.tanh(0.1 * np.cumsum(steps, axis=0))
            valid = np.ones(n, dtype=bool)
            known = None if split == "test" else values.astype(np.float32)
            targets[video] = Labels(
                n, known, valid if known is not None else ~valid, original=video
            )
        write_targets(targets_path(root, split), targets)
        for name, videos in rows.items():
            write_features(features_path(root, split, name), videos)
