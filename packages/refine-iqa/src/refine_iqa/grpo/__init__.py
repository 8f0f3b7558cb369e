"""Reinforcement: trl's `GRPOTrainer` is the loop, and what the paper adds to it is here.

Importing this room imports trl, which takes seconds.
"""
