"""The card of a network: what it reads and predicts, what it is for, and what it must not be used for."""

from __future__ import annotations

from gaze_da.config import GazeModelConfig
from shared_core.reporting.card import model_card

LIMITS = (
    "It estimates where a head seems to be turned and what lies there. It does not measure attention, "
    "interest or intent, and must not be the ground for decisions about people, such as grading, "
    "hiring, care or policing.",
    "It needs the head's box: what a detector misses or misplaces is missed or misplaced here.",
    "It sees one picture at a time and no movement of the eyes; small, blurred and averted heads are "
    "uncertain.",
    "The depth is an estimate from the same picture, scaled for each picture by itself: it carries no "
    "distances.",
    "Errors differ between people, places, cameras and light; they were not measured here.",
)

UNTRAINED = "Its in/out head is untrained: nothing is said about whether the target lies inside the picture."

CITATION = """
@inproceedings{tonini2022multimodal,
  title     = {Multimodal Across Domains Gaze Target Detection},
  author    = {Tonini, Francesco and Beyan, Cigdem and Ricci, Elisa},
  booktitle = {International Conference on Multimodal Interaction},
  doi       = {10.1145/3536221.3556624},
  year      = {2022}
}
"""

USAGE = """
from gaze_da import GazeModel

model = GazeModel.from_pretrained("path or hub id")
model.predict("photo.jpg", heads=[(0.1, 0.2, 0.3, 0.4)])
"""


def card(config: GazeModelConfig) -> str:
    """Markdown of the card of a network with these settings; measured figures are left to who has any."""
    sizes, reading = config.network, config.reading
    adapted = [
        name
        for has, name in (
            (config.head_da, "an adversary on its head branch"),
            (config.rgb_depth_da, "reconstruction between colour and depth"),
        )
        if has
    ]
    depth = "its depth picture" if reading.depth == "files" else "no depth (a black picture)"
    return model_card(
        title="Gaze target detection" + (", adapted to another domain" if adapted else ""),
        summary=f"Predicts where in a picture a person looks, as a network of gaze-da. It reads the "
        f"picture, {depth} and the box of the head, widened by {reading.head_expansion:g} of its size, "
        f"at {sizes.input_size} pixels a side. It gives a heat map of {sizes.output_size} by "
        f"{sizes.output_size} cells, and a logit that the target lies inside the picture."
        + (f" It was adapted by {' and '.join(adapted)}." if adapted else ""),
        package="gaze-da",
        tags=("gaze-target-detection", "gaze-following", "domain-adaptation", "depth"),
        intended_use="Research on where people look in pictures and videos, read by a person with the "
        "picture beside it: social behaviour, human-robot interaction, retail, teaching.",
        limits=LIMITS if config.inout_trained else (UNTRAINED, *LIMITS),
        usage=USAGE,
        citation=CITATION,
    )
