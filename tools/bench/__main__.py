"""`hatch run bench [NAME ...] [--json FILE]`: one thread, then the runner."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # each library reads it once, when imported
    from tools.bench.runner import main

    sys.exit(main())
