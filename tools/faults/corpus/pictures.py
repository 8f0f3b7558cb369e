"""Damaged and hostile pictures: what may lie under an innocent name in a folder of images."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

HUGE = 100_000
"""Pixels of each side that the bombs declare: 30 GB as RGB."""
_PNG = b"\x89PNG\r\n\x1a\n"


def picture(kind: str, size: tuple[int, int] = (96, 72), seed: int = 0) -> bytes:
    """A whole picture of noise as a file's content; `kind` is JPEG or PNG."""
    noise = Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    return buffer.getvalue()


def png_bomb() -> bytes:
    """A PNG of a few hundred bytes that declares 100 000 x 100 000 pixels."""
    header = struct.pack(">IIBBBBB", HUGE, HUGE, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 16), 9)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def jpeg_bomb() -> bytes:
    """A JPEG whose frame header declares 65 000 x 65 000 pixels, all else being a small picture's."""
    data = bytearray(picture("JPEG"))
    frame = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, frame + 5, 65_000, 65_000)
    return bytes(data)


def unpacking_png() -> bytes:
    """A well-formed PNG of 9000 x 9000 equal pixels: 300 KB that unpack to 243 MB."""
    side = 9000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(3 * side)) * side, 9)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _bad_checksum(whole: bytes) -> bytes:
    place = whole.index(b"IDAT") + 40
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


DAMAGED: dict[str, Callable[[], bytes]] = {
    "jpeg cut in half": lambda: picture("JPEG")[: len(picture("JPEG")) // 2],
    "jpeg of its header alone": lambda: picture("JPEG")[:200],
    "png cut in half": lambda: picture("PNG")[: len(picture("PNG")) // 2],
    "png with a flipped bit": lambda: _bad_checksum(picture("PNG")),
    "no bytes": lambda: b"",
    "zeros": lambda: bytes(4096),
    "noise": lambda: random.Random(1).randbytes(4096),
    "text": lambda: b"<html><body>404 not found</body></html>\n",
    "gzip": lambda: gzip.compress(picture("PNG"), mtime=0),
    "vector graphics that name a file": lambda: (
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>'
    ),
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\nshowpage\n",
    "png of 100 000 x 100 000": png_bomb,
    "jpeg of 65 000 x 65 000": jpeg_bomb,
}
"""Content that no reader of pictures may accept, by what it is."""


def spoil(path: Path, number: int) -> str:
    """Replace a picture by damaged content, the kinds taken in turn; returns which."""
    kind = list(DAMAGED)[number % len(DAMAGED)]
    path.write_bytes(DAMAGED[kind]())
    return kind
