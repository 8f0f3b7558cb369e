"""The command `adaglimpse predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaglimpse.config import PredictConfig
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import Replace
from adaglimpse.predict.looking import predictions
from adaglimpse.predict.prediction import Prediction
from adaglimpse.predict.report import Report
from adaglimpse.predict.sources import find, pictures
from adaglimpse.predict.state import AverageState, Replaced
from adaglimpse.predict.writing import Names, write_pictures
from shared_core.commands import say
from shared_core.data.tables import write_jsonl
from shared_core.errors import UsageError, UserError
from shared_core.launch.devices import chosen_device
from shared_core.predicting import make_writable

NO_CHECKPOINT = (
    "--checkpoint: where to look takes a trained model, and none comes with this package.\n"
    "Train one (`adaglimpse train --data-dir ...`), convert the authors' weights (`adaglimpse convert`), "
    "or try the demo's (`adaglimpse demo`)."
)


def command(config: PredictConfig) -> int:
    """`adaglimpse predict`: every source by itself; one that fails does not stop the others."""
    if config.checkpoint is None:
        raise UsageError(NO_CHECKPOINT)
    files = find(config.sources)
    model = GlimpseModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    average = None if config.dump_avg_state is None else AverageState()
    replace = _replacing(config, model, average)
    make_writable(config.out)
    report = Report(config.checkpoint, model.config)
    if report.note is not None:
        say(f"NOTE: {report.note}")
    failures: list[Path] = []

    def failed(path: Path, error: UserError) -> None:
        failures.append(path)
        sys.stderr.write(f"adaglimpse: {path.name}: {error}\n")
        report.failure(path, error)

    found = predictions(
        model,
        pictures(
            files,
            config.every,
            failed,
            random_samples=config.random_samples,
            seed=config.seed,
        ),
        num_glimpses=config.num_glimpses,
        early_stop_threshold=config.early_stop_threshold,
        eval_action=config.eval_action,
        batch_size=config.batch_size,
        seed=config.seed,
        replace=replace,
    )
    write_jsonl(config.out / "predictions.jsonl", _written(found, config, report))
    if average is not None and config.dump_avg_state is not None and report.count:
        average.save(config.dump_avg_state, model.config)
    path = report.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
    return 1 if failures else 0


def _replacing(
    config: PredictConfig, model: GlimpseModel, average: AverageState | None
) -> Replace | None:
    """What is done with what the policy sees: counted as it is, then replaced."""
    if config.avg_state is None or not config.replace_state:
        return average
    glimpses = config.num_glimpses or model.config.num_glimpses
    replaced = Replaced.read(config.avg_state, config.replace_state, model.config, glimpses)
    if average is None:
        return replaced
    return lambda seen: replaced(average(seen))


def _written(
    found: Iterator[Prediction], config: PredictConfig, report: Report
) -> Iterator[dict[str, Any]]:
    """Write and show each prediction as it comes, and pass it on as a line of JSON."""
    names = Names()
    for prediction in found:
        name = names.new(prediction.name)
        files = write_pictures(prediction, config, name)
        report.add(prediction, name, files, config.out)
        milliseconds = 1000 * prediction.seconds.mean()
        say(
            f"{name}: after {prediction.steps} glimpses {prediction.caption(prediction.steps)}, "
            f"{milliseconds:.0f} ms a step"
        )
        yield prediction.to_json() | files
