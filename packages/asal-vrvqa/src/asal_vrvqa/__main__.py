"""`python -m asal_vrvqa`: the same program as `asal-vrvqa`, as `accelerate launch -m` starts it."""

import sys

from asal_vrvqa.cli import main

if __name__ == "__main__":
    sys.exit(main())
