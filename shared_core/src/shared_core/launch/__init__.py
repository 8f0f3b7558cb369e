"""Processes, devices, precision and sharding: the only place that builds an Accelerator.

- `presets/*.yaml`: ways to start, for `--launch NAME` and `accelerate launch --config_file FILE`.
- `presets.py`: reads them (without torch).
- `ranks.py`: starts the processes of a run on this machine, ends them together (without torch).
- `rank.py`: what each of those processes runs first.
- `supervise.py`: starts a training command anew when it dies (without torch).
- `accelerator.py`: connects the processes, or refuses when they are not the ones asked for.
- `collectives.py`: the few collective operations that learners and the loop need.
- `doctor.py`: what this machine can run, and what is missing.
- `environment.py`: versions and devices, for the record of a run.
"""
