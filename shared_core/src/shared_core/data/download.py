"""Files from the network, accepted only with the sha256 that is written beside their address."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared_core.errors import DataError, UsageError
from shared_core.extras import require

SECONDS = 30
"""How long the server may be silent."""


def fetch(
    url: str, sha256: str, folder: Path | str, name: str | None = None, *, retries: int = 2
) -> Path:
    """Download a file once; the next call finds it in the folder and needs no network.

    It comes under a temporary name and gets its own when the sha256 is right, so that a file in the
    folder is always whole. An interrupted download starts from the beginning. A progress bar is
    shown on a terminal.

    Args:
        url: http or https.
        sha256: 64 hexadecimal digits, the hash of the file.
        folder: where it is kept.
        name: file name; by default the last part of the address.
        retries: further tries after a failed one.

    Returns:
        Path of the file.

    Raises:
        UsageError: the address, hash or name cannot be one.
        DataError: the file cannot be had or is another one; says how to put it there by hand.
    """
    parts = urlsplit(url)
    name = name if name is not None else unquote(Path(parts.path).name)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"expected an http or https address, found {url!r}.")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"{url}: expected a sha256 of 64 hexadecimal digits, found {sha256!r}.")
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
        raise UsageError(f"{url}: expected a plain file name, found {name!r}.")
    target = Path(folder) / name
    try:
        _fetch(url, sha256.lower(), target, retries)
    except (OSError, ValueError) as error:  # requests raises OSErrors, a wrong hash is a ValueError
        raise DataError(
            target,
            f"{url} could not be downloaded ({_reason(error)})",
            remedy=f"Download it by hand and save it as {target}; its sha256 must be\n{sha256}.",
        ) from error
    return target


def _fetch(url: str, sha256: str, target: Path, retries: int) -> None:
    pooch = require("pooch", "download")
    require("tqdm", "download")
    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: f"sha256:{sha256}"},
        urls={target.name: url},
        retry_if_failed=retries,
    )
    show = sys.stderr.isatty()
    store.fetch(
        target.name,
        downloader=pooch.HTTPDownloader(progressbar=show, timeout=SECONDS, chunk_size=2**20),
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ValueError) and "hash" in text.lower():
        return "the sha256 is another one: the file was changed or cut short on its way"
    return text[:300]
