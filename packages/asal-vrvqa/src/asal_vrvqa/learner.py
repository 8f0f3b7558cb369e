"""How one update is made, and how a stream of tasks becomes one run that resumes anywhere in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asal_vrvqa.config import TrainConfig
from asal_vrvqa.data.items import ClipBatch, ClipDataset, DistinctFrames, collate, normalised
from asal_vrvqa.data.labels import Clip, read_clips
from asal_vrvqa.data.plan import StagedPlan
from asal_vrvqa.data.splits import Stream, stream_of
from asal_vrvqa.draws import Draws
from asal_vrvqa.method.losses import divergence, score_loss
from asal_vrvqa.model.network import Output, QualityModel
from asal_vrvqa.model.sphere import PopulationBatchNorm
from asal_vrvqa.results import Judged, measures
from asal_vrvqa.runs import write_task
from asal_vrvqa.scoring import clip_scores, frame_table, store_of
from asal_vrvqa.strategies import strategy
from asal_vrvqa.weights import fresh_weights
from shared_core.commands import say
from shared_core.data.loader import PADDING, ItemKey, KeyedLoader
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError, UsageError
from shared_core.launch.accelerator import accelerator as connect
from shared_core.launch.batch_norm import synchronise
from shared_core.launch.collectives import all_reduce_sum
from shared_core.metrics import Measure
from shared_core.training.learner import Learner, Outcome
from shared_core.training.loop import fit
from shared_core.training.run import Run, Summary
from shared_core.training.schedules import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

    from shared_core.training.hands import Hands


class StreamLearner(Learner):
    """Learns the stages of a stream one after another, by a strategy.

    Args:
        config: the run's settings.
        stream: what is learnt and judged.
        quarantine: where clips that cannot be used are listed.
    """

    def __init__(
        self, config: TrainConfig, stream: Stream, quarantine: Quarantine | None = None
    ) -> None:
        self.config = config
        self.stream = stream
        self.quarantine = quarantine or Quarantine(config.on_bad_row)
        self.model = self.network = QualityModel(config.for_model())
        self.notes = fresh_weights(self.network, config)
        self.store = store_of(self.network.config, config.frames, config.cache)
        self.train_clips = [clip for stage in stream.stages for clip in stage.clips]
        self.dataset = ClipDataset(self.train_clips, self.store, config.reading, training=True)
        self.plan = StagedPlan(
            tuple(len(stage.clips) for stage in stream.stages),
            config.epochs,
            config.batch_size,
            config.seed,
        )
        self.score_name = "srcc" if stream.val else None
        rows, columns = 1 + len(stream.stages), sum(len(part.clips) for part in stream.tests)
        self.predictions = np.full((rows, columns), np.nan)
        self._given: dict[str, object] = {}
        self.strategy = strategy(config.learns_by)(self)
        self.optimizer = torch.optim.Adam(
            self.strategy.parameter_groups(), lr=config.lr, weight_decay=config.weight_decay
        )

    # Where the stream stands

    @property
    def epoch(self) -> int:
        """Of the update that is being made."""
        return 0 if self.progress is None else self.progress.epoch

    @property
    def batch(self) -> int:
        """Place of the update that is being made, in its epoch."""
        return 0 if self.progress is None else self.progress.batch

    @property
    def task(self) -> int:
        """Stage that is being learnt, from 0."""
        return min(self.epoch // self.config.epochs, len(self.stream.stages) - 1)

    @property
    def begins_task(self) -> bool:
        """Whether the update is the first of its stage."""
        return self.batch == 0 and self.epoch % self.config.epochs == 0

    @property
    def ends_task(self) -> bool:
        """Whether the update is the last of its stage."""
        last_batch = self.progress is not None and self.batch == self.progress.steps_per_epoch - 1
        return last_batch and (self.epoch + 1) % self.config.epochs == 0

    def schedule(self, progress: Progress) -> float:
        """The rate falls within each task, and begins anew with the next."""
        within = progress.epoch % self.config.epochs
        falls = within // self.config.decay_every
        if self.config.compat.lr_carry_over:
            of_a_task = self.config.epochs // self.config.decay_every
            falls += progress.epoch // self.config.epochs * of_a_task
        return float(self.config.decay_factor**falls)

    # One update

    def prepare(self, accelerator: Accelerator) -> None:
        """Put model and optimiser on their device and under the processes' wrappers.

        Raises:
            UsageError: the weights would be cut over the processes, which no strategy can follow.
        """
        for module in self.network.modules():
            if isinstance(module, PopulationBatchNorm):
                module.alone = not self.config.sync_batch_norm
        if self.config.sync_batch_norm and accelerator.num_processes > 1:
            synchronise(self.network)
        super().prepare(accelerator)
        if self.weights_are_sharded and len(self.stream.stages) > 1:
            raise UsageError(
                f"--launch {self.config.launch}: a stream is learnt with whole weights on each process. "
                "The network is small: choose cpu-2 or ddp."
            )

    def update(self, micro_batches: Sequence[ClipBatch], hands: Hands) -> Outcome:
        """Make one update by the strategy; between two tasks it looks back and ahead."""
        if self.begins_task:
            self.strategy.begin(self.task)
        outcome = self.strategy.update(micro_batches, hands)
        if self.ends_task:
            self.strategy.end(self.task)
        return outcome

    def loss(self, batch: ClipBatch) -> Outcome:
        """The strategy's loss of this process's share of a micro-batch."""
        return self.strategy.loss(batch)

    def draws(self) -> Draws:
        """What the update that is being made draws at random."""
        return Draws(self.config.seed, self.epoch, self.batch).with_given(**self._given)

    def fix(self, **given: object) -> None:
        """Give what the next updates would draw: `noise`, `key_frames`, `slots`, `replay_noise`."""
        self._given = given

    def look(
        self,
        frames: Tensor,
        noise: Float[Tensor, "B T"] | None,
        *,
        key_frames: Tensor | None = None,
        from_key_frames: bool = False,
    ) -> Output:
        """The network's output for uint8 frames [B, t, H, W, 3] of this process, maybe of none.

        Statistics that are synchronised are for all processes to make, so that a process without
        clips makes them of none. Without that, such a process looks at one black clip that does not
        count, in evaluation mode.
        """
        device = next(self.bare_model.parameters()).device
        idle = not len(frames) and not (self.config.sync_batch_norm and self.world > 1)
        if idle:
            frames, noise = frames.new_zeros(1, *frames.shape[1:]), None
            self.bare_model.eval()
        output: Output = self.model(
            normalised(frames.to(device, non_blocking=True)),
            None if noise is None else noise.to(device),
            key_frames=None if key_frames is None else key_frames.to(device),
            from_key_frames=from_key_frames,
        )
        if not idle:
            return output
        self.bare_model.train()
        nothing = output.frames._replace(
            score=output.frames.score[:0],
            mean=output.frames.mean[:0],
            log_variance=None
            if output.frames.log_variance is None
            else output.frames.log_variance[:0],
        )
        adapted = None if output.adapted is None else output.adapted[:0]
        return Output(output.score[:0], nothing, output.features[:0], adapted)

    def everywhere(self, values: Float[Tensor, "*B"], places: int) -> Float[Tensor, "*B"]:
        """Rows of all processes' clips one after another, with gradients; with one process, its own.

        Args:
            values: of this process's clips that count.
            places: the most clips that a process can have, the same on all of them.
        """
        if self.world == 1 or not self.config.global_loss:
            return values
        there = values.new_zeros(self.world * places)
        before = self.rank * places
        there[before : before + len(values)] = 1
        after = len(there) - before - len(values)
        zeros = [values.new_zeros(count, *values.shape[1:]) for count in (before, after)]
        padded = torch.cat([zeros[0], values, zeros[1]])  # not in place: the gradient goes through
        return all_reduce_sum(padded)[all_reduce_sum(there) > 0]

    def mean_everywhere(self, values: Float[Tensor, "*B"]) -> Float[Tensor, ""]:
        """Mean over the rows of all processes, with gradients; 0 where there is none."""
        values = values.float()  # half floats count to 256
        per_row = values.flatten(1).mean(dim=1) if values.dim() > 1 else values
        sums = torch.stack([per_row.sum(), per_row.new_tensor(float(len(per_row)))])
        total, count = all_reduce_sum(sums) if self.config.global_loss else sums
        mean: Tensor = total / count.clamp(min=1)
        return mean

    def score_loss(
        self, prediction: Float[Tensor, " n"], target: Float[Tensor, " n"], places: int
    ) -> Float[Tensor, ""]:
        """The loss of the settings over the clips of all processes.

        Args:
            prediction: of this process's clips.
            target: their labels.
            places: the most clips that a process can have.
        """
        p, t = self.everywhere(prediction, places), self.everywhere(target, places)
        if not len(p):
            return prediction.sum() * 0
        return score_loss(
            p.float(),
            t.to(p.device).float(),
            kind=self.config.loss,
            mse_weight=self.config.mse_weight,
            plcc_weight=self.config.plcc_weight,
        )

    def variance_loss(self, output: Output) -> Tensor | None:
        """The divergence of the regressor's variances, weighted; None where it is not asked for."""
        log_variance = output.frames.log_variance
        if not self.config.kl_weight or log_variance is None:
            return None
        return self.config.kl_weight * self.mean_everywhere(divergence(log_variance.float()))

    # Looking at clips outside of an update

    def plain(self, item: int) -> ClipBatch | None:
        """A training clip without random changes, on the CPU; None where it went to the quarantine.

        Raises:
            DataError: a frame is missing or damaged.
        """
        return self._read(ClipDataset(self.train_clips, self.store, self.config.reading), item)

    def as_seen(self, item: int) -> ClipBatch | None:
        """A training clip as this epoch sees it, on every process the same; else as `plain`."""
        return self._read(self.dataset, item)

    def _read(self, dataset: ClipDataset, item: int) -> ClipBatch | None:
        try:
            return dataset[ItemKey(self.config.seed, self.epoch, item)]
        except DataError as error:
            self.quarantine.bad(error, of=len(self.train_clips))
            return None

    def items_of(self, task: int) -> list[int]:
        """Numbers of a stage's training clips."""
        first = sum(self.plan.sizes[:task])
        return list(range(first, first + self.plan.sizes[task]))

    def global_items(self) -> list[int]:
        """Numbers of the clips of this update, those of all processes."""
        return [i for i in self.plan.batches(self.epoch)[self.batch] if i != PADDING]

    def describe(self, micro_batches: Sequence[ClipBatch]) -> str:
        """Clips of a batch."""
        return ", ".join(name for batch in micro_batches for name in batch.names)

    # How it is judged

    def evaluate(self) -> Mapping[str, Measure]:
        """Measures on the validation clips; on all test clips for weights that the run leaves."""
        config = self.config
        found: dict[str, Measure] = {}
        if self.stream.val:
            found |= self._validation()
        if not self._are_left(found):
            return found
        if np.isnan(self.predictions[0]).all():
            untaught = QualityModel(self.network.config)
            fresh_weights(untaught, config)
            device = next(self.network.parameters()).device
            self.predictions[0] = self._scores_of_tests(untaught.to(device))
        self.predictions[1 + self.task] = self._scores_of_tests(self.network)
        judged = self.judged()
        if self.rank == 0:
            about = {
                "strategy": config.learns_by,
                "memory_bytes": self.strategy.memory_bytes,
            }
            write_task(config.run, self.task, self.network, judged, config.seed, about)
        scores = judged.matrix()[1 + self.task]
        for part, score in zip(self.stream.tests, scores.tolist(), strict=True):
            reason = None if score == score else "too few clips, or a constant prediction or label"
            found[f"srcc {part.name}"] = Measure(value=score, reason=reason)
        return found

    def _are_left(self, found: Mapping[str, Measure]) -> bool:
        """Whether the run leaves these weights: those after a task, or the best by validation."""
        if not self.stream.val:
            return self.ends_task
        best = None if self.progress is None else self.progress.best_score
        return best is None or found["srcc"].value > best

    def judged(self) -> Judged:
        """What the test clips were given so far."""
        names = tuple(stage.name for stage in self.stream.stages)
        return Judged(names, self.stream.tests, self.predictions)

    def _validation(self) -> dict[str, Measure]:
        scores = self._scored(self.network, self.stream.val)
        return measures(scores, self.stream.val, self.config.seed)

    def _scores_of_tests(self, network: QualityModel) -> np.ndarray:
        clips = [clip for part in self.stream.tests for clip in part.clips]
        return self._scored(network, clips)

    def _scored(self, network: QualityModel, clips: Sequence[Clip]) -> np.ndarray:
        """Scores of clips, which the processes share among themselves."""
        rank, world = self.shares()
        left_out = Quarantine(self.config.on_bad_row)
        frames = DistinctFrames(clips, self.store, self.config.reading, quarantine=left_out)
        table = frame_table(
            network.eval(),
            frames,
            batch_size=max(1, self.config.batch_size),
            rank=rank,
            world=world,
            workers=self.config.workers,
            quarantine=left_out,
        )
        self.quarantine.merge(left_out.rows)
        return clip_scores(frames, self.sum_of_shares(table)).score

    # What survives a restart

    def state(self) -> Mapping[str, Any]:
        """Predictions so far, and what the strategy keeps."""
        return {
            "predictions": torch.from_numpy(self.predictions),
            "strategy": dict(self.strategy.state()),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.predictions = state["predictions"].cpu().numpy().copy()
        self.strategy.load_state(state["strategy"])


def training_loader(
    learner: StreamLearner,
    *,
    quarantine: Quarantine | None = None,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> KeyedLoader[Any, Any]:
    """Batches of the stream's clips; `pin` for copies to a GPU."""
    config = learner.config
    return KeyedLoader(
        learner.dataset,
        learner.plan,
        seed=config.seed,
        collate=collate,
        accumulate=config.accumulate,
        workers=config.workers,
        rank=rank,
        world=world,
        pin=pin,
        quarantine=quarantine,
    )


def train(config: TrainConfig) -> Summary:
    """Train a network; everything it leaves lies in `config.run`.

    Raises:
        UserError: the data, the settings or the run folder cannot be used; says what to do.
    """
    accelerator = connect(config)
    quarantine = Quarantine(config.on_bad_row)
    clips = read_clips(config.labels, config.scale, quarantine)
    stream = stream_of(config, clips)
    if config.mode == "continual" and config.evaluate_every is not None:
        raise UsageError(
            "--evaluate-every: a stream is judged after each of its tasks; leave it out."
        )
    learner = StreamLearner(config, stream, quarantine)
    if accelerator.is_main_process:
        for note in [*learner.notes, *warnings(config)]:
            say(f"NOTE: {note}")
    loader = training_loader(
        learner,
        quarantine=quarantine,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        pin=accelerator.device.type == "cuda",
    )
    epochs = config.epochs * len(stream.stages)
    run = Run(replace(config, epochs=epochs), accelerator, program="asal-vrvqa", config=config)
    return fit(learner, loader, run)


def warnings(config: TrainConfig) -> list[str]:
    """What a run should know about its settings before it begins."""
    found = []
    uses_correlation = config.loss != "mse" and not (
        config.loss == "mix" and config.plcc_weight == 0
    )
    of_memory = ("er", "derpp", "agem", "magr", *(() if config.replay.joint_step else ("asal",)))
    if uses_correlation and config.learns_by in of_memory and config.replay.minibatch < 3:
        found.append(
            f"--replay.minibatch {config.replay.minibatch}: the correlation of fewer than 3 clips has no "
            "gradient, so that the memory teaches by its squared error alone (as the authors' does)."
        )
    if uses_correlation and config.batch_size < 3:
        found.append(
            f"--batch-size {config.batch_size}: the correlation of fewer than 3 clips has no gradient."
        )
    if config.split_unit == "clip":
        found.append(
            "--split-unit clip: nearly every test clip shows a source video of the training set."
        )
    return found


def command(config: TrainConfig) -> None:
    """`asal-vrvqa train`."""
    train(config)
