"""How one update is made: a batch of episodes is played, and policy and backbone learn from it.

Every process plays episodes of its own, with a replay buffer of its own. They keep one policy, one pair
of critics and one backbone, because all begin from the same weights and every gradient is averaged
over the processes before its step, as are the running statistics of the policy's batch norms after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from adaglimpse.config import TrainConfig
from adaglimpse.data.items import ImageBatch, ImageDataset, normalised
from adaglimpse.data.layouts import ImageSet, read_images
from adaglimpse.data.training import training_loader
from adaglimpse.evaluate import judge, judge_teacher
from adaglimpse.game import Game, drawn
from adaglimpse.initial import initial_networks
from adaglimpse.method.actions import sample
from adaglimpse.method.glimpses import crop_patches
from adaglimpse.method.sac import Transitions, save_sac
from adaglimpse.method.schedule import one_cycle
from adaglimpse.method.tasks import IGNORED, Target, head_of
from adaglimpse.model.mae import Encoded
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import chooser
from adaglimpse.replay import Replay, Rewards
from adaglimpse.results import LEADING, Judged
from shared_core.checkpoints.weights import save_weights
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.data.quarantine import Quarantine
from shared_core.errors import UsageError
from shared_core.launch.accelerator import accelerator as connect
from shared_core.launch.batch_norm import synchronise
from shared_core.launch.collectives import any_rank, average
from shared_core.metrics import Measure
from shared_core.training.learner import Learner, Outcome
from shared_core.training.loop import fit
from shared_core.training.run import Run, Summary
from shared_core.training.schedules import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

    from shared_core.training.hands import Hands

TEACHER = "teacher.safetensors"
"""In the model folder of a run that trained a teacher."""

_ACTIONS, _REPLAY = 1, 2  # purposes of draws


class GlimpseLearner(Learner):
    """Plays episodes, and teaches policy and backbone in their phases.

    Args:
        config: the run's settings.
        images: training and validation images.
        device: where everything lies.
        quarantine: where validation images that cannot be used are listed.
    """

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
        parts: dict[str, nn.Module] = {"network": self.network, "sac": self.sac}
        if config.teacher_pretraining and self.teacher is not None:
            parts["teacher"] = self.teacher
        self.model = nn.ModuleDict(parts)
        self.replay: Replay | None = None
        if config.teaches_policy:
            self.replay = Replay(config.replay_buffer_size, self.network.config, self.device)
        self.rewards = Rewards(
            kind=config.reward_type,
            penalty=config.glimpse_size_penalty,
            of_next_action=config.compat.penalty_of_next_action,
        )
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
        if self.replay is not None and config.accumulate > 1:
            raise UsageError(
                "--accumulate: the episodes of a batch are played together; leave it at 1."
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

    @property
    def alone(self) -> bool:
        """Whether no episode is played: backbone or teacher learn alone."""
        return self.config.pretraining or self.config.teacher_pretraining

    @property
    def states(self) -> int:
        """Places of the schedule in an update: one for each state of an episode."""
        return 1 if self.alone else self.config.num_glimpses + 1

    def phase(self, epoch: int) -> tuple[bool, bool]:
        """Whether the policy learns in an epoch, and whether the backbone does."""
        kind = self.config.backbone_training_type
        if kind == "backbone-only":
            return False, True
        if kind == "disabled" or epoch < self.config.freeze_backbone_epochs:
            return True, False
        if kind == "constant":
            return True, True
        return epoch % 2 == 0, epoch % 2 == 1

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
        """Play a batch of episodes and learn from them; or learn from random patches."""
        if self.alone:
            return self._pretrain(micro_batches, hands)
        (batch,) = (micro_batch.that_count() for micro_batch in micro_batches)
        return self._left_out(hands) if self._some_have_none([batch]) else self._play(batch, hands)

    def _some_have_none(self, batches: Sequence[ImageBatch]) -> bool:
        """Whether all images of a process were left out: then none learns from its own."""
        return any_rank([not all(len(batch.indices) for batch in batches)])[0]

    def _left_out(self, hands: Hands) -> Outcome:
        hands.step(self.policy_optimizer, [], skip=True)
        return Outcome(loss=torch.zeros(()), skipped=True)

    def _pretrain(self, micro_batches: Sequence[ImageBatch], hands: Hands) -> Outcome:
        self._set_rates(0)
        counting = [batch.that_count() for batch in micro_batches]
        if self._some_have_none(counting):
            return self._left_out(hands)
        losses = []
        for batch in hands.accumulate(self.model, counting):
            with hands.autocast():
                loss = self._pretraining_loss(batch)
            hands.backward(loss)
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        norm = self._step(self.backbone_optimizer, [self._backbone()], hands)
        return Outcome(loss=mean, logs={"backbone_loss": mean, "gradient_norm": norm})

    def _pretraining_loss(self, batch: ImageBatch) -> Tensor:
        target = self._target(batch)
        if self.config.teacher_pretraining and self.teacher is not None:
            labels = target.masks.long()
            logits = self.teacher(target.images).float()
            losses = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
            return losses / (labels != IGNORED).sum().clamp(min=1)
        mae = self.network.mae
        tokens = mae.encode(crop_patches(target.images, batch.boxes), batch.boxes).tokens
        return self._global(self.head.loss(self.head.predict(mae, tokens), target))

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

    def _play(self, batch: ImageBatch, hands: Hands) -> Outcome:
        epoch = 0 if self.progress is None else self.progress.epoch
        teaches_policy, teaches_backbone = self.phase(epoch)
        if self.replay is not None and teaches_policy and self._turn_begins():
            self.replay.clear()
        with hands.autocast():
            game = self._begin(batch, keeps=teaches_policy)
        logs: list[Mapping[str, float | Tensor]] = []
        prediction = score = None
        for state in range(self.states):
            self._set_rates(state)
            final = state == self.states - 1
            judged = final or teaches_policy or self._stops_early
            acts = not final and not self._is_random(state)
            learns = final and teaches_backbone
            with torch.set_grad_enabled(learns), hands.autocast():
                encoded, prediction = self._think(game, judged, acts or teaches_policy)
            score = self._score(prediction, game)
            action = None if final else self._action(game, encoded)
            done = self._stop(game, score) if self._stops_early and not final else None
            if game.episodes is not None and encoded is not None and score is not None:
                self._remember(game, encoded, score, action, done)
                logs += self._teach_policy(state, hands)
            if done is not None:
                game.stopped = game.stopped | done
            if action is not None:
                game.views.look(action, game.stopped if self._stops_early else None)
        if teaches_backbone and prediction is not None:
            logs.append(self._teach_backbone(prediction, game, hands))
        elif not logs:
            hands.step(self.policy_optimizer, [], skip=True)  # the processes agree at every update
        average(_statistics(self.network.actor))  # each has acted on images of its own
        return _outcome(logs, score)

    def _turn_begins(self) -> bool:
        """Whether the policy's turn comes again with this update."""
        if not self.config.flush_replay or self.progress is None or self.progress.batch:
            return False
        return self.progress.epoch > 0 and not self.phase(self.progress.epoch - 1)[0]

    def _begin(self, batch: ImageBatch, *, keeps: bool) -> Game:
        config = self.config
        place = (0, 0) if self.progress is None else (self.progress.epoch, self.progress.batch)
        keys = [(config.seed, *place, item, _ACTIONS) for item in batch.indices.tolist()]
        uniform, normal = drawn(keys, config.num_glimpses)
        target = self._target(batch)
        return Game(
            views=self.network.views(target.images),
            target=target,
            uniform=uniform.to(self.device),
            normal=normal.to(self.device),
            episodes=self.replay.begin(len(batch)) if keeps and self.replay is not None else None,
            stopped=torch.zeros(len(uniform), dtype=torch.bool, device=self.device),
        )

    @property
    def _stops_early(self) -> bool:
        return self.config.train_early_stop_threshold is not None

    def _is_random(self, state: int) -> bool:
        """Whether the glimpse after a state is one of the run's first, random ones."""
        step = 0 if self.progress is None else self.progress.step
        return step * self.states + state + 1 < self.config.init_random_batches

    def _think(
        self, game: Game, judged: bool, for_policy: bool
    ) -> tuple[Encoded | None, Tensor | None]:
        """What the backbone makes of the views, as far as it is needed."""
        if not (judged or for_policy):
            return None, None
        encoded = self.network.encode(game.views, for_policy=for_policy)
        if not judged:
            return encoded, None
        valid = self.network.decoder_valid(game.views)
        return encoded, self.head.predict(self.network.mae, encoded.tokens, valid)

    @torch.no_grad()
    def _score(self, prediction: Tensor | None, game: Game) -> Tensor | None:
        if prediction is None:
            return None
        return self.head.score(prediction.detach(), game.target, training=True)

    def _stop(self, game: Game, score: Tensor | None) -> Bool[Tensor, " B"] | None:
        """Images that stop with this state, of those that were still looked at."""
        threshold = self.config.train_early_stop_threshold
        if threshold is None or score is None:
            return None
        return (score > threshold) & ~game.stopped

    @torch.no_grad()
    def _action(self, game: Game, encoded: Encoded | None) -> Float[Tensor, "B 3"]:
        """The next glimpse: random in the run's first, then drawn from the policy."""
        step = game.views.step
        if self._is_random(step) or encoded is None:
            return self.network.scaled(game.uniform[:, step])
        places = self.network.config.max_patches
        loc, scale = self.network.policy(self.network.observation(game.views, encoded, places))
        return self.network.scaled(sample(loc, scale, game.normal[:, step]))

    def _remember(
        self,
        game: Game,
        encoded: Encoded,
        score: Tensor,
        action: Tensor | None,
        done: Tensor | None,
    ) -> None:
        if self.replay is None or game.episodes is None:
            return
        playing = ~game.stopped if self._stops_early else None
        self.replay.write(
            game.episodes, game.views, encoded, score, action, playing=playing, done=done
        )

    # What is learnt

    def _teach_policy(self, state: int, hands: Hands) -> list[Mapping[str, float | Tensor]]:
        """Updates of the policy after a glimpse; none until every process's buffer holds a batch."""
        config, replay = self.config, self.replay
        if replay is None or any_rank([len(replay) < config.rl_batch_size])[0]:
            return []
        step = 0 if self.progress is None else self.progress.step
        logs = []
        for turn in range(config.rl_iters_per_step):
            draw = generator(config.seed, step, state, turn, self.rank, _REPLAY)
            batch = replay.sample(config.rl_batch_size, draw, self.rewards)
            logs.append(self._teach_policy_once(batch, hands))
        return logs

    def _teach_policy_once(self, batch: Transitions, hands: Hands) -> Mapping[str, float | Tensor]:
        """One update of actor, critics and temperature, then of the slow critics."""
        found = self.sac.losses(batch)
        hands.backward(found["loss_actor"] + found["loss_qvalue"] + found["loss_alpha"])
        clipped = [self.network.actor, self.sac.critics]
        norm = self._step(self.policy_optimizer, clipped, hands)
        average(_statistics(self.network.actor, self.sac.critics, self.sac.targets))
        self.sac.update_targets()
        return {
            "actor_loss": found["loss_actor"].detach(),
            "critic_loss": found["loss_qvalue"].detach(),
            "alpha_loss": found["loss_alpha"].detach(),
            "alpha": found["alpha"].detach(),
            "entropy": found["entropy"].detach(),
            "reward": batch.reward.mean(),
            "policy_gradient_norm": norm,
        }

    def _teach_backbone(
        self, prediction: Tensor, game: Game, hands: Hands
    ) -> Mapping[str, float | Tensor]:
        loss = self._global(self.head.loss(prediction, game.target))
        hands.backward(loss)
        norm = self._step(self.backbone_optimizer, [self.network.mae], hands)
        return {"backbone_loss": loss.detach(), "gradient_norm": norm}

    def _step(
        self, optimizer: torch.optim.Optimizer, clipped: Sequence[nn.Module], hands: Hands
    ) -> float:
        """A step along the gradient that is the mean over the processes."""
        groups = [group["params"] for group in optimizer.param_groups]
        average([p.grad for group in groups for p in group if p.grad is not None])
        return hands.step(optimizer, clipped)

    # How it is judged

    def evaluate(self) -> Mapping[str, Measure]:
        """Measures on the validation images, which the processes share among themselves.

        A backbone that learns alone is judged by random glimpses, a teacher on whole images.
        """
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
        if config.teacher_pretraining and self.teacher is not None:
            table = judge_teacher(self.teacher, self.val, len(self.classes), **options)
        else:
            choose = chooser(
                "random" if config.pretraining else "learnt",
                self.network,
                config.num_glimpses,
                config.eval_action,
                config.seed,
            )
            table = judge(
                self.network,
                self.val,
                choose,
                threshold=config.early_stop_threshold,
                last_only=True,
                **options,
            )
        self.quarantine.merge(left_out.rows)
        judged = Judged.of(config.task, self.sum_of_shares(table))
        found = judged.measures(judged.glimpses, config.seed, compat=config.compat.metrics)
        if config.early_stop_threshold is not None:
            found["glimpses"] = Measure(value=judged.used(), higher_is_better=False)
        return found

    def describe(self, micro_batches: Sequence[ImageBatch]) -> str:
        """Images of a batch."""
        return ", ".join(name for batch in micro_batches for name in batch.that_count().names)

    # What survives a restart

    def own_state(self) -> Mapping[str, Any]:
        """The replay buffer of this process."""
        if self.replay is None or not self.config.save_replay:
            return {}
        return {"replay": self.replay.state()}

    def load_own_state(self, state: Mapping[str, Any] | None) -> None:
        """Take the replay buffer back; without one, say that it is filled anew."""
        if self.replay is None:
            return
        if state is None:
            say("NOTE: the checkpoint holds no replay buffer for this process: it is filled anew.")
        else:
            self.replay.load_state(state["replay"])

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


