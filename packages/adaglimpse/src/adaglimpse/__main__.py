"""`python -m adaglimpse`: the same program as `adaglimpse`, as `accelerate launch -m` starts it."""

import sys

from adaglimpse.cli import main

if __name__ == "__main__":
    sys.exit(main())
