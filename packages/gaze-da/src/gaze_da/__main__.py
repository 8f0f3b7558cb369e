"""`python -m gaze_da`: the same program as `gaze-da`, as `accelerate launch -m` starts it."""

import sys

from gaze_da.cli import main

if __name__ == "__main__":
    sys.exit(main())
