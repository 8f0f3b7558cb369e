"""What every run shares: networks, optimisers, rates, evaluation, and what survives a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import DistributedType
from jaxtyping import Float64
from torch import Tensor, nn

from adaglimpse.config import Policy, TrainConfig
from adaglimpse.data.items import ImageBatch, ImageDataset, normalised
from adaglimpse.data.layouts import ImageSet
from adaglimpse.evaluate import judge
from adaglimpse.initial import initial_networks
from adaglimpse.method.sac import save_sac
from adaglimpse.method.schedule import one_cycle
from adaglimpse.method.tasks import Target, head_of
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import chooser
from adaglimpse.replay import Replay
from adaglimpse.results import LEADING, Judged
from shared_core.checkpoints.weights import save_weights
from shared_core.data.quarantine import Quarantine
from shared_core.errors import UsageError
from shared_core.launch.batch_norm import synchronise
from shared_core.launch.collectives import any_rank, average
from shared_core.metrics import Measure
from shared_core.training.learner import Learner, Outcome
from shared_core.training.schedules import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

    from shared_core.training.hands import Hands

TEACHER = "teacher.safetensors"
"""In the model folder of a run that trained a teacher."""


class GlimpseLearner(Learner):
    """What every run of AdaGlimpse shares; how an update is made, its kinds say.

    Args:
        config: the run's settings.
        images: training and validation images.
        device: where everything lies.
        quarantine: where validation images that cannot be used are listed.

    Attributes:
        judged_by: how glimpses are chosen where the run is judged.
        states: places of the schedule in an update.
        replay: the episodes that policy learns from; None in a run whose policy does not learn.
    """

    judged_by: Policy = "learnt"
    states: int = 1

    def __init__(
        self,
        config: TrainConfig,
        images: Mapping[str, ImageSet],
        device: torch.device | str = "cpu",
        quarantine: Quarantine | None = None,
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.quarantine = quarantine or Quarantine(config.on_bad_row)
        self.classes = classes = images["train"].classes
        self.score_name = LEADING[config.task]
        self.head = head_of(config.task, config.backbone_loss)
        self.val = ImageDataset(
            images["val"].samples,
            task=config.task,
            size=config.image_size,
            labels_above=config.labels_above,
            in_memory=config.in_memory,
        )
        networks = initial_networks(config, classes, self.device)
        self.network, self.sac, self.teacher = networks.network, networks.sac, networks.teacher
        self.notes = networks.notes
        self.learns_to_look = config.teaches_policy or networks.looks
        self.replay: Replay | None = None
        parts: dict[str, nn.Module] = {"network": self.network, "sac": self.sac}
        if config.teacher_pretraining and self.teacher is not None:
            parts["teacher"] = self.teacher
        self.model = nn.ModuleDict(parts)
        self._make_optimizers()

    def _backbone(self) -> nn.Module:
        """What the backbone's optimiser teaches: the teacher, where it learns alone."""
        if self.config.teacher_pretraining and self.teacher is not None:
            return self.teacher
        return self.network.mae

    def _make_optimizers(self) -> None:
        config = self.config
        self.backbone_optimizer = torch.optim.AdamW(
            [p for p in self._backbone().parameters() if p.requires_grad],
            lr=config.backbone_lr,
            weight_decay=config.backbone_decay,
        )
        # Their losses share no graph and are made before any of them steps: three groups of one
        # optimiser are three optimisers, and the processes agree on a step once instead of three times.
        self.policy_optimizer = torch.optim.AdamW(
            [
                {"params": list(self.network.actor.parameters()), "weight_decay": config.rl_decay},
                {"params": list(self.sac.critic_parameters()), "weight_decay": config.rl_decay},
                {"params": [self.sac.log_alpha], "weight_decay": config.alpha_decay},
            ],
            lr=config.lr,
        )
        self.optimizer = self.backbone_optimizer

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Of the backbone, and of actor, critics and temperature."""
        return {"backbone": self.backbone_optimizer, "policy": self.policy_optimizer}

    def prepare(self, accelerator: Accelerator) -> None:
        """Put the optimisers under the processes' wrappers; the gradients are averaged by `_step`.

        Raises:
            UsageError: the weights would be cut over the processes, or a batch does not divide.
        """
        config, world = self.config, accelerator.num_processes
        if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP):
            raise UsageError(
                f"--launch {config.launch}: policy and backbone learn in turn, each with whole weights on "
                "each process. Choose ddp, gpu, cpu or cpu-2."
            )
        if config.batch_size % world:
            raise UsageError(
                f"--batch-size {config.batch_size}: expected a multiple of the {world} processes, each of "
                "which plays as many episodes."
            )
        if world > 1:
            synchronise(self.network.mae)
            if self.teacher is not None:
                synchronise(self.teacher)
        if config.compile:
            for block in (
                *self.network.mae.blocks,
                *getattr(self.network.mae, "decoder_blocks", ()),
            ):
                block.mlp.compile(dynamic=True)
        self._bare_model, self._accelerator = self.model, accelerator
        self.backbone_optimizer, self.policy_optimizer = accelerator.prepare(
            self.backbone_optimizer, self.policy_optimizer
        )
        self.optimizer = self.backbone_optimizer

    # Where the run stands

    def schedule(self, progress: Progress) -> float:
        """Factor on the rates at the first state of the update."""
        return self._cycle(progress, 0)[0]

    def _cycle(self, progress: Progress, state: int) -> tuple[float, float]:
        total = progress.steps_per_epoch * progress.epochs * self.states
        # the authors' schedulers step before the first state
        return one_cycle(
            progress.step * self.states + state + 1,
            total,
            cycle_momentum=self.config.cycle_momentum,
        )

    def _set_rates(self, state: int) -> None:
        if self.progress is None:
            return
        rate, beta = self._cycle(self.progress, state)
        for optimizer in self.optimizers().values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
                group["betas"] = (beta, group["betas"][1])

    # One update

    def update(self, micro_batches: Sequence[ImageBatch], hands: Hands) -> Outcome:
        """Learn from the images of a batch, where every process has some that count."""
        counting = [batch.that_count() for batch in micro_batches]
        if any_rank([not all(len(batch.indices) for batch in counting)])[0]:
            hands.step(self.policy_optimizer, [], skip=True)
            return Outcome(loss=torch.zeros(()), skipped=True)
        return self._learn(counting, hands)

    def _learn(self, batches: Sequence[ImageBatch], hands: Hands) -> Outcome:
        """One update, from images that count."""
        raise NotImplementedError(f"{type(self).__name__} makes no update")

    def _global(self, loss: Tensor) -> Tensor:
        """A loss that is a sum over images, so that its mean over the processes is the sum over all."""
        summed = self.config.task == "reconstruction" and self.config.backbone_loss == "sum"
        return loss * self.world if summed else loss

    def _target(self, batch: ImageBatch) -> Target:
        images = normalised(batch.images)
        teacher = None
        if self.teacher is not None and not self.config.teacher_pretraining:
            with torch.no_grad():
                teacher = self.teacher(images)
        return Target(images, batch.labels, batch.masks, teacher)

    def _step(
        self, optimizer: torch.optim.Optimizer, clipped: Sequence[nn.Module], hands: Hands
    ) -> float:
        """A step along the gradient that is the mean over the processes."""
        groups = [group["params"] for group in optimizer.param_groups]
        average([p.grad for group in groups for p in group if p.grad is not None])
        return hands.step(optimizer, clipped)

    # How it is judged

    def evaluate(self) -> Mapping[str, Measure]:
        """Measures on the validation images, which the processes share among themselves."""
        config = self.config
        rank, world = self.shares()
        left_out = Quarantine(config.on_bad_row)
        options: dict[str, Any] = {
            "batch_size": config.eval_batch_size,
            "rank": rank,
            "world": world,
            "workers": config.workers,
            "quarantine": left_out,
        }
        table = self._judged(options)
        self.quarantine.merge(left_out.rows)
        judged = Judged.of(config.task, self.sum_of_shares(table))
        found = judged.measures(judged.glimpses, config.seed, compat=config.compat.metrics)
        if config.early_stop_threshold is not None:
            found["glimpses"] = Measure(value=judged.used(), higher_is_better=False)
        return found

    def _judged(self, options: Mapping[str, Any]) -> Float64[np.ndarray, "n K columns"]:
        """Scores of this process's validation images."""
        config = self.config
        choose = chooser(
            self.judged_by, self.network, config.num_glimpses, config.eval_action, config.seed
        )
        return judge(
            self.network,
            self.val,
            choose,
            threshold=config.early_stop_threshold,
            last_only=True,
            **options,
        )

    def describe(self, micro_batches: Sequence[ImageBatch]) -> str:
        """Images of a batch."""
        return ", ".join(name for batch in micro_batches for name in batch.that_count().names)

    # What survives a restart

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the model, and beside it what its policy can be trained on with."""
        parts = {
            part: {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in weights.items()
                if name.startswith(f"{part}.")
            }
            for part in ("network", "sac", "teacher")
        }
        finished = GlimpseModel(replace(self.network.config, trained=self.learns_to_look))
        finished.load_state_dict(parts["network"])
        finished.save_pretrained(folder)
        save_sac(folder, parts["sac"])
        if parts["teacher"]:
            save_weights(folder / TEACHER, parts["teacher"])
