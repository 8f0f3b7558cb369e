"""`python -m tools.faults`."""

import sys

from tools.faults.runner import main

if __name__ == "__main__":
    sys.exit(main())
