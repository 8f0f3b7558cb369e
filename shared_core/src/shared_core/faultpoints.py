"""Named moments at which a fault test kills the process; in any other run they do nothing.

Long runs are trusted only as far as they have been killed. The code names the moments that matter
(`reach("before-rename")`), and a test starts a real process with

    SHARED_CORE_FAULT_AT="before-rename:2"

which then ends itself by SIGKILL, as a lost machine would, when it gets there for the second time.
Without the number it is the first time. The store's names are listed in `checkpoints.store`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

VARIABLE = "SHARED_CORE_FAULT_AT"

_times_reached: Counter[str] = Counter()


def reach(point: str) -> None:
    """Die here if the environment asks for it; a name may hold a colon (`before:a.json`)."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    name, _, occurrence = wanted.rpartition(":")
    if not occurrence.isdecimal():
        name, occurrence = wanted, "1"
    _times_reached[point] += 1
    if point == name and _times_reached[point] == int(occurrence):
        os.kill(os.getpid(), signal.SIGKILL)