def _statistics(*modules: nn.Module) -> list[Tensor]:
    """Running statistics of the batch norms inside."""
    return [
        buffer
        for module in modules
        for name, buffer in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]


def _outcome(logs: Sequence[Mapping[str, float | Tensor]], score: Tensor | None) -> Outcome:
    """Means of what was watched in an update; its loss is the sum of those that were minimised."""
    named: dict[str, list[Tensor]] = {}
    for found in logs:
        for name, value in found.items():
            named.setdefault(name, []).append(torch.as_tensor(value, dtype=torch.float32))
    means: dict[str, float | Tensor] = {
        name: torch.stack([value.cpu() for value in values]).mean()
        for name, values in named.items()
    }
    losses = [v for n, v in means.items() if n in ("actor_loss", "critic_loss", "backbone_loss")]
    if score is not None:
        means["final_score"] = score.mean().cpu()
    return Outcome(loss=torch.as_tensor(sum(losses)), logs=means, skipped=not losses)


def train(config: TrainConfig) -> Summary:
    """Train a model; everything it leaves lies in `config.run`.

    Raises:
        UserError: the data, the settings or the run folder cannot be used; says what to do.
    """
    accelerator = connect(config)
    quarantine = Quarantine(config.on_bad_row)
    images = {split: read_images(config, config.task, split) for split in ("train", "val")}
    learner = GlimpseLearner(config, images, accelerator.device, quarantine)
    if accelerator.is_main_process:
        for note in (*images["train"].notes, *images["val"].notes, *learner.notes):
            say(f"NOTE: {note}")
    loader = training_loader(
        config,
        images["train"],
        quarantine=quarantine,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        pin=accelerator.device.type == "cuda",
    )
    return fit(learner, loader, Run(config, accelerator, program="adaglimpse"))


def command(config: TrainConfig) -> None:
    """`adaglimpse train`."""
    train(config)
