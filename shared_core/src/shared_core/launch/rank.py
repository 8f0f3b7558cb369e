"""What a rank runs first: `python -m shared_core.launch.rank LIFELINE GRACE MODULE ARGUMENTS...`.

It runs the module as `python -m MODULE` would, under a lifeline: a pipe whose other end only the
parent holds. When the parent is gone, whatever killed it, the pipe ends; the rank then gets SIGTERM
(time to save a checkpoint), and SIGKILL after the grace. So no rank outlives its parent.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time


def main() -> None:
    """Hold the lifeline and run the module."""
    lifeline, grace, module, *arguments = sys.argv[1:]
    watch = threading.Thread(
        target=_end_with_parent, args=(int(lifeline), float(grace)), daemon=True
    )
    watch.start()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # Ctrl-C while the module was still being imported
        sys.exit(128 + signal.SIGINT)


def _end_with_parent(lifeline: int, grace: float) -> None:
    os.read(lifeline, 1)  # nothing is ever written: this returns when the parent is gone
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.killpg(0, signal.SIGKILL)  # the group: loader workers and compilers go with their rank


if __name__ == "__main__":
    main()
