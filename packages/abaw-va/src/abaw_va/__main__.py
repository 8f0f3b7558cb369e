"""`python -m abaw_va`: the same program as `abaw-va`, as `accelerate launch -m` starts it."""

import sys

from abaw_va.cli import main

if __name__ == "__main__":
    sys.exit(main())
