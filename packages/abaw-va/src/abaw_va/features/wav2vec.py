"""wav2vec 2.0, WavLM and their kind: one row for every 20 ms of sound, averaged over each frame.

`wav2vec2-base`, the authors' choice, gives 768 numbers. Default: the whole sound is
normalised at once and runs through the network in pieces that overlap. The authors normalise and
run pieces of 120 s each by themselves; `compat` does so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from abaw_va.features.base import SoundExtractor
from abaw_va.features.hub import from_pretrained, transformers
from abaw_va.features.mapping import average_rows, fit_length, frame_spans
from shared_core.data.audio import Audio

PIECE_S = 30
"""Seconds that run through the network at once."""
OVERLAP_S = 2
"""Seconds of context that a piece sees on each side."""
UPSTREAM_PIECE_S = 120
"""The authors' pieces."""


class Wav2vecExtractor(SoundExtractor):
    """Last hidden state of a network of the wav2vec 2.0 family.

    Args:
        source: folder, hub id, or hub id@revision.
        name: of the feature.
        compat: pieces of 120 s by themselves, and 30 frames per second whatever the video's rate.
        device: where the network runs.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such model.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        name: str = "wav2vec",
        compat: bool = False,
        device: str = "cpu",
    ) -> None:
        library = transformers()
        self.name = name
        self._compat = compat
        self._device = device
        # The feature extractor, not the processor: the latter needs a tokeniser.
        self._prepare = from_pretrained(library.AutoFeatureExtractor, source)
        self.network = from_pretrained(library.AutoModel, source).float().to(device).eval()
        config = self.network.config
        self.width = config.hidden_size
        self._hop = int(np.prod(config.conv_stride))
        jumps = np.cumprod([1, *config.conv_stride[:-1]])
        self._field = 1 + int(((np.array(config.conv_kernel) - 1) * jumps).sum())

    @torch.inference_mode()
    def __call__(
        self, audio: Audio, times_s: Float[np.ndarray, " frames"]
    ) -> Float32[Tensor, "frames width"]:
        """Rows for the frames; beyond the sound, silence (compat: the last row goes on)."""
        starts_s, ends_s = frame_spans(times_s, thirty_fps=self._compat)
        if self._compat:
            rows = self._separate_rows(audio.samples)
        else:
            audio = audio.covering(starts_s[0], ends_s[-1])
            starts_s, ends_s = starts_s - audio.start_s, ends_s - audio.start_s
            rows = self._rows(audio.samples)
        return torch.from_numpy(average_rows(rows, self._hop / audio.rate, starts_s, ends_s))

    def _rows(self, samples: np.ndarray) -> Float32[np.ndarray, "rows width"]:
        signal = self._normalised(samples)
        count = (len(signal) - self._field) // self._hop + 1
        piece, overlap = (
            self._prepare.sampling_rate * s // self._hop for s in (PIECE_S, OVERLAP_S)
        )
        parts = []
        for first in range(0, count, piece):
            last = min(first + piece, count)
            begin, end = max(0, first - overlap), min(count, last + overlap)
            # The last piece keeps the samples beyond its last row: some layers normalise over them.
            stop = len(signal) if end == count else (end - 1) * self._hop + self._field
            rows = self._run(signal[begin * self._hop : stop])
            parts.append(rows[first - begin : last - begin])
        return np.concatenate(parts)

    def _separate_rows(self, samples: np.ndarray) -> Float32[np.ndarray, "rows width"]:
        length = UPSTREAM_PIECE_S * self._prepare.sampling_rate
        starts = range(0, len(samples), length)
        parts = [self._run(self._normalised(samples[s : s + length])) for s in starts]
        whole = [fit_length(part, length // self._hop) for part in parts[:-1]]
        return np.concatenate([*whole, parts[-1]])

    def _normalised(self, samples: np.ndarray) -> Float32[np.ndarray, " samples"]:
        # Shorter sound than one row needs is filled up with silence.
        samples = np.pad(samples, (0, max(0, self._field - len(samples))))
        ready = self._prepare(
            samples, sampling_rate=self._prepare.sampling_rate, return_tensors="np"
        )
        return np.asarray(ready["input_values"][0], np.float32)

    def _run(self, signal: np.ndarray) -> Float32[np.ndarray, "rows width"]:
        hidden = self.network(torch.from_numpy(signal)[None].to(self._device)).last_hidden_state
        return np.asarray(hidden[0].float().cpu().numpy())
