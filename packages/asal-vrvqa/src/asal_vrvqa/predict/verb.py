"""The command `asal-vrvqa predict`."""

from __future__ import annotations

from typing import Any

from asal_vrvqa.config import PredictConfig
from asal_vrvqa.model.card import not_mos
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.predict.looking import predict
from asal_vrvqa.predict.sources import Job, jobs_of
from asal_vrvqa.predict.writing import COLUMNS, plot_of, row_of, told
from shared_core.commands import say
from shared_core.data.tables import read_json, write_csv, write_json
from shared_core.errors import DataError, UsageError, UserError
from shared_core.files import replace_file
from shared_core.launch.devices import chosen_device
from shared_core.predicting import DEPENDS_ON, digest, each, is_finished, make_writable
from shared_core.reporting.page import Page

NO_CHECKPOINT = (
    "--checkpoint: a score needs a trained model, and none comes with this package.\n"
    "Train one (`asal-vrvqa train --labels ... --frames ...`), convert the authors' weights "
    "(`asal-vrvqa convert`), or try the demo's (`asal-vrvqa demo`), which is not calibrated to MOS."
)


def command(config: PredictConfig) -> int:
    """`asal-vrvqa predict`: every source by itself; one that fails does not stop the others."""
    if config.checkpoint is None:
        raise UsageError(NO_CHECKPOINT)
    jobs = jobs_of(config)
    make_writable(config.out)
    model = QualityModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    network, folded = digest(model), model.for_evaluation()
    note = not_mos(model.config)
    page = Page("Quality of 360-degree videos", config.checkpoint)
    if note is not None:
        say(f"NOTE: {note}")
        page.section("Mind").note(note, warning=True)
    rows: list[dict[str, Any]] = []

    def work(job: Job, name: str) -> None:
        result = config.out / f"{job.name}.json"
        depends_on = _depends_on(job, config, network)
        if not is_finished(result, depends_on):
            found = predict(
                folded,
                job.path,
                seconds=job.seconds,
                yaw=job.yaw,
                pitch=job.pitch,
                begin=config.begin,
                repeat_last=config.repeat_last,
                projection=config.projection,
                batch_size=config.batch_size,
                seed=config.seed,
            )
            replace_file(config.out / f"{job.name}.svg", plot_of(found.to_json()))
            about = {
                "source": str(job.path),
                "seconds": job.seconds,
                "yaw": job.yaw,
                "pitch": job.pitch,
            }
            write_json(result, {**about, **found.to_json(), DEPENDS_ON: depends_on})
        content = read_json(result)
        rows.append(row_of(job, content))
        say(f"{name}: {told(content)}")
        section = page.section(job.name).text(told(content))
        section.figure(plot_of(content))

    def failed(job: Job, error: UserError) -> None:
        rows.append({**row_of(job, {}), "error": str(error).partition("\n")[0]})
        page.section(job.name).note(f"Not scored: {error}", warning=True)

    status = each(jobs, work, failed, program="asal-vrvqa")
    write_csv(config.out / "scores.csv", COLUMNS, rows)
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
    return status


def _depends_on(job: Job, config: PredictConfig, network: str) -> dict[str, Any]:
    try:
        stat = job.path.stat()
    except OSError as error:
        raise DataError(job.path, f"cannot be read ({error.strerror})") from error
    return {
        "path": str(job.path),
        "bytes": stat.st_size,
        "changed": stat.st_mtime_ns,
        "network": network,
        "seconds": job.seconds,
        "yaw": job.yaw,
        "pitch": job.pitch,
        "begin": config.begin,
        "repeat_last": config.repeat_last,
        "projection": config.projection,
        "seed": config.seed,
    }
