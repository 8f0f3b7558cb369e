"""Checkpoints that survive: what was saved is found whole again, or is said to be damaged.

`store` keeps the checkpoints of a run (atomic, hashed, pruned), each with a `manifest`; `tree`
writes optimiser and run state without pickle; `weights` reads and writes tensors by name (and other
people's `.pth`); `pretrained` gives a model `save_pretrained`, `from_pretrained`, `push_to_hub`.
"""
