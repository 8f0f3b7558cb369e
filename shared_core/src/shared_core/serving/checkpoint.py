"""Which model a page serves, and what has to be said of where it comes from."""

from __future__ import annotations

from pathlib import Path

from shared_core.errors import UsageError
from shared_core.reporting.demo import is_demo


def newest_run(demo: Path, pattern: str, program: str) -> Path:
    """The run of a demo's folder whose model was written last.

    Args:
        demo: the folder, `out` of the demo.
        pattern: of the runs in it that hold what the demo is about, such as `run/seed-*`.
        program: whose demo.

    Raises:
        UsageError: there is none; says how to make one, and how to name another model.
    """
    models = [run / "model" for run in demo.glob(pattern) if (run / "model").is_dir()]
    if not models:
        raise UsageError(
            f"{demo}: no model of a demo is here.\nMake one (`{program} demo`), or name another: "
            f"`{program} demo --serve --checkpoint RUN`."
        )
    return max(models, key=lambda model: model.stat().st_mtime_ns).parent


def made_by_demo(checkpoint: str, program: str) -> bool:
    """Whether a checkpoint lies in the folder of a demo of the program."""
    return any(is_demo(folder, program) for folder in Path(checkpoint).resolve().parents)
