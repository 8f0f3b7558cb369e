"""What a training's record says of the updates that it has made."""

from __future__ import annotations

from pathlib import Path

from shared_core.errors import UserError
from shared_core.reporting.events import read


def updates(run: Path) -> list[int]:
    """Steps of the updates that a run's record holds; none where there is no record yet."""
    try:
        return [event["step"] for event in read(run) if event["kind"] == "train"]
    except UserError:
        return []
