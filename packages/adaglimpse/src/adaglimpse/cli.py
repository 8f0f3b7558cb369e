"""The commands of `adaglimpse`."""

from __future__ import annotations

from collections.abc import Sequence

from shared_core.commands import Verb
from shared_core.commands import main as run_commands

VERBS = (
    Verb(
        "prepare check",
        "adaglimpse.config:CheckConfig",
        "adaglimpse.data.check:command",
        "Look at every image of a data set.",
    ),
    Verb(
        "prepare imagenet",
        "adaglimpse.config:ImagenetConfig",
        "adaglimpse.data.imagenet:command",
        "Unpack ImageNet's archives into folders of classes.",
    ),
    Verb(
        "train",
        "adaglimpse.config:TrainConfig",
        "adaglimpse.learner:command",
        "Train a backbone, and the policy that chooses its glimpses.",
        launch=True,
    ),
    Verb(
        "evaluate",
        "adaglimpse.config:EvaluateConfig",
        "adaglimpse.evaluate:command",
        "Judge a model at every number of glimpses.",
    ),
    Verb(
        "predict",
        "adaglimpse.config:PredictConfig",
        "adaglimpse.predict:command",
        "Look at your own images and videos.",
    ),
    Verb(
        "convert",
        "adaglimpse.config:ConvertConfig",
        "adaglimpse.weights:command",
        "Turn the authors' weights, MAE's, or a teacher's into ours.",
    ),
    Verb(
        "demo",
        "adaglimpse.config:DemoConfig",
        "adaglimpse.demo:command",
        "Learn where to look on embedded data, beside fixed ways to look.",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a line, by default that of the process; returns its exit status."""
    return run_commands("adaglimpse", "adaglimpse", VERBS, argv)
