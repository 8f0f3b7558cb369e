"""White sheets with lines of text, in the font that ships inside Pillow."""

from __future__ import annotations

from functools import cache

from PIL import Image, ImageDraw, ImageFont

GAP, LINE = 8, 22
"""Pixels between panels, and of a line of text."""

_LARGEST, _SMALLEST = 14, 9  # of the font


def blank(width: int, height: int) -> Image.Image:
    """An empty sheet."""
    return Image.new("RGB", (width, height), "white")


def write(
    sheet: Image.Image, text: str, at: tuple[int, int], width: int, *, flush_right: bool = False
) -> None:
    """Write a line that is no wider than `width`: smaller, and cut off where that is not enough.

    Args:
        sheet: what to write on.
        text: one line.
        at: left and upper edge of the line.
        width: pixels there are for it.
        flush_right: the line ends where its room does, instead of starting there.
    """
    size = _LARGEST
    while size > _SMALLEST and _font(size).getlength(text) > width:
        size -= 1
    font = _font(size)
    if font.getlength(text) > width:
        while text and font.getlength(f"{text}...") > width:
            text = text[:-1]
        text = f"{text}..."
    x = at[0] + (width - font.getlength(text) if flush_right else 0)
    ImageDraw.Draw(sheet).text((x, at[1]), text, fill="black", font=font)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
