"""A value that is not finite on one of two connected processes."""

from __future__ import annotations

from typing import Any

from shared_core.config import to_dict
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from tools.faults import spoiling
from tools.faults.processes import LONGEST_S
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "both stop before the update, with the same words, which name the batch"


def run(subject: Subject, options: Options) -> Figure:
    """Loss, gradient, and every number of the batch, at a drawn update; one start for all."""
    update = options.draw("not-finite", subject.module).randrange(2, 6)
    configs = {
        kind: subject.settings(
            subject.data, options.folder / kind, seed=subject.seed, launch="cpu-2"
        )
        for kind in subject.spoilt
    }
    order = {
        "module": subject.module,
        "orders": [{"kind": kind, "config": to_dict(config)} for kind, config in configs.items()],
        "update": update,
        "trl": subject.trl,
    }
    ranks = run_ranks(
        spoiling.trains, arguments=order, connect=False, preset="cpu-2", timeout=LONGEST_S
    )
    trials = Trials("not-finite", subject, WANTED)
    for kind, *found in zip(configs, *ranks, strict=True):
        with trials.trial(kind):
            _stopped(subject, found, update)
            events = read(options.folder / kind)
            made = [event["step"] for event in events if event["kind"] == "train"]
            expect(made == [*range(1, update)], f"updates {made} are recorded")
    return trials.figure(", ".join(configs))


def _stopped(subject: Subject, ranks: list[dict[str, Any]], update: int) -> None:
    for rank, found in enumerate(ranks):
        said = found["message"]
        expect(found["error"] == "NonFiniteError", f"process {rank}: {found['error']}: {said}")
        expect(f"update {update} " in said, f"process {rank} names another update: {said}")
        expect(found["unchanged"], f"process {rank}: the weights have moved")
    first, second = (found["message"] for found in ranks)
    expect(first == second, f"two messages: {first}\n{second}")
    expect(subject.names_batch in first, f"no batch: {first}")


ROWS = (Row(name="not-finite", wanted=WANTED, run=run),)
