"""The commands of `gaze-da`."""

from __future__ import annotations

from collections.abc import Sequence

from shared_core.commands import Verb
from shared_core.commands import main as run_commands

VERBS = (
    Verb(
        "prepare depth",
        "gaze_da.config:DepthConfig",
        "gaze_da.data.depth:command",
        "Make the depth pictures of a data set or a folder.",
    ),
    Verb(
        "prepare check",
        "gaze_da.config:CheckConfig",
        "gaze_da.data.check:command",
        "List everything in a data set that cannot be used.",
    ),
    Verb(
        "prepare goo",
        "gaze_da.config:GooConfig",
        "gaze_da.data.goo:command",
        "Turn GOO-Real's pickled annotations into JSON lines.",
    ),
    Verb(
        "train",
        "gaze_da.config:TrainConfig",
        "gaze_da.learner:command",
        "Train a network, with or without adaptation to another domain.",
        launch=True,
    ),
    Verb(
        "evaluate",
        "gaze_da.config:EvaluateConfig",
        "gaze_da.evaluate:command",
        "Judge a network on a benchmark.",
    ),
    Verb(
        "predict",
        "gaze_da.config:PredictConfig",
        "gaze_da.predict:command",
        "Where the people in your pictures and videos look.",
    ),
    Verb(
        "convert",
        "gaze_da.config:ConvertConfig",
        "gaze_da.weights:command",
        "Turn the authors' weights into a model, or a model into ONNX.",
    ),
    Verb(
        "demo",
        "gaze_da.config:DemoConfig",
        "gaze_da.demo:command",
        "Train, adapt, evaluate and predict on embedded data.",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a line, by default that of the process; returns its exit status."""
    return run_commands("gaze-da", "gaze_da", VERBS, argv)
