"""The commands of `asal-vrvqa`."""

from __future__ import annotations

from collections.abc import Sequence

from shared_core.commands import Verb
from shared_core.commands import main as run_commands

VERBS = (
    Verb(
        "prepare frames",
        "asal_vrvqa.config:FramesConfig",
        "asal_vrvqa.data.prepare:frames_command",
        "Turn raw 360-degree videos into frames, turned to the viewers' start.",
    ),
    Verb(
        "prepare viewports",
        "asal_vrvqa.config:ViewportsConfig",
        "asal_vrvqa.data.prepare:viewports_command",
        "Cut viewports along scanpaths out of raw 360-degree videos.",
    ),
    Verb(
        "prepare splits",
        "asal_vrvqa.config:SplitsConfig",
        "asal_vrvqa.data.check:command",
        "Write down which clips a run would train and test on.",
    ),
    Verb(
        "train",
        "asal_vrvqa.config:TrainConfig",
        "asal_vrvqa.learner:command",
        "Train on one set of clips, or on a stream of scene categories.",
        launch=True,
    ),
    Verb(
        "compare",
        "asal_vrvqa.config:CompareConfig",
        "asal_vrvqa.compare:command",
        "Learn one stream by several strategies, side by side.",
    ),
    Verb(
        "evaluate",
        "asal_vrvqa.config:EvaluateConfig",
        "asal_vrvqa.evaluate:command",
        "Judge a model, or all task models of a run.",
    ),
    Verb(
        "landscape",
        "asal_vrvqa.config:LandscapeConfig",
        "asal_vrvqa.landscape:command",
        "How the loss grows around a run's task models.",
    ),
    Verb(
        "predict",
        "asal_vrvqa.config:PredictConfig",
        "asal_vrvqa.predict:command",
        "Score your 360-degree videos.",
    ),
    Verb(
        "convert",
        "asal_vrvqa.config:ConvertConfig",
        "asal_vrvqa.weights:command",
        "Turn the authors' weights into a model, or a model into a graph for other programs.",
    ),
    Verb(
        "demo",
        "asal_vrvqa.config:DemoConfig",
        "asal_vrvqa.demo:command",
        "Learn a stream, compare strategies and score a video, on embedded data.",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a line, by default that of the process; returns its exit status."""
    return run_commands("asal-vrvqa", "asal_vrvqa", VERBS, argv)
