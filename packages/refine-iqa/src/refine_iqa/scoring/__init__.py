"""Scores of images and videos from a vision-language model: `QualityScorer`, and `QualityMetric` of tensors.

`digits` and `levels` read a score out of the model's probabilities, `continuations` finds these with two
passes, `reasoning` lets the model write, `inputs` makes a batch of pictures and questions.
"""

from refine_iqa.scoring.metric import QualityMetric
from refine_iqa.scoring.prediction import Prediction
from refine_iqa.scoring.scorer import QualityScorer

__all__ = ["Prediction", "QualityMetric", "QualityScorer"]
