"""Tensors by name in safetensors files; other people's `.pth` files, without running their code."""

from __future__ import annotations

import codecs
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared_core.errors import CheckpointError
from shared_core.faultpoints import reach

_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
)  # where frameworks put the weights in a `.pth`
_BEGINNING = 1 << 20  # bytes of a pickle in which the first name it asks for is looked for
_SHOWN = 8  # keys listed in a message before "and n more"


def _numpy_scalars() -> tuple[Any, ...]:
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = ("Float16", "Float32", "Float64", "Int32", "Int64", "Bool")
    dtypes = (getattr(np.dtypes, f"{kind}DType") for kind in kinds)
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return (
        *((scalar, name) for name in names),
        (codecs.encode, "_codecs.encode"),
        np.dtype,
        *dtypes,
    )


NUMPY_SCALARS = _numpy_scalars()
"""What a file needs that holds numpy's numbers beside its tensors: none of it runs anything."""


def save_weights(
    path: Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name; on any device, of any strides, tied ones each in full.

    Args:
        path: file to write; complete when the call returns, but not yet synced to the disk.
        state_dict: tensors by name, such as `module.state_dict()`.
        metadata: text by name, kept in the file's header.

    Raises:
        OSError: the file cannot be written (`errno.ENOSPC` where the disk is full).
    """
    reach(f"before:{path.name}")
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(_separate(state_dict), path, dict(metadata or {}))
    except SafetensorError as error:
        number = re.search(
            r"os error (\d+)", str(error)
        )  # safetensors hides the OSError in its text
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(mode)  # safetensors makes files that their owner alone can read
    reach(f"after:{path.name}")


def _separate(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors needs them: on the CPU, contiguous, no storage used twice."""
    separate: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in state_dict.items():
        # A lazily conjugated or negated view would be written without its conjugation or sign.
        plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        separate[name] = plain.clone() if storage in storages else plain
        storages.add(storage)
    return separate


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU.

    Raises:
        CheckpointError: there is no such file, or it is not a whole safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"not a readable safetensors file ({error})") from error


def load_metadata(path: Path) -> dict[str, str]:
    """Read the text that `save_weights` put into the header.

    Raises:
        CheckpointError: there is no such file, or it is not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"not a readable safetensors file ({error})") from error


def load_legacy(path: Path, *, classes: Sequence[Any] = ()) -> dict[str, Tensor]:
    """Read the weights of a `.pth` or `.pt` file that somebody else made, running none of its code.

    Args:
        path: the file.
        classes: see `read_legacy`.

    Returns:
        Tensors by name, on the CPU: the mapping in the file, or the first that is not empty of those
        it holds under `state_dict`, `model_state_dict` or `model`.

    Raises:
        CheckpointError: the file needs code to be run (the message names the first global it asks
            for), is damaged, unpacks to more than its size, or holds no tensors by name.
    """
    return weights_in(read_legacy(path, classes=classes), path)


def read_legacy(path: Path, *, classes: Sequence[Any] = ()) -> Any:
    """Read all that a `.pth` or `.pt` file holds, on the CPU, running none of its code.

    Args:
        path: the file.
        classes: harmless ones of which the file may hold instances, such as loss modules, or
            `NUMPY_SCALARS`. An instance is made without its constructor, and gets the attributes that
            the file gives.

    Raises:
        CheckpointError: the file needs code to be run, is damaged, or unpacks to more than its size.
    """
    if not path.is_file():
        raise CheckpointError(path, "no such file")
    _refuse_bomb(path)
    try:
        with torch.serialization.safe_globals(list(classes)), warnings.catch_warnings():
            # Of a pickle's protocol, torch says what concerns its own authors.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can fail in any way at all
        raise _refusal(path, error) from error


def weights_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The weights among what `read_legacy` found, as `load_legacy` returns them.

    Raises:
        CheckpointError: there are no tensors by name.
    """
    if isinstance(content, Mapping):
        wrapped = (content.get(name) for name in _WRAPPERS)
        content = next(
            (found for found in wrapped if isinstance(found, Mapping) and found), content
        )
    return _tensors_by_name(path, content)


def _refuse_bomb(path: Path) -> None:
    """An archive that unpacks to more than its size is not torch's: torch does not compress."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CheckpointError(path, f"not a readable archive ({error})") from error
    size = path.stat().st_size
    if unpacked > size:
        raise CheckpointError(
            path,
            f"{size} bytes that unpack to {unpacked}",
            expected="an archive that torch.save wrote",
            remedy="It was packed by something else: get the file again from its source.",
        )


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """Why a file is not read; not in the words of torch, which advises to read it anyhow."""
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    name = named[1] if named else _first_global(path)
    if "legacy .tar" in text or "TorchScript" in text:
        found = "an old format of torch that can only be read by running code from the file"
    elif isinstance(error, pickle.UnpicklingError) and name:
        found = f"{name}, which is code that loading would run"
    else:
        return CheckpointError(
            path,
            f"not a readable torch checkpoint ({type(error).__name__})",
            remedy="It may be cut short: get it again from its source, and compare the size.",
        )
    return CheckpointError(
        path,
        found,
        expected="tensors only",
        remedy="Nothing of it was run. Ask its author for a safetensors file, or for one written "
        "with torch.save(model.state_dict(), ...).",
    )


def _first_global(path: Path) -> str:
    """The first name that a bare pickle of protocol 4 or 5 asks for, found without unpickling."""
    strings: list[str] = []
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        for operation, argument, _ in pickletools.genops(beginning):
            if operation.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            if isinstance(argument, str):
                strings.append(argument)
    except ValueError:  # not a pickle, or cut short
        pass
    return ""


def _tensors_by_name(path: Path, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise CheckpointError(path, type(content).__name__, expected="tensors by name")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise CheckpointError(
                path, f"{type(value).__name__} under {name!r}", expected="tensors by name"
            )
    return dict(content)


def load_into(
    module: nn.Module, state: Mapping[str, Tensor], *, path: Path, optional: Iterable[str] = ()
) -> None:
    """Put weights into a module; all of them fit, or none is changed.

    Args:
        module: the module to fill, in place.
        state: tensors by name.
        path: where they came from, for the message.
        optional: patterns (`head.*`) of names that either side may lack.

    Raises:
        CheckpointError: names are missing, left over, or of another shape; lists the first eight.
    """
    patterns = tuple(optional)

    def must(name: str) -> bool:
        return not any(fnmatchcase(name, pattern) for pattern in patterns)

    wanted = module.state_dict()
    missing = [f"{n} {_shape(wanted[n])}" for n in wanted if n not in state and must(n)]
    extra = [f"{n} {_shape(state[n])}" for n in state if n not in wanted and must(n)]
    wrong = [
        f"{n} {_shape(state[n])} instead of {_shape(wanted[n])}"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    faults = [
        f"{kind} {_listed(names)}"
        for kind, names in (("missing", missing), ("unknown", extra), ("of wrong shape", wrong))
        if names
    ]
    if faults:
        raise CheckpointError(
            path,
            "; ".join(faults),
            expected=f"the weights of {type(module).__name__}",
            remedy="It was made for another model, or with other settings of this one.",
        )
    module.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape)}"


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
