"""The command `gaze-da predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaze_da.config import PredictConfig
from gaze_da.model.network import GazeModel
from gaze_da.predict.sources import Sources
from gaze_da.predict.writing import COLUMNS, Files, is_written, rows_of, show, write
from shared_core.commands import say
from shared_core.data.images import SUFFIXES
from shared_core.data.tables import write_csv
from shared_core.errors import DataError, UsageError, UserError
from shared_core.files import VIDEO_SUFFIXES, find_files
from shared_core.launch.devices import chosen_device
from shared_core.predicting import beginnings, each, make_writable
from shared_core.reporting.page import Page

NO_CHECKPOINT = (
    "--checkpoint: to see where people look takes a trained network, and none comes with this package.\n"
    "Train one (`gaze-da train --source-dataset-dir ...`), convert the authors' weights (`gaze-da "
    "convert`), or try the demo's (`gaze-da demo`), which was taught on drawings."
)


def command(config: PredictConfig) -> int:
    """`gaze-da predict`: every source by itself; one that fails does not stop the others."""
    if config.checkpoint is None:
        raise UsageError(NO_CHECKPOINT)
    sources = find_files(config.sources, SUFFIXES | VIDEO_SUFFIXES, "picture or video")
    begins = beginnings(sources, config.out)
    if config.head and len(sources) > 1:
        raise UsageError("--head: boxes on the command line are for a single source.")
    make_writable(config.out)
    model = GazeModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    shared = Sources(config, model)
    if shared.table is not None and not any(map(shared.table.knows, sources)):
        raise DataError(
            shared.table.path,
            f"none of {len(sources)} (such as {sources[0].name})",
            expected="head boxes of the pictures and videos that were named",
        )
    for note in shared.notes:
        say(f"NOTE: {note}")
    page = Page("Where people look", config.checkpoint)
    if shared.notes:
        page.section("Mind").note("; ".join(shared.notes), warning=True)
    rows: list[dict[str, Any]] = []

    def work(source: Path, name: str) -> None:
        files, depends_on = Files(source, begins[source]), shared.depends_on(source)
        if is_written(files, depends_on, config):
            say(f"{name}: there already")
        else:
            people = write(files, shared, depends_on)
            say(f"{name}: {people} {'person' if people == 1 else 'people'}")
        rows.extend(rows_of(files))
        show(page, files, config)

    def failed(source: Path, error: UserError) -> None:
        page.section(source.name).note(f"Not predicted: {error}", warning=True)

    status = each(sources, work, failed, program="gaze-da")
    write_csv(config.out / "people.csv", COLUMNS, rows)
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
    return status
