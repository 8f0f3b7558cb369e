"""The vision-language model: a tiny one for trials, loading, positions, and what a group shares."""

from transformers.utils import logging

# transformers draws a bar on standard error for every model that is read or written, in a pipe too.
# Downloads keep theirs.
logging.set_tqdm_hook(lambda _, given, named: logging.EmptyTqdm(*given, **named))
