"""openSMILE's low level descriptors: 130 of ComParE 2016 or 23 of eGeMAPS, every 10 ms.

openSMILE is licensed for research and personal use only, so this package neither brings it nor offers
it as an extra: who may use it installs it.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from abaw_va.features.base import SoundExtractor
from abaw_va.features.mapping import average_rows, frame_spans
from shared_core.data.audio import Audio
from shared_core.errors import UsageError

HOP_S = 0.01
"""Seconds from row to row."""
SHORTEST_S = 0.1
"""Shorter sound is filled up with silence: the longest descriptor looks at 60 ms."""


class OpensmileExtractor(SoundExtractor):
    """Descriptors averaged over each frame.

    Args:
        name: `compare` (65 descriptors and their 65 deltas) or `egemaps` (23 descriptors).
        compat: 30 frames per second whatever the video's rate.

    Raises:
        UsageError: another name, or openSMILE is not installed.
    """

    def __init__(self, name: str = "egemaps", *, compat: bool = False) -> None:
        if name not in ("compare", "egemaps"):
            raise UsageError(f"openSMILE: expected compare or egemaps, found {name!r}.")
        library = _library()
        self.name = name
        self._compat = compat
        levels = ["LowLevelDescriptors"]
        levels += ["LowLevelDescriptors_Deltas"] if name == "compare" else []
        features = "ComParE_2016" if name == "compare" else "eGeMAPSv01b"
        self._smiles = [
            library.Smile(
                feature_set=getattr(library.FeatureSet, features),
                feature_level=getattr(library.FeatureLevel, level),
            )
            for level in levels
        ]
        self.width = sum(len(smile.feature_names) for smile in self._smiles)

    def __call__(
        self, audio: Audio, times_s: Float[np.ndarray, " frames"]
    ) -> Float32[Tensor, "frames width"]:
        """Rows for the frames; beyond the sound, silence (compat: the last row goes on)."""
        starts_s, ends_s = frame_spans(times_s, thirty_fps=self._compat)
        if not self._compat:
            audio = audio.covering(starts_s[0], ends_s[-1])
            starts_s, ends_s = starts_s - audio.start_s, ends_s - audio.start_s
        audio = audio.covering(audio.start_s, audio.start_s + SHORTEST_S)
        tables = [
            smile.process_signal(audio.samples, audio.rate).to_numpy() for smile in self._smiles
        ]
        # The deltas have two rows more, at the end.
        count = min(len(table) for table in tables)
        rows = np.concatenate([table[:count] for table in tables], axis=1)
        return torch.from_numpy(average_rows(rows, HOP_S, starts_s, ends_s))


def _library() -> ModuleType:
    try:
        return import_module("opensmile")
    except ModuleNotFoundError as error:
        raise UsageError(
            "the features compare and egemaps need openSMILE, whose licence allows research and "
            "personal use only (audEERING; commercial use needs a licence of its own).\n"
            "If that suits you, install it: pip install opensmile"
        ) from error
