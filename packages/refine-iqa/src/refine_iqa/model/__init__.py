"""The vision-language model: a tiny one for trials, loading, positions, and what a group shares."""

import warnings
from typing import Any

from transformers.utils import logging


def _no_bar(_: Any, given: Any, named: Any) -> Any:
    return logging.EmptyTqdm(*given, **named)  # type: ignore[no-untyped-call]


# transformers draws a bar on standard error for every model that is read or written; downloads keep theirs.
logging.set_tqdm_hook(_no_bar)

# trl and peft still call transformers' activation checkpointing by its old name.
warnings.filterwarnings(
    "ignore", r"`(is_)?gradient_checkpointing", FutureWarning, module=r"transformers\."
)
