"""What can be asked of a page to try a model; fields of every package's `demo`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from shared_core.config import setting
from shared_core.errors import ConfigError

USUAL_PORT = 7860
"""Where the page is, unless another program is there."""

_HIGHEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """A page in the browser on a trained model, instead of the demo."""

    out: Path
    """Folder of the demo."""
    serve: bool = False
    """Open a page to try a model in the browser, instead of the demo; needs the extra `serve`."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="RUN|FOLDER|HUB_ID")] = None
    """With --serve: run folder, model folder or hub id; none: the newest model of the demo in `out`."""
    host: str = setting("127.0.0.1", changes_numbers=False)
    """With --serve: address to listen at. All but the default lets other machines use the page, which asks
    for no password."""
    port: int | None = setting(None, changes_numbers=False)
    """With --serve: port to listen at, 0 for any free one; none: 7860, or where that is taken, a free one."""
    max_upload: float = setting(1024.0, changes_numbers=False)
    """With --serve: largest file that the page takes, MiB."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: names the field.
        """
        if self.checkpoint is not None and not self.serve:
            raise ConfigError("checkpoint", self.checkpoint, "--serve beside it")
        if self.port is not None and not 0 <= self.port <= _HIGHEST_PORT:
            raise ConfigError("port", self.port, f"0 to {_HIGHEST_PORT}")
        if not 0 < self.max_upload < math.inf:
            raise ConfigError("max_upload", self.max_upload, "MiB above 0")
