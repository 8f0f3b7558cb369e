"""Metrics, data, launch, training, checkpoints and reports that the packages of this house share.

Importing it costs nothing: each room is imported where it is used.
"""

__version__ = "0.1.0"
