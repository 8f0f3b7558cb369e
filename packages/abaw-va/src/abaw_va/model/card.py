"""The card of a network: what it reads and predicts, what it is for, and what it must not be used for."""

from __future__ import annotations

from abaw_va.config import VaModelConfig
from shared_core.config.fields import kind_of
from shared_core.reporting.card import model_card

SCALES = {
    "valence": "valence (-1 unpleasant to 1 pleasant)",
    "arousal": "arousal (-1 calm to 1 excited)",
}
"""What the ends of each scale mean."""

LIMITS = (
    "It estimates how a face and a voice appear to annotators. It does not measure what a person "
    "feels, and must not be the ground for decisions about people, such as hiring, grading, credit, "
    "care or policing.",
    "Emotion recognition is restricted by law in some places and settings, the workplace and schools "
    "among them.",
    "Errors differ between people, cultures, languages, ages, cameras and light; they were not "
    "measured here.",
    "A frame without a face rests on the nearest frame that has one, or on the sound alone; `predict` "
    "flags such frames.",
    "It follows one person. Other voices in the sound are taken for that person's.",
    "It can be used only with features that are made exactly as those it was trained on.",
)

CITATION = """
@article{meng2022multimodal,
  title   = {Multi-modal Emotion Estimation for in-the-wild Videos},
  author  = {Meng, Liyu and others},
  journal = {arXiv preprint arXiv:2203.13032},
  year    = {2022}
}
"""

USAGE = """
from abaw_va import VaModel

trace = VaModel.from_pretrained("path or hub id").predict("clip.mp4")
trace.times_s, {columns}
"""


def card(config: VaModelConfig) -> str:
    """Markdown of the card of a network with these settings; measured figures are left to who has any."""
    predicted = " and ".join(SCALES[target] for target in config.target_names)
    features = ", ".join(config.features)
    normalised = (
        f" It normalises {', '.join(config.normalise)} by the statistics of "
        f"{'its training frames' if config.norm_method == 'trn' else 'each video'}."
        if config.normalise
        else ""
    )
    return model_card(
        title=f"Valence and arousal: {kind_of(type(config.model))}",
        summary=f"Estimates {predicted} for every frame of a video, as a network of abaw-va. "
        f"It reads the features {features} ({config.input_width} columns), a row per frame.{normalised} "
        "Raw predictions have no limits; they are smoothed and clipped to [-1, 1].",
        package="abaw-va",
        tags=("emotion-recognition", "valence-arousal", "affective-computing", "video", "audio"),
        intended_use="Research on affect in video, and traces that a person looks at with the video "
        "beside them: usability studies, annotation aids, teaching.",
        limits=LIMITS,
        usage=USAGE.format(columns=", ".join(f"trace.{name}" for name in config.target_names)),
        citation=CITATION,
    )
