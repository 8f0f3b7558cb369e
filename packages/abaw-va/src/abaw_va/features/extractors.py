"""Extractors by the name of their feature."""

from __future__ import annotations

import difflib
from pathlib import Path

from abaw_va.features.base import FrameExtractor, SoundExtractor
from abaw_va.features.denseface import DenseFaceExtractor
from abaw_va.features.light import LogMel, Pixels
from abaw_va.features.opensmile import OpensmileExtractor
from abaw_va.features.vggish import VggishExtractor
from abaw_va.features.vision import VisionExtractor
from abaw_va.features.wav2vec import Wav2vecExtractor
from shared_core.errors import UsageError

Extractor = FrameExtractor | SoundExtractor

WITHOUT_WEIGHTS = ("pixels", "logmel", "compare", "egemaps")
"""Features that can be computed from a video alone."""
WITH_WEIGHTS = ("denseface", "affectnet", "vggish", "vggish_norm", "wav2vec", "vision")
"""Features that need the weights of a network."""


def extractor(
    name: str, weights: Path | str | None = None, *, device: str = "cpu", compat: bool = False
) -> Extractor:
    """The extractor of a feature.

    What follows a known name after an underscore is a suffix of the user's, so that the features of
    several networks can stand side by side: `vision_dinov2`, `affectnet_arousal`.

    Args:
        name: of the feature: one of `WITHOUT_WEIGHTS` or `WITH_WEIGHTS`, a suffix allowed.
        weights: a file; for `wav2vec` and `vision` a folder, a hub id, or a hub id@revision.
        device: where a network runs.
        compat: sound as the authors mapped it: 30 frames per second for every video, and wav2vec in
            separate pieces of 120 s.

    Raises:
        UsageError: an unknown name, or weights that are missing or have no use.
        MissingExtraError: a library is not installed.
        CheckpointError: weights of something else.
    """
    known = (*WITHOUT_WEIGHTS, *WITH_WEIGHTS)
    named = [kind for kind in known if name == kind or name.startswith(f"{kind}_")]
    kind = max(named, key=len, default="")
    if not kind:
        near = difflib.get_close_matches(name.partition("_")[0], known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no extractor for the feature {name!r}.{hint} Known: {', '.join(known)}.\n"
            "Features of your own tables come from no video; `abaw-va evaluate` reads them in a data root."
        )
    if kind in WITHOUT_WEIGHTS and weights is not None:
        raise UsageError(f"the feature {name!r} has no weights; found {str(weights)!r}.")
    made = _light(kind, name, compat) if weights is None else _heavy(kind, weights, device, compat)
    made.name = name
    return made


def _light(kind: str, name: str, compat: bool) -> Extractor:
    match kind:
        case "pixels":
            return Pixels()
        case "logmel":
            return LogMel()
        case "compare" | "egemaps":
            return OpensmileExtractor(kind, compat=compat)
    raise UsageError(f"the feature {name!r} needs weights: --weights {name}=PATH")


def _heavy(kind: str, weights: Path | str, device: str, compat: bool) -> Extractor:
    match kind:
        case "vggish" | "vggish_norm":
            scaled = kind == "vggish_norm"
            return VggishExtractor(weights, scaled=scaled, compat=compat, device=device)
        case "wav2vec":
            return Wav2vecExtractor(weights, compat=compat, device=device)
        case "vision":
            return VisionExtractor(weights, device=device)
    return DenseFaceExtractor(weights, device=device)
