"""What can be chosen of pictures, videos and prompts, whatever is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared_core.config import setting
from shared_core.errors import ConfigError

BoxConvention = Literal["auto", "pixels", "thousandths"]
OnBadRow = Literal["raise", "quarantine"]


@dataclass(frozen=True, kw_only=True)
class MediaSettings:
    """How large a picture is when the model sees it, and which frames of a video it sees."""

    min_pixels: int = 3136
    """Fewest pixels of a picture or frame; a smaller one is enlarged."""
    max_pixels: int = 151_200
    """Most pixels of a picture or frame; a larger one is reduced, its shape kept."""
    nframes: int | None = None
    """Frames of a video, an even number; none: by `fps`."""
    fps: float = 1.0
    """Frames a second of a video that are seen, within `min_frames` and `max_frames`."""
    min_frames: int = 4
    """Fewest frames of a video, where it has as many."""
    max_frames: int = 768
    """Most frames of a video."""
    frame_cache: Path | None = setting(None, changes_numbers=False)
    """Folder that keeps the sampled frames of videos, so that each is decoded once; none: no cache."""
    think_template: Path | None = None
    """Text file with the slot {question}: asks for reasoning, then the score; none: ours."""
    no_think_template: Path | None = None
    """Text file with the slot {question}: asks for the score alone; none: ours."""

    def __post_init__(self) -> None:
        """Refuse sizes that no picture can have.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        for name in ("min_pixels", "min_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if self.max_pixels < self.min_pixels:
            raise ConfigError(
                "max_pixels", self.max_pixels, f"min_pixels ({self.min_pixels}) or more"
            )
        if self.max_frames < max(self.min_frames, 2):
            raise ConfigError("max_frames", self.max_frames, f"{max(self.min_frames, 2)} or more")
        if self.nframes is not None and self.nframes < 2:
            raise ConfigError("nframes", self.nframes, "2 or more, or none")
        if not self.fps > 0:
            raise ConfigError("fps", self.fps, "above 0")
