"""Image and video quality, rated and explained by a tuned vision-language model.

    from refine_iqa import QualityScorer

    scorer = QualityScorer.from_pretrained("runs/night")
    scorer.predict(["photo.jpg"])[0].score  # 1 (bad) to 5 (excellent)

Importing the package costs nothing; each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from shared_core.public_names import load_when_used

__version__ = "0.1.0"

_HOME = {
    "QualityMetric": "scoring",
    "QualityScorer": "scoring",
    "TrainConfig": "config",
    "evaluate": "evaluate",
    "predict": "predict",
    "train": "learner",
}

__all__ = ["QualityMetric", "QualityScorer", "TrainConfig", "evaluate", "predict", "train"]

if TYPE_CHECKING:
    from refine_iqa.config import TrainConfig
    from refine_iqa.evaluate import evaluate
    from refine_iqa.learner import train
    from refine_iqa.predict import predict
    from refine_iqa.scoring import QualityMetric, QualityScorer

load_when_used(__name__, _HOME)
