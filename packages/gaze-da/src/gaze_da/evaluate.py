"""How a network is judged: every item once, on any number of processes, by named protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gaze_da.config import DatasetName, EvaluateConfig, Protocol
from gaze_da.data.items import GazeBatch, GazeDataset, collate
from gaze_da.data.samples import Sample, read_annotations
from gaze_da.data.views import views
from gaze_da.model.network import GazeModel
from gaze_da.protocols import COLUMNS, UPSTREAM_FRACTION, USUAL, Table, item_scores, measures
from shared_core.commands import say
from shared_core.data.loader import KeyedLoader, NeighboursPlan
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_csv, write_json
from shared_core.errors import UsageError
from shared_core.launch.devices import chosen_device
from shared_core.metrics import Measure
from shared_core.metrics.ranking import group_numbers
from shared_core.reporting.figures import Bar, intervals
from shared_core.reporting.page import Page

Predictor = Callable[[GazeBatch], tuple[Float[Tensor, "B S S"], Float[Tensor, " B"]]]
"""Heat maps and in/out logits of a batch: a network, or a baseline."""

NOUNS = {"gazefollow": "pictures", "videoattentiontarget": "shows", "goo": "pictures"}
"""What is independent in each data set."""


@dataclass(frozen=True)
class Network:
    """A network as a predictor.

    Attributes:
        model: in evaluation mode; `model.for_evaluation()` is the faster.
        channels_last: memory order of its pictures.
    """

    model: GazeModel
    channels_last: bool = False

    @torch.inference_mode()
    def __call__(self, batch: GazeBatch) -> tuple[Tensor, Tensor]:
        """Heat maps and in/out logits."""
        device = next(self.model.parameters()).device
        output = self.model(views(batch.to(device), channels_last=self.channels_last))
        return output.heatmaps[:, 0].float().cpu(), output.inout[:, 0].float().cpu()


@dataclass(frozen=True)
class Prior:
    """A baseline that looks at nothing: the same heat map for everybody.

    Attributes:
        heatmap: that map.
        logit: that in/out logit.
    """

    heatmap: Float[Tensor, "S S"]
    logit: float = 0.0

    def __call__(self, batch: GazeBatch) -> tuple[Tensor, Tensor]:
        """The same for each row."""
        rows = len(batch.names)
        return self.heatmap.expand(rows, -1, -1), torch.full((rows,), self.logit)


def centre_prior(cells: int) -> Prior:
    """A broad Gaussian around the middle of the picture."""
    offsets = (torch.arange(cells) + 0.5) / cells - 0.5
    squares = offsets[:, None] ** 2 + offsets[None] ** 2
    return Prior(torch.exp(-squares / (2 * 0.25**2)))


def score_tables(
    predict: Predictor,
    dataset: GazeDataset,
    protocols: Sequence[Protocol],
    *,
    batch_size: int = 32,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    quarantine: Quarantine | None = None,
) -> dict[Protocol, Table]:
    """What each protocol says of each item; zeros for items that are left to other processes.

    So the tables of all processes add up to the one that a single process makes, bit for bit. Rows of
    items that went to the quarantine are NaN.

    Args:
        predict: network or baseline.
        dataset: without random changes.
        protocols: which.
        batch_size: items in a pass.
        rank: this process.
        world: how many share the work.
        workers: loader processes.
        quarantine: what to do with items that cannot be used.

    Raises:
        DataError: an item cannot be used.
        NonFiniteError: a prediction is not finite.
    """
    tables = {name: np.zeros((len(dataset), len(COLUMNS))) for name in protocols}
    plan = NeighboursPlan(len(dataset), batch_size, rank, world)
    for rows in (blocks := plan.batches(0)):
        for table in tables.values():
            table[list(rows)] = np.nan
    if not blocks:  # more processes than blocks
        return tables
    loader = KeyedLoader(
        dataset, plan, seed=0, collate=collate, workers=workers, quarantine=quarantine
    )
    for (padded,) in loader.epoch():
        batch = padded.that_count()
        if not len(batch):
            continue
        heatmaps, inout = predict(batch)
        numbers = batch.index.tolist()
        objects = [dataset.samples[number].objects for number in numbers]
        for name, table in tables.items():
            table[numbers] = item_scores(heatmaps, inout, batch, name, objects)
    return tables


def evaluate(
    predict: Predictor,
    dataset: GazeDataset,
    protocols: Sequence[Protocol] = (),
    *,
    batch_size: int = 32,
    workers: int = 0,
    seed: int = 0,
) -> dict[Protocol, dict[str, Measure]]:
    """Judge a network or a baseline.

    Args:
        predict: such as `Network(model.for_evaluation())`.
        dataset: the items.
        protocols: which; none: the usual ones of the data set, without `vat-upstream`, which judges
            other rows (see `open_split`).
        batch_size: items in a pass.
        workers: loader processes.
        seed: key of the bootstrap.

    Raises:
        DataError: an item cannot be used.
        NonFiniteError: a prediction is not finite.
    """
    if not protocols:
        usual = USUAL[dataset.samples[0].dataset]
        protocols = [name for name in usual if name != "vat-upstream"]
    tables = score_tables(predict, dataset, protocols, batch_size=batch_size, workers=workers)
    return {
        protocol: measures_of(table, protocol, dataset.samples, seed)
        for protocol, table in tables.items()
    }


def measures_of(
    table: Table, protocol: Protocol, samples: Sequence[Sample], seed: int
) -> dict[str, Measure]:
    """The measures of a protocol, with intervals over pictures or shows."""
    judged = ~np.isnan(table[:, COLUMNS.index("inside")])
    names = [s.group for s, there in zip(samples, judged.tolist(), strict=True) if there]
    noun = NOUNS[samples[0].dataset]
    return measures(table[judged], protocol, group_numbers(names), noun=noun, seed=seed)


def open_split(
    model: GazeModel,
    dataset: DatasetName,
    root: Path,
    split: str,
    protocol: Protocol | None = None,
    *,
    quarantine: Quarantine | None = None,
) -> GazeDataset:
    """The items of a split, read as the model was trained to read them.

    Args:
        model: says how.
        dataset: layout.
        root: the data set's folder.
        split: train or test.
        protocol: `vat-upstream` takes a fifth of the rows, and head boxes as they are.
        quarantine: what to do with rows that cannot be used.

    Raises:
        DataError: the annotations cannot be used.
    """
    upstream = protocol == "vat-upstream"
    found = read_annotations(
        dataset,
        root,
        "train" if split == "train" else "test",
        quarantine=quarantine,
        vat_fraction=UPSTREAM_FRACTION if upstream else 1.0,
        vat_smoothing=not upstream,
    )
    return GazeDataset(found.samples, model.config.network, model.config.reading)


def command(config: EvaluateConfig) -> None:
    """`gaze-da evaluate`: measures by protocol, a table of items, and a report."""
    model = GazeModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    protocols = config.protocols or USUAL[config.dataset]
    if unfit := sorted(set(protocols) - set(USUAL[config.dataset])):
        usual = ", ".join(USUAL[config.dataset])
        raise UsageError(f"--protocols {unfit[0]}: {config.dataset} is judged by {usual}.")
    quarantine = Quarantine(config.on_bad_row)
    network = Network(model.for_evaluation())
    found: dict[Protocol, dict[str, Measure]] = {}
    items: list[dict[str, object]] = []
    for asks_for_upstream in (False, True):  # it judges other rows
        wanted = [p for p in protocols if (p == "vat-upstream") is asks_for_upstream]
        if not wanted:
            continue
        dataset = open_split(
            model, config.dataset, config.data, config.split, wanted[0], quarantine=quarantine
        )
        tables = score_tables(
            network,
            dataset,
            wanted,
            batch_size=config.batch_size,
            workers=config.workers,
            quarantine=quarantine,
        )
        for name, table in tables.items():
            found[name] = measures_of(table, name, dataset.samples, config.seed)
            items += [
                {"protocol": name, "item": sample.name, **dict(zip(COLUMNS, row, strict=True))}
                for sample, row in zip(dataset.samples, table.tolist(), strict=True)
            ]
    hide_untrained(model, found)
    _tell(found)
    write_csv(config.out / "items.csv", ("protocol", "item", *COLUMNS), items)
    write_json(
        config.out / "evaluation.json",
        {
            "dataset": config.dataset,
            "split": config.split,
            "checkpoint": config.checkpoint,
            "protocols": {p: {k: m.to_json() for k, m in of.items()} for p, of in found.items()},
            "quarantined": quarantine.to_json(),
        },
    )
    path = _page(config, found, quarantine).write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")


def hide_untrained(model: GazeModel, found: Mapping[Protocol, dict[str, Measure]]) -> None:
    """Withhold the measures of an in/out head that has learnt nothing, in place."""
    if model.config.inout_trained:
        return
    for of in found.values():
        if "inout_ap" in of:
            reason = "the model's in/out head was never trained"
            of["inout_ap"] = Measure(value=float("nan"), reason=reason)


def _tell(found: Mapping[Protocol, Mapping[str, Measure]]) -> None:
    for protocol, of in found.items():
        for name, measure in of.items():
            say(f"{protocol:<13} {name:<12} {measure}")


def _page(
    config: EvaluateConfig, found: Mapping[Protocol, Mapping[str, Measure]], quarantine: Quarantine
) -> Page:
    page = Page("gaze-da evaluate", f"{config.checkpoint} on {config.split} of {config.data}")
    noun = NOUNS[config.dataset]
    for protocol, of in found.items():
        rows = [[name, str(measure)] for name, measure in of.items()]
        section = page.section(f"Protocol {protocol}")
        bars = [
            Bar(name=name, value=m.value, low=m.low, high=m.high)
            for name, m in of.items()
            if not m.unit and m.defined
        ]
        if bars:
            section.figure(intervals(bars, x="measure", chance=None))
        section.table(
            ["measure", f"value, with its 95 % interval over {noun}"],
            rows,
            caption="Distances are fractions of the picture, from the corner of the highest cell; "
            "dist_centre counts from its middle.",
        )
    if quarantine.rows:
        page.section("Left out").table(
            ["file", "where", "why"], [[r.path, r.where, r.message] for r in quarantine.rows]
        )
    return page
