"""The right score, written as the model is asked to write it."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Literal


def label_text(mos: float, how: Literal["round", "truncate"] = "round") -> str:
    """A MOS in one digit, a point and two decimals: "4.40".

    Args:
        mos: 1..5.
        how: `round` the binary value (4.405 is "4.41"), or cut its shortest decimal form off, as the
            authors' code does (4.408 is "4.40", 3.999 is "3.99").
    """
    if how == "round":
        return f"{mos:.2f}"
    return str(Decimal(str(mos)).quantize(Decimal("0.01"), rounding=ROUND_DOWN))
