"""`python -m refine_iqa`: the same program as `refine-iqa`, as `accelerate launch -m` starts it."""

import sys

from refine_iqa.cli import main

if __name__ == "__main__":
    sys.exit(main())
