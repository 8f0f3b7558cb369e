"""What a rank runs first: `python -m shared_core.launch.rank LIFELINE GRACE MODULE ARGUMENTS...`.

It runs the module as `python -m MODULE` would, under a lifeline: a pipe whose other end only the
parent holds. When the parent is gone, whatever killed it, the pipe ends; the rank then gets SIGTERM
(time to save a checkpoint), and SIGKILL after the grace. So no rank outlives its parent.
"""

from __future__ import annotations

import atexit
import contextlib
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
    status = _status_of(module)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has left, or it is closed
            stream.flush()
    # Not through the end of the interpreter: a thread of gloo that comes back to Python while it is
    # taken down aborts the process (SIGABRT), now and then, under load.
    os._exit(status)


def _status_of(module: str) -> int:
    """Run the module; what its end means to the shell."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # Ctrl-C while the module was still being imported
        return 128 + signal.SIGINT
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - what Python itself would do
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end_with_parent(lifeline: int, grace: float) -> None:
    os.read(lifeline, 1)  # nothing is ever written: this returns when the parent is gone
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.killpg(0, signal.SIGKILL)  # the group: loader workers and compilers go with their rank


if __name__ == "__main__":
    main()
