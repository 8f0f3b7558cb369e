"""The maths of the refine strategy, without models."""

from refine_iqa.method.advantages import group_advantages, refine_advantages
from refine_iqa.method.labels import label_text
from refine_iqa.method.probability import probability_difference, probability_of_tokens

__all__ = [
    "group_advantages",
    "label_text",
    "probability_difference",
    "probability_of_tokens",
    "refine_advantages",
]
