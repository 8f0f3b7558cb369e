"""Pickles that leave a file behind when they are loaded: the canary says that code of them ran.

`shared_core.testing.faults.hostile_checkpoints` has what torch writes; here is what else comes with
a data set or a release, and what gets by a reader that forbids a list of names.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sys
import timeit
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import torch

from shared_core.testing.faults import Call, hostile_checkpoints

UNSAFE = """
import gzip, io, pickle, sys, zipfile, zlib
import h5py, numpy, torch

def attribute(path):
    with h5py.File(path) as file:
        return pickle.loads(bytes(file.attrs["about"]))

def array(path):
    found = numpy.load(path, allow_pickle=True)
    return [found[name] for name in found.files] if hasattr(found, "files") else found

def tar(path):
    import tarfile
    with tarfile.open(path) as archive:
        return pickle.load(archive.extractfile("pickle"))

LOADERS = (
    lambda path: torch.load(path, weights_only=False),
    lambda path: pickle.loads(open(path, "rb").read()),
    array,
    attribute,
    lambda path: pickle.loads(zlib.decompress(open(path, "rb").read())),
    lambda path: pickle.loads(gzip.decompress(open(path, "rb").read())),
    lambda path: pickle.loads(zipfile.ZipFile(path).read("archive/data.pkl")),
    tar,
)
for path in sys.argv[1:]:
    for load in LOADERS:
        try:
            load(path)
        except BaseException:
            pass
"""
"""A script that loads the files it is given in every way that runs what is in them."""


def hostile_pickles(folder: Path, canary: Path) -> dict[str, Path]:
    """Write the whole corpus into a folder; {what it is: file}."""
    folder.mkdir(parents=True, exist_ok=True)
    torch_files = hostile_checkpoints(folder, canary)
    # `getattr` finds a function and calls nothing: refused as well, but silent when it is loaded.
    loud = {name: path for name, path in torch_files.items() if not name.startswith("getattr")}
    return loud | other_pickles(folder, canary)


def other_pickles(folder: Path, canary: Path) -> dict[str, Path]:
    """Write the part that is made here."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"open({str(canary)!r}, 'w').close()"
    made = {"attribute of an HDF5 file": _hdf5(folder / "attribute.h5", Call(exec, code))}
    for name, (ending, content) in _files(code, canary).items():
        made[name] = folder / f"{name.replace(' ', '-')}{ending}"
        made[name].write_bytes(content)
    return made


def _files(code: str, canary: Path) -> dict[str, tuple[str, bytes]]:
    run = Call(exec, code)
    rows = [{"filename": "a.jpg", "ann": {"bboxes": run}}]
    bare = {
        f"annotations in protocol {p}": (".pickle", pickle.dumps(rows, p)) for p in range(6)
    } | {name: (".pth", pickle.dumps(payload, 4)) for name, payload in _indirect(code).items()}
    return bare | {
        **{name: (".pkl", content) for name, content in _by_hand(code, canary).items()},
        "array of objects": (".npy", _numpy(np.save, run)),
        "archive of arrays of objects": (".npz", _numpy(np.savez, run)),
        "deflated as joblib does": (".joblib", zlib.compress(pickle.dumps(run))),
        "in gzip": (".pkl.gz", gzip.compress(pickle.dumps(run), mtime=0)),
        "named safetensors": (".safetensors", pickle.dumps({"weight": run})),
        "lightning": (".ckpt", _torch(_lightning(run))),
        "lightning callbacks": (".ckpt", _torch(_lightning({}, callbacks={"stop": run}))),
        "lightning in the older format": (".ckpt", _torch(_lightning(run), archive=False)),
        "tensors beside one call": (
            ".pth",
            _torch({f"w{n}": torch.ones(2) for n in range(9)} | {"x": run}),
        ),
        "optimiser state": (".pth", _torch({"model": {}, "optimizer": {"state": {0: run}}})),
    }


def _indirect(code: str) -> dict[str, Any]:
    """Calls of harmless-looking names of the standard library, numpy and torch that run code."""
    from numpy.testing._private.utils import runstring

    inner = _torch(Call(exec, code))
    return {
        "timeit": Call(timeit.timeit, code, "pass", timeit.default_timer, 1),
        "numpy runstring": Call(runstring, code, {}),
        "torch storage from bytes": Call(torch.storage._load_from_bytes, inner),
        "pickle in a pickle": Call(pickle.loads, pickle.dumps(Call(exec, code))),
        "map in a list": Call(list, Call(map, exec, [code])),
        "os.execv": Call(os.execv, sys.executable, [sys.executable, "-c", code]),
        "counter of a call": Counter([Call(eval, f"{code} or 1")]),
        "deep": _nested(Call(exec, code), 100),
    }


def _nested(payload: object, depth: int) -> object:
    for _ in range(depth):
        payload = [payload]
    return payload


def _by_hand(code: str, canary: Path) -> dict[str, bytes]:
    """Streams that no pickler writes: old opcodes, and state that becomes a call."""
    text = repr(code).encode()
    namespace = SimpleNamespace.__module__.encode() + b"\nSimpleNamespace\n"
    touch = repr(f"touch {canary}").encode()
    return {
        "opcode INST": b"(S" + text + b"\nibuiltins\nexec\n.",
        "opcode OBJ": b"(cbuiltins\nexec\nS" + text + b"\no.",
        "opcode REDUCE of protocol 0": b"cbuiltins\nexec\n(S" + text + b"\ntR.",
        "state that is called": (
            b"c" + namespace + b"(tR(dS'__setstate__'\ncos\nsystem\nsb" + b"S" + touch + b"\nb."
        ),
        "a call before the tensors": b"cbuiltins\nexec\n(S" + text + b"\ntR0" + pickle.dumps({}, 0),
        "a call before a damaged end": b"cbuiltins\nexec\n(S" + text + b"\ntR\xff\xff",
    }


def _lightning(setting: object, **more: object) -> dict[str, object]:
    return {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": {"mae.cls_token": torch.zeros(1, 1, 8)},
        "hyper_parameters": {"args": setting},
        **more,
    }


def _torch(payload: object, *, archive: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(payload, buffer, _use_new_zipfile_serialization=archive)
    return buffer.getvalue()


def _numpy(save: Callable[..., None], payload: object) -> bytes:
    array = np.empty(1, object)
    array[0] = payload
    buffer = io.BytesIO()
    save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _hdf5(path: Path, payload: object) -> Path:
    """Features whose group holds a pickle as an attribute, as some tools keep their settings."""
    with h5py.File(path, "w") as file:
        file.create_dataset("video/fts", data=np.zeros((4, 2), np.float32))
        for place in (file, file["video"]):
            place.attrs["about"] = np.void(pickle.dumps(payload))
    return path
