"""The commands of `abaw-va`."""

from __future__ import annotations

from collections.abc import Sequence

from shared_core.commands import Verb
from shared_core.commands import main as run_commands

VERBS = (
    Verb(
        "prepare annotations",
        "abaw_va.config:AnnotationsConfig",
        "abaw_va.data.prepare:annotations_command",
        "Make a data root from the annotation texts of Aff-Wild2.",
    ),
    Verb(
        "prepare tables",
        "abaw_va.config:TablesConfig",
        "abaw_va.data.prepare:tables_command",
        "Make a data root from tables with one row per frame.",
    ),
    Verb(
        "prepare folds",
        "abaw_va.config:FoldsConfig",
        "abaw_va.data.folds:command",
        "Deal the training videos into cross-validation folds.",
    ),
    Verb(
        "extract",
        "abaw_va.config:ExtractConfig",
        "abaw_va.extract:command",
        "Make the features of a data root from its videos.",
    ),
    Verb(
        "train",
        "abaw_va.config:TrainConfig",
        "abaw_va.learner:command",
        "Train a network.",
        launch=True,
    ),
    Verb(
        "evaluate",
        "abaw_va.config:EvaluateConfig",
        "abaw_va.evaluate:command",
        "Judge a network, and write the challenge's result files.",
    ),
    Verb(
        "predict",
        "abaw_va.config:PredictConfig",
        "abaw_va.predict:command",
        "Valence and arousal for every frame of your videos.",
    ),
    Verb(
        "smooth",
        "abaw_va.config:SmoothConfig",
        "abaw_va.results:smooth_command",
        "Smooth result files anew, or search the best window.",
    ),
    Verb(
        "ensemble",
        "abaw_va.config:EnsembleConfig",
        "abaw_va.results:ensemble_command",
        "Average the results of several networks.",
    ),
    Verb(
        "submit",
        "abaw_va.config:SubmitConfig",
        "abaw_va.results:submit_command",
        "Write the challenge's text files.",
    ),
    Verb(
        "convert",
        "abaw_va.config:ConvertConfig",
        "abaw_va.weights:command",
        "Turn the authors' .pth files into a model, or back.",
    ),
    Verb(
        "demo",
        "abaw_va.config:DemoConfig",
        "abaw_va.demo:command",
        "Train, evaluate and predict on embedded data, in about a minute.",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a line, by default that of the process; returns its exit status."""
    return run_commands("abaw-va", "abaw_va", VERBS, argv)
