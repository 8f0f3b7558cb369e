"""The manifest of a checkpoint: what must be there, to the bit, before anything of it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shared_core.errors import CheckpointError
from shared_core.faultpoints import reach
from shared_core.files import replace_file, sync_file, sync_folder

MANIFEST = "manifest.json"
_FORMAT = 1


def seal(folder: Path, about: Mapping[str, Any]) -> None:
    """Put everything in a folder on the disk, and write its manifest last.

    Args:
        folder: holds the files, in subfolders too.
        about: JSON values (finite numbers) that the manifest carries besides the list of files.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: `about` is not JSON.
    """
    paths = files_in(folder)
    with (
        ThreadPoolExecutor() as pool
    ):  # syncing and hashing both release the interpreter: they overlap
        syncs = [pool.submit(sync_file, path) for path in paths]
        hashes = list(pool.map(sha256_of, paths))
        for sync in syncs:
            sync.result()
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256, "bytes": path.stat().st_size}
        for path, sha256 in zip(paths, hashes, strict=True)
    }
    # Through JSON once, so that the hash below is of what a reader will see (int keys become text).
    content = json.loads(json.dumps({"format": _FORMAT, **about, "files": files}, allow_nan=False))
    reach(f"before:{MANIFEST}")
    signed = content | {"sha256": _own_hash(content)}
    replace_file(folder / MANIFEST, json.dumps(signed, indent=1) + "\n")
    reach(f"after:{MANIFEST}")
    for inner in folder.rglob("*/"):
        sync_folder(inner)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest and verify it against its own hash; the files are not looked at.

    Raises:
        CheckpointError: it is missing, damaged, or of a format that this version does not know.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        intact = content.pop("sha256") == _own_hash(content)
    except OSError as error:
        raise CheckpointError(path, f"the manifest cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(path, "the manifest is damaged") from error
    if not intact:
        raise CheckpointError(path, "the manifest is damaged")
    if content.get("format") != _FORMAT:
        raise CheckpointError(path, f"{content.get('format')}", expected=f"format {_FORMAT}")
    return dict(content)


def verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare a folder with the `files` of its manifest, cheap checks first.

    Raises:
        CheckpointError: a file is missing, unknown, or of another size or content; names it.
    """
    present = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    present.pop(MANIFEST, None)
    for name in sorted(present.keys() ^ files.keys()):
        fault = "the file is missing" if name in files else "the manifest does not list this file"
        raise CheckpointError(folder / name, fault)
    verify_contents(folder, files)


def verify_contents(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare some files of a folder, whatever else lies there, with what its manifest says of them.

    Raises:
        CheckpointError: a file is missing, or of another size or content; names it.
    """
    paths = {name: folder / name for name in files}
    for name, path in paths.items():
        if not path.is_file():
            raise CheckpointError(path, "the file is missing")
        size, expected = path.stat().st_size, files[name]["bytes"]
        if size != expected:
            raise CheckpointError(path, f"{size}", expected=f"{expected} bytes")
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(paths, pool.map(sha256_of, paths.values()), strict=True))
    for name, sha256 in hashes.items():
        if sha256 != files[name]["sha256"]:
            raise CheckpointError(paths[name], "its sha256 is not the one in the manifest")


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_hash(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
