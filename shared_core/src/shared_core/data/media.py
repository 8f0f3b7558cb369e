"""Opening and decoding what FFmpeg reads, with errors that name the file and the place.

PyAV carries FFmpeg in its wheel, so nothing has to be installed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared_core.errors import DataError
from shared_core.extras import require

av = require("av", "video")

REPAIR = "Copy or download it again, or repair it (ffmpeg -i damaged.mp4 repaired.mp4)."


@contextmanager
def open_media(path: Path | str) -> Iterator[Any]:
    """Open a local video or sound file as a PyAV container, closed on leaving.

    Raises:
        DataError: no such file, an empty file, or data that is neither video nor sound (a renamed
            text file).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "there is no such file")
    try:
        if path.stat().st_size == 0:
            raise DataError(path, "an empty file", expected="a video or sound file")
        # "file:" and the whitelist keep FFmpeg from taking a name for an address ("12:30.mp4",
        # "concat:a|b") and a play list from reaching for the network.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (OSError, av.error.FFmpegError) as error:
        raise DataError(
            path,
            f"something FFmpeg cannot open ({error.strerror})",
            expected="a video or sound file",
            remedy=f"If this is one, it is cut short or damaged. {REPAIR}",
        ) from error
    with container:
        yield container


def decoded(container: Any, stream: Any, path: Path | str) -> Iterator[Any]:
    """The decoded frames of one stream, in the order of presentation.

    Raises:
        DataError: an incomplete packet, a damaged frame, or a stream that cannot be decoded; names
            the frame, and the time, up to which all was well.
    """
    count, time_s = 0, 0.0

    def damage(found: str) -> DataError:
        where = f"{stream.type} frame {count} (after {time_s:.3f} s)"
        return DataError(
            path, f"{found}; the file is cut short or damaged", where=where, remedy=REPAIR
        )

    try:
        for packet in container.demux(stream):
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise damage("the frame cannot be decoded whole")
                yield frame
                count, time_s = count + 1, time_s if frame.time is None else frame.time
            # Checked after decoding, so that the frames before the damage are all delivered.
            if packet.is_corrupt:
                raise damage("the data end inside the frame")
    except av.error.FFmpegError as error:
        raise damage(f"decoding stops ({error.strerror})") from error
