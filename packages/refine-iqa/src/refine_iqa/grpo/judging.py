"""How good the policy's scores are, while it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from accelerate.utils import gather_object
from trl.models import unwrap_model_for_generation

from refine_iqa.config import TrainConfig
from refine_iqa.data.rows import Row
from refine_iqa.grpo.trainer import QualityTrainer
from refine_iqa.results import measures
from refine_iqa.scoring import Prediction, QualityScorer
from shared_core.errors import UserError
from shared_core.metrics.measure import Measure


def judge_on(
    rows: Sequence[Row], config: TrainConfig, trainer: QualityTrainer
) -> Callable[[], Mapping[str, Measure]]:
    """A function that scores validation rows with the policy as it is; every process calls it.

    Each process scores its share. Videos are shown as they are in training: as images after their times.

    Args:
        rows: with scores.
        config: the run's settings.
        trainer: whose policy is judged.
    """
    accelerator = trainer.accelerator
    first, step = accelerator.process_index, accelerator.num_processes

    def judge() -> Mapping[str, Measure]:
        mine = rows[first::step]
        # Sharded weights are gathered while the block runs, so processes need not keep in step.
        with unwrap_model_for_generation(
            trainer.model_wrapped,
            accelerator,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as policy:
            scorer = QualityScorer(
                policy, trainer.processing_class, media=config, video_as="frames"
            )
            found = scorer.predict(
                [row.media[0] if len(row.media) == 1 else row.media for row in mine],
                question=[row.question for row in mine],
                mode=config.eval_mode,
                batch_size=config.eval_batch_size,
                max_new_tokens=config.max_completion_length,
                seed=config.seed,
                on_error="record",
            )
        mos = [row.solution for row in mine]
        pairs = gather_object(list(zip(found, mos, strict=True)))
        unread = [one for one, _ in pairs if one.error is not None]
        if unread and config.on_bad_row == "raise":
            raise UserError(f"validation: {unread[0].error}")
        read = [(one, float(value)) for one, value in pairs if one.error is None]
        return _measures([one for one, _ in read], [value for _, value in read])

    return judge


def _measures(found: Sequence[Prediction], mos: Sequence[float]) -> dict[str, Measure]:
    """Agreement of scores with opinions; `parsed` is there if the model wrote its answers."""
    score = torch.tensor([one.score for one in found], dtype=torch.float64)
    target = torch.tensor(mos, dtype=torch.float64)
    told = measures(score, target, kinds=("srcc", "plcc", "rmse"), resamples=0)
    written = [one.parsed for one in found if one.parsed is not None]
    if written:
        told["parsed"] = Measure(value=sum(written) / len(written))
    return told
