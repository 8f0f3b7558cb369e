"""Real faults on real runs of all packages, counted: see `docs/faults.md`."""
