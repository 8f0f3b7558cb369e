"""The card of a network: what it reads and predicts, what it is for, and what it must not be used for."""

from __future__ import annotations

from asal_vrvqa.config import QualityModelConfig
from shared_core.reporting.card import model_card

LIMITS = (
    "It predicts the mean opinion of the viewers of its training data. Other people, headsets and "
    "viewing conditions give other opinions.",
    "It sees seven single frames and no motion between them: stutter, judder and sound do not count.",
    "It was made for equirectangular video seen from a start direction; cubemaps, stereo pairs and "
    "180-degree video must be converted first.",
    "A score is no measurement of bit rate or fidelity, and must not stand alone where money or people "
    "depend on it.",
)

CITATION = """
@article{zhou2025asal,
  title   = {Adaptive Score Alignment Learning for Continual Perceptual Quality Assessment of
             360-Degree Videos in Virtual Reality},
  author  = {Zhou, Kanglei and others},
  journal = {IEEE Transactions on Visualization and Computer Graphics},
  eprint  = {2502.19644},
  archivePrefix = {arXiv},
  year    = {2025}
}
"""

USAGE = """
from asal_vrvqa import QualityModel

model = QualityModel.from_pretrained("path or hub id")
model.predict("video.mp4", seconds=7, yaw=0, pitch=0)
"""

_SEES = {
    "sphere": "on the sphere, in {parts} bands of latitude",
    "plain": "on the flat equirectangular picture",
    "viewport": "on viewports along the viewers' scanpaths",
}


def not_mos(config: QualityModelConfig) -> str | None:
    """What has to be said wherever a score of this model is shown; None for one trained on MOS."""
    if not config.trained:
        return "this model has never been trained on scores: they mean nothing"
    if config.scale.name != "MOS":
        return (
            f"these scores are {config.scale.name}, not opinion scores (MOS): nothing here is calibrated "
            "to MOS"
        )
    return None


def card(config: QualityModelConfig) -> str:
    """Markdown of the card of a network with these settings; measured figures are left to who has any."""
    network, scale = config.network, config.scale
    sees = _SEES[network.backbone].format(parts=network.parts)
    note = not_mos(config)
    return model_card(
        title="Quality of 360-degree video",
        summary=f"Scores 360-degree video as a network of asal-vrvqa. It reads {network.frames} frames "
        f"of {network.height} by {network.width} pixels, a ResNet-18 {sees}, and gives {scale.name} "
        f"from {scale.low:g} to {scale.high:g}; higher is better.",
        package="asal-vrvqa",
        tags=("video-quality-assessment", "360-degree-video", "continual-learning"),
        intended_use="Research on the quality of 360-degree video, and a first sorting of many videos "
        "that a person looks at afterwards.",
        limits=LIMITS if note is None else (f"{note[0].upper()}{note[1:]}.", *LIMITS),
        usage=USAGE,
        citation=CITATION,
    )
