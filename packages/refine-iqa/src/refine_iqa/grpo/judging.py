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
from shared_core.data.quarantine import BadRow, Quarantine
from shared_core.errors import UserError
from shared_core.metrics.measure import Measure


def judge_on(
    rows: Sequence[Row], config: TrainConfig, trainer: QualityTrainer, quarantine: Quarantine
) -> Callable[[], Mapping[str, Measure]]:
    """A function that scores validation rows with the policy as it is; every process calls it.

    Each process scores its share. Videos are shown as they are in training: as images after their times.
    The function raises UserError where files cannot be read that should be, or too many of them.

    Args:
        rows: with scores.
        config: the run's settings.
        trainer: whose policy is judged.
        quarantine: where each process lists those of its rows that cannot be read.
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
        for row, one in zip(mine, found, strict=True):
            if one.error is not None:
                quarantine.merge([BadRow(str(one.path), row.where, one.error)])
        mos = [row.solution for row in mine]
        pairs = gather_object(list(zip(found, mos, strict=True)))
        unread = [one for one, _ in pairs if one.error is not None]
        borne = 0 if config.on_bad_row == "raise" else quarantine.limit_share * len(rows)
        if len(unread) > borne:
            raise UserError(
                f"validation: {len(unread)} of {len(rows)} rows cannot be used. The first of them:\n"
                f"{unread[0].error}"
            )
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
