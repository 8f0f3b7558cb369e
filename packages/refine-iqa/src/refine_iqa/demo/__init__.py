"""The demo: a tiny vision-language model is tuned by reinforcement.

What it teaches is the paper's idea: rules that can be checked in a text teach a model to answer as it is
asked to. It claims only what it measures, on pictures never seen, beside the model before reinforcement.
"""

from refine_iqa.demo.run import command

__all__ = ["command"]
