"""The commands of `refine-iqa`."""

from __future__ import annotations

from collections.abc import Sequence

from shared_core.commands import Verb
from shared_core.commands import main as run_commands

VERBS = (
    Verb(
        "prepare check",
        "refine_iqa.config:CheckConfig",
        "refine_iqa.data.check:command",
        "Read every row of a training table and decode what it names.",
    ),
    Verb(
        "prepare perception-db",
        "refine_iqa.config:PerceptionConfig",
        "refine_iqa.perception.database:command",
        "Distort pristine images and ask about it: the data of stage 1.",
    ),
    Verb(
        "prepare tiny-model",
        "refine_iqa.config:TinyModelConfig",
        "refine_iqa.model.tiny:command",
        "Write a tiny random model, to try a command line.",
    ),
    Verb(
        "train",
        "refine_iqa.config:TrainConfig",
        "refine_iqa.learner:command",
        "Tune a vision-language model by GRPO.",
        launch=True,
    ),
    Verb(
        "evaluate",
        "refine_iqa.config:EvaluateConfig",
        "refine_iqa.evaluate:command",
        "Judge a model on a benchmark.",
    ),
    Verb(
        "predict",
        "refine_iqa.config:PredictConfig",
        "refine_iqa.predict:command",
        "Rate your own images and videos.",
    ),
    Verb(
        "convert",
        "refine_iqa.config:ConvertConfig",
        "refine_iqa.weights:command",
        "Make a model folder that stands alone; merge LoRA adapters.",
    ),
    Verb(
        "demo",
        "refine_iqa.config:DemoConfig",
        "refine_iqa.demo:command",
        "Teach a tiny model on embedded pictures, and show what it learnt.",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a line, by default that of the process; returns its exit status."""
    return run_commands("refine-iqa", "refine_iqa", VERBS, argv)
