"""What several reports show: tables of measures, and how scores on each task go along a stream."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from asal_vrvqa.results import FIGURES, Judged
from shared_core.metrics import Measure
from shared_core.reporting.figures import Line, curves
from shared_core.reporting.page import Section

TITLES: Mapping[str, str] = {
    "average": "average SRCC",
    "forgetting": "forgetting",
    "backward": "backward transfer",
    "forward": "forward transfer",
}
"""The figures of a stream."""


def add_measures(section: Section, found: Mapping[str, Mapping[str, Measure]]) -> None:
    """A row for each part, a column for each measure."""
    kinds = list(next(iter(found.values())))
    section.table(
        ["clips", *kinds],
        [[name, *(of[kind] for kind in kinds)] for name, of in found.items()],
        caption="95 % intervals over source videos. RMSE and relative L2 (percent): lower is better.",
    )


def add_matrix(section: Section, judged: Judged, seed: int = 0) -> None:
    """The matrix of scores, the figures, and a curve for each task."""
    matrix = judged.matrix()
    names = ["before", *(f"after {stage}" for stage in judged.stages)]
    tests = [part.name for part in judged.tests]
    section.table(
        ["SRCC on the test clips of", *tests],
        [
            [name, *(f"{v:.3f}" if v == v else "-" for v in row)]
            for name, row in zip(names, matrix.tolist(), strict=True)
        ],
        caption="Each row after one more task has been learnt; right of the diagonal a task is judged "
        "before it was learnt.",
    )
    lines = [
        Line(name=test, x=np.arange(len(names)), y=matrix[:, column], marked=True)
        for column, test in enumerate(tests)
    ]
    section.figure(curves(lines, x="tasks learnt", y="SRCC"))
    if judged.is_stream and len(judged.learnt()) == len(judged.stages):
        figures = judged.figures(seed)
        section.table(
            ["figure", "value, with its 95 % interval over source videos"],
            [[TITLES[name], figures[name]] for name in FIGURES],
        )
