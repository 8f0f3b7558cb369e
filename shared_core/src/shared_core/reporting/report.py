"""The report of a run, from what lies in its folder; a run that is not finished has one too.

    config.yaml        the settings                     environment.json   versions and devices
    events.jsonl       what happened                    summary.json       how it ended
    quarantine.json    rows that were left out          fingerprint.json   whose run it is
    examples/          pictures, with captions.json: {"file name": "caption"}
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from shared_core.errors import DataError
from shared_core.extras import require
from shared_core.reporting import events as record

REPORT = "report.html"
_POINTS = 300  # of a curve; more are averaged, with a band from the lowest to the highest
_EXAMPLES, _EXAMPLE_BYTES = 24, 4 << 20
_ROWS = 200  # of the quarantine
_FIXED = ("time", "kind", "step", "epoch")

Event = Mapping[str, Any]


def run_report(folder: Path) -> Path:
    """Write `report.html` into a run folder; returns its path.

    Raises:
        DataError: the folder holds no run, its record is damaged, or it cannot be written.
        MissingExtraError: the extra `report` is not installed.
    """
    return run_page(folder).write(folder / REPORT)  # type: ignore[no-any-return]
