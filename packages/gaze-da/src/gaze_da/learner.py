"""How one update is made, on one domain or on two, and a whole training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gaze_da.config import DatasetName, TrainConfig
from gaze_da.data.items import GazeBatch, GazeDataset
from gaze_da.data.pairs import PairBatch
from gaze_da.data.training import (
    opened,
    people_of,
    people_to_test,
    training_loader,
    training_people,
)
from gaze_da.data.views import views
from gaze_da.evaluate import Network as Predictor
from gaze_da.evaluate import hide_untrained, measures_of, score_tables
from gaze_da.method.losses import (
    domain_loss,
    inout_loss,
    reconstruction_loss,
    rows_of_all,
    task_loss,
    upstream_scale,
)
from gaze_da.method.schedule import adversary_strength
from gaze_da.model.adaptation import SOURCE, TARGET
from gaze_da.model.initial import initialise
from gaze_da.model.network import Adapted, GazeModel, Output
from gaze_da.model.views import Views
from gaze_da.protocols import USUAL
from gaze_da.weights import load_initial
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_json
from shared_core.launch.accelerator import accelerator as connect
from shared_core.launch.batch_norm import synchronise
from shared_core.launch.devices import chosen_device
from shared_core.metrics import Measure
from shared_core.reporting.report import TEST_FILE, run_report
from shared_core.training.learner import Learner, Outcome
from shared_core.training.loop import fit
from shared_core.training.run import Run, Summary

if TYPE_CHECKING:
    from accelerate import Accelerator

SCORES = {"gazefollow": "avg_dist", "videoattentiontarget": "avg_dist", "goo": "dist"}
"""The measure that chooses the checkpoint: how far the peak is from the target."""


class GazeLearner(Learner):
    """Heat maps and in/out logits on the source; a domain adversary and reconstruction on both.

    Args:
        config: the run's settings.
        val: items to choose the checkpoint by, without random changes.
        quarantine: where validation items that cannot be used are listed.
    """

    def __init__(
        self, config: TrainConfig, val: GazeDataset, quarantine: Quarantine | None = None
    ) -> None:
        self.config = config
        self.val = val
        self.quarantine = quarantine or Quarantine(config.on_bad_row)
        self.val_dataset: DatasetName = val.samples[0].dataset
        self.score_name = SCORES[self.val_dataset]
        self.model = self.network = GazeModel(config.for_model())
        initialise(self.network, generator(config.seed), drawn_slope=config.compat.initial_slope)
        self.notes: list[str] = []
        if config.init_weights is not None:
            self.notes = load_initial(self.network, config.init_weights)
        frozen = {
            "scene_backbone": config.freeze_scene,
            "depth_backbone": config.freeze_depth,
            "face_backbone": config.freeze_face,
        }
        self.network.freeze(
            *(name for name, kept in frozen.items() if kept),
            statistics_too=not config.compat.frozen_statistics,
        )
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(
            [weight for weight in self.network.parameters() if weight.requires_grad], lr=config.lr
        )

    def prepare(self, accelerator: Accelerator) -> None:
        """Put model and optimiser on their device and under the processes' wrappers."""
        if self.config.sync_batch_norm and accelerator.num_processes > 1:
            synchronise(self.network)
        super().prepare(accelerator)

    def loss(self, batch: GazeBatch | PairBatch) -> Outcome:
        """All losses of this process's part of a batch, weighted and added up."""
        counting = batch.that_count()
        # A row that only fills up must not enter the batch's statistics. Synchronised ones are for
        # all processes to make, so that a process without rows makes them of none.
        idle = not len(counting) and not (self.config.sync_batch_norm and self.world > 1)
        if idle:
            self.bare_model.eval()
        output, seen, seen_target = self._forward(batch if idle else counting)
        if idle:
            self.bare_model.train()
            output = _no_rows(output)
            seen = _no_rows(seen)
            seen_target = None if seen_target is None else _no_rows(seen_target)
        source = counting.source if isinstance(counting, PairBatch) else counting
        terms = {
            "task_loss": self.config.task_weight
            * task_loss(output.heatmaps, source.heatmap, source.inside),
            "inout_loss": self.config.inout_weight * inout_loss(output.inout, source.inside),
        }
        if seen_target is not None and output.target is not None:
            terms |= self._adaptation(output.source, output.target, seen, seen_target)
        total = torch.stack(list(terms.values())).sum()
        logs: dict[str, float | Tensor] = {name: term.detach() for name, term in terms.items()}
        return Outcome(loss=total, logs=logs, skipped=not len(counting))

    def _forward(self, batch: GazeBatch | PairBatch) -> tuple[Output, Views, Views | None]:
        ordered = self.config.channels_last
        if isinstance(batch, GazeBatch):
            seen = views(batch, channels_last=ordered)
            return self.model(seen), seen, None
        seen = views(batch.source, channels_last=ordered)
        seen_target = views(batch.target, channels_last=ordered)
        full = self.config.compat.full_target_pass
        valid = batch.source.valid
        # A tensor: a compiled network would be compiled again for another number.
        alpha = torch.tensor(self.strength(valid[valid]), device=valid.device)
        output = self.model(seen, seen_target, alpha, full_target_pass=full)
        return output, seen, seen_target

    def strength(self, rows: Tensor) -> float:
        """Of the adversary, for the update that is being made.

        Args:
            rows: any tensor with the rows that count of this process's part of the batch.
        """
        if self.progress is None:
            return 1.0
        upstream_rows = rows_of_all(rows) if self.config.compat.alpha else None
        return adversary_strength(
            self.progress.batch,
            self.progress.steps_per_epoch,
            self.progress.epoch,
            self.progress.epochs,
            upstream_rows=upstream_rows,
        )

    def _adaptation(
        self, source: Adapted, target: Adapted, seen: Views, seen_target: Views
    ) -> dict[str, Tensor]:
        config = self.config
        terms: dict[str, Tensor] = {}
        for name, of, label in (("source", source, SOURCE), ("target", target, TARGET)):
            if of.domain is not None:
                terms[f"{name}_adv_loss"] = config.adversarial_weight * domain_loss(
                    of.domain, label
                )
        weights = (config.source_reconstruction_weight, config.target_reconstruction_weight)
        if config.compat.target_weight:
            weights = (weights[0], weights[0])
        domains = (("source", source, seen), ("target", target, seen_target))
        for (name, of, original), weight in zip(domains, weights, strict=True):
            if of.rgb is None or of.depth is None:
                continue
            if config.compat.reconstruction_scale:
                rows = rows_of_all(of.rgb)
                weight *= upstream_scale(rows, config.batch_size, of.rgb.shape[-1])
            terms[f"{name}_rgb_rec_loss"] = weight * reconstruction_loss(of.rgb, original.images)
            terms[f"{name}_depth_rec_loss"] = weight * reconstruction_loss(
                of.depth, original.depths
            )
        return terms

    def describe(self, micro_batches: Sequence[GazeBatch | PairBatch]) -> str:
        """People of a batch."""
        parts = [b.source if isinstance(b, PairBatch) else b for b in micro_batches]
        return ", ".join(name for part in parts for name in part.names)

    def evaluate(self) -> Mapping[str, Measure]:
        """Measures on the validation items, which the processes share among themselves."""
        protocol = USUAL[self.val_dataset][0]
        rank, world = self.shares()
        left_out = Quarantine(self.config.on_bad_row)
        tables = score_tables(
            Predictor(self.network, self.config.channels_last),
            self.val,
            (protocol,),
            batch_size=self.config.batch_size,
            rank=rank,
            world=world,
            workers=self.config.workers,
            quarantine=left_out,
        )
        self.quarantine.merge(left_out.rows)
        table = self.sum_of_shares(tables[protocol])
        return measures_of(table, protocol, self.val.samples, self.config.seed)


