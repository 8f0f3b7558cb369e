"""The card of a model: what it looks at and says, what it is for, and what it must not be used for."""

from __future__ import annotations

from adaglimpse.config import PATCH, GlimpseModelConfig
from shared_core.reporting.card import model_card

LIMITS = (
    "It sees a share of each image and guesses the rest: what it reconstructs outside its glimpses was "
    "never looked at.",
    "Images are squeezed to one size, whatever their shape; what is far from the training images is "
    "explored badly without notice.",
    "Its confidence is not calibrated; stopping early by it trades accuracy for glimpses.",
)

CITATION = """
@inproceedings{pardyl2024adaglimpse,
  title     = {AdaGlimpse: Active Visual Exploration with Arbitrary Glimpse Position and Scale},
  author    = {Pardyl, Adam and Wronka, Michal and Wolczyk, Maciej and Adamczewski, Kamil and
               Trzcinski, Tomasz and Zielinski, Bartosz},
  booktitle = {European Conference on Computer Vision},
  eprint    = {2404.03482},
  archivePrefix = {arXiv},
  year      = {2024}
}
"""

USAGE = """
from adaglimpse import GlimpseModel

model = GlimpseModel.from_pretrained("path or hub id")
model.predict(["photo.jpg"])[0].boxes
"""

_SAYS = {
    "reconstruction": "reconstructs the whole image",
    "classification": "names the class of the image, of {classes}",
    "segmentation": "names the class of every pixel, of {classes}",
}


def untaught(config: GlimpseModelConfig) -> str | None:
    """What has to be said wherever something of this model is shown; None for one that was trained."""
    if config.trained:
        return None
    return "this model's policy has never been trained: it looks at random, and its answers mean little"


def card(config: GlimpseModelConfig) -> str:
    """Markdown of the card of a model; measured figures are left to who has any."""
    height, width = config.image_size
    says = _SAYS[config.task].format(classes=config.num_classes)
    note = untaught(config)
    return model_card(
        title="Active visual exploration",
        summary=f"Looks at an image of {height} by {width} pixels through {config.num_glimpses} glimpses "
        f"of {PATCH * config.glimpse_grid_size} by {PATCH * config.glimpse_grid_size} pixels, whose "
        f"places and scales it chooses one after another, and {says}.",
        package="adaglimpse",
        tags=("active-vision", config.task),
        intended_use="Research on where to look, and on perception with a budget of pixels.",
        limits=LIMITS if note is None else (f"{note[0].upper()}{note[1:]}.", *LIMITS),
        usage=USAGE,
        citation=CITATION,
    )
