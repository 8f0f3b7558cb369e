"""Real data for tests, where the checkout has them beside it."""

from __future__ import annotations

from pathlib import Path

import pytest


def shared_data(*parts: str) -> Path:
    """A file or folder of the real sample data, such as `shared_data("abaw-va/video/clip.mp4")`.

    The data lie in a folder `shared/data` in or beside the checkout: it is looked for upwards from
    the working folder and from this file. Where it is absent, the calling test is skipped.
    """
    wanted = Path("shared", "data", *parts)
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / wanted).exists():
                return folder / wanted
    pytest.skip(f"the sample data are not here: no {wanted} in or beside the checkout")
