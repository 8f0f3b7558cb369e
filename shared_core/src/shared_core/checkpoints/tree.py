"""Nested state (optimiser, counters, memory) in one safetensors file, without pickle.

A tree is made of dicts with `str` and `int` keys, lists, tuples, tensors, and the scalars None,
bool, int, float and str. What comes back is equal bit for bit and has the same types, with three
exceptions: every kind of dict comes back as `dict`, tensors come back on the CPU without their
gradient flag, and a tensor that appears twice comes back as two.

Tensors are stored under their place in the tree (`['state'][0]['exp_avg']`); the structure is JSON
in the header, with floats in hexadecimal, which also carries infinities and NaN.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from shared_core.checkpoints.weights import load_metadata, load_weights, save_weights
from shared_core.errors import CheckpointError

Tree: TypeAlias = Any
"""Tensor, None, bool, int, float, str, dict[str | int, Tree], list[Tree] or tuple[Tree, ...]."""

_KEY = "tree"  # the entry of the file's header that holds the structure
_DTYPES = frozenset(  # what safetensors can hold
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn}
    | {torch.float8_e5m2, torch.complex64, torch.bool, torch.int64, torch.int32, torch.int16}
    | {torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8}
)


def save_tree(path: Path, tree: Tree) -> None:
    """Write a tree, such as `optimizer.state_dict()`.

    Raises:
        TypeError: something in it is none of the above; names its place in the tree.
        OSError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    structure = _encode(tree, "", tensors)
    save_weights(path, tensors, {_KEY: json.dumps(structure, separators=(",", ":"))})


def load_tree(path: Path) -> Tree:
    """Read what `save_tree` wrote.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it is not a tree.
    """
    structure, tensors = load_metadata(path).get(_KEY), load_weights(path)
    try:
        return _decode(json.loads(structure or ""), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            path, f"another structure ({error})", expected="a tree that save_tree wrote"
        ) from error


# A scalar other than float stands for itself in the JSON; everything else is a pair [tag, content].


def _encode(node: Tree, place: str, tensors: dict[str, Tensor]) -> Any:
    if node is None or type(node) in (bool, int, str):
        return node
    if type(node) is float:
        return ["float", node.hex()]
    if isinstance(node, Tensor):
        return ["tensor", _store(node, place, tensors)]
    if type(node) in (list, tuple):
        items = [_encode(item, f"{place}[{index}]", tensors) for index, item in enumerate(node)]
        return [type(node).__name__, items]
    if isinstance(node, dict):
        for key in node:
            if type(key) not in (str, int):
                raise TypeError(f"tree{place}: a key of type {type(key).__name__}, not str or int")
        pairs = [[k, _encode(v, f"{place}[{k!r}]", tensors)] for k, v in node.items()]
        return ["dict", pairs]
    kind = f"{type(node).__module__}.{type(node).__qualname__}"
    raise TypeError(f"tree{place}: {kind} cannot be kept in a checkpoint")


def _store(tensor: Tensor, place: str, tensors: dict[str, Tensor]) -> str:
    if tensor.layout is not torch.strided or tensor.dtype not in _DTYPES:
        raise TypeError(f"tree{place}: a {tensor.layout} tensor of {tensor.dtype} cannot be kept")
    tensors[place] = tensor
    return place


def _decode(node: Any, tensors: dict[str, Tensor]) -> Tree:
    if not isinstance(node, list):
        return node
    tag, content = node
    match tag:
        case "float":
            return float.fromhex(content)
        case "tensor":
            return tensors[content]
        case "list":
            return [_decode(item, tensors) for item in content]
        case "tuple":
            return tuple(_decode(item, tensors) for item in content)
        case "dict":
            return {key: _decode(value, tensors) for key, value in content}
    raise ValueError(f"unknown tag {tag!r}")