def _no_rows(of: Any) -> Any:
    """The same tuple of tensors, without rows; still attached to the graph."""
    parts = (
        None if part is None else part[:0] if isinstance(part, Tensor) else _no_rows(part)
        for part in of
    )
    return type(of)(*parts)


def train(config: TrainConfig) -> Summary:
    """Train a network; everything it leaves lies in `config.run`.

    Raises:
        UserError: the data, the settings or the run folder cannot be used; says what to do.
    """
    accelerator = connect(config)
    quarantine = Quarantine(config.on_bad_row)
    judged_by = "target" if config.target_dataset_dir is not None else "source"
    test = None
    # A test set that chooses the checkpoint is no test. One that is not there is said before the training.
    if config.test and not config.compat.select_on_test:
        test = opened(config, people_to_test(config, judged_by, Quarantine(config.on_bad_row)))
    people, val = training_people(config, judged_by, quarantine)
    target = None
    if config.adapts:
        of_target = Quarantine(config.on_bad_row)  # its share is one of the target's rows
        adapted_to = people_of(config, "target", "train", of_target).samples
        target = opened(config, adapted_to, training=True)
        quarantine.merge(of_target.rows)
    learner = GazeLearner(config, opened(config, val), quarantine)
    if accelerator.is_main_process:
        for note in learner.notes:
            say(f"{config.init_weights}: {note}")
    loader = training_loader(
        config,
        opened(config, people, training=True),
        target,
        quarantine=quarantine,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        pin=accelerator.device.type == "cuda",
    )
    run = Run(config, accelerator, program="gaze-da")
    summary = fit(learner, loader, run)
    if test is not None and accelerator.is_main_process:
        score_test(config, test)
    return summary


def score_test(config: TrainConfig, dataset: GazeDataset) -> None:
    """Judge the finished model on the test set, once, and show it in the run's report.

    Raises:
        DataError: an item cannot be used.
    """
    path = config.run / TEST_FILE
    if path.is_file():
        return
    model = GazeModel.from_pretrained(config.run, device=chosen_device(config.device))
    # `vat-upstream` judges other rows: `gaze-da evaluate` opens them.
    protocols = [p for p in USUAL[dataset.samples[0].dataset] if p != "vat-upstream"]
    left_out = Quarantine(config.on_bad_row)
    tables = score_tables(
        Predictor(model.for_evaluation()),
        dataset,
        protocols,
        batch_size=config.batch_size,
        workers=config.workers,
        quarantine=left_out,
    )
    found = {
        protocol: measures_of(table, protocol, dataset.samples, config.seed)
        for protocol, table in tables.items()
    }
    hide_untrained(model, found)
    write_json(path, {p: {k: m.to_json() for k, m in of.items()} for p, of in found.items()})
    for protocol, of in found.items():
        for name, measure in of.items():
            say(f"test ({protocol}): {name} {measure}")
    for row in left_out.rows:
        say(f"test: left out: {row.message}")
    run_report(config.run)


def command(config: TrainConfig) -> None:
    """`gaze-da train`."""
    train(config)
