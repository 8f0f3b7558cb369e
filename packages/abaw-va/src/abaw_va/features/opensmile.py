"""openSMILE's low level descriptors: 130 of ComParE 2016 or 23 of eGeMAPS, every 10 ms (spec 2.4).

Optional; note that openSMILE itself is licensed for research and personal use only.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from abaw_va.features.base import SoundExtractor
from abaw_va.features.mapping import average_rows, frame_spans
from shared_core.data.audio import Audio
from shared_core.errors import UsageError
from shared_core.extras import require

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
        MissingExtraError: opensmile is not installed.
    """

    def __init__(self, name: str = "egemaps", *, compat: bool = False) -> None:
        if name not in ("compare", "egemaps"):
            raise UsageError(f"openSMILE: expected compare or egemaps, found {name!r}.")
        library = require("opensmile", "opensmile", "abaw-va")
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
