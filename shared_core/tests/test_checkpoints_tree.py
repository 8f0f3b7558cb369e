"""Trees come back bit for bit, with their types, and nothing else can be put into a file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from shared_core.checkpoints.tree import load_tree, save_tree
from shared_core.errors import CheckpointError

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8]
DTYPES += [torch.uint8, torch.uint16, torch.bool, torch.complex64, torch.float8_e4m3fn]


def bits(tensor: torch.Tensor) -> bytes:
    return (
        tensor.detach()
        .resolve_conj()
        .resolve_neg()
        .contiguous()
        .reshape(-1)
        .view(torch.uint8)
        .numpy()
        .tobytes()
        if tensor.numel()
        else b""
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and (a.dtype, a.shape, bits(a)) == (
            b.dtype,
            b.shape,
            bits(b),
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        kinds = [type(key) for key in a] == [type(key) for key in b]
        return kinds and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return a == b and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


tensors = st.builds(
    lambda dtype, shape, seed: (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(9).to(dtype)
    ),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 9),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text(max_size=6) | st.integers()
trees = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees)
def test_any_tree_comes_back_bit_for_bit(tmp_path: Path, tree: Any) -> None:
    save_tree(tmp_path / "tree.safetensors", tree)
    assert same(load_tree(tmp_path / "tree.safetensors"), tree)


def test_strided_conjugated_and_shared_tensors_keep_their_values(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    wave = torch.randn(3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    tree = {
        "transposed": base.T,
        "row": base[1],
        "again": base,
        "expanded": torch.ones(1).expand(4),
        "conjugate": wave.conj(),
        "negative": wave.conj().imag,
        "parameter": nn.Parameter(base),
    }
    save_tree(tmp_path / "t", tree)
    loaded = load_tree(tmp_path / "t")
    assert all(same(loaded[name], tree[name].detach()) for name in tree)
    assert not loaded["parameter"].requires_grad


def test_a_key_that_looks_like_a_place_does_not_collide_with_one(tmp_path: Path) -> None:
    tree = {"a": {"b": torch.tensor(1)}, "a']['b": torch.tensor(2), 0: torch.tensor(3), "0": 4}
    save_tree(tmp_path / "t", tree)
    assert same(load_tree(tmp_path / "t"), tree)


def test_adam_continues_bit_for_bit_from_its_saved_state(tmp_path: Path) -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(3)
        model = nn.Linear(5, 2)
        return model, torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.8, 0.99))

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            data = torch.randn(7, 5, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(data).square().mean().backward()
            optimizer.step()

    whole, whole_optimizer = made()
    train(whole, whole_optimizer, range(8))
    first, first_optimizer = made()
    train(first, first_optimizer, range(4))
    tree = {"model": dict(first.state_dict()), "optimizer": first_optimizer.state_dict()}
    save_tree(tmp_path / "t", tree)
    loaded = load_tree(tmp_path / "t")
    assert same(loaded["optimizer"], tree["optimizer"])
    second, second_optimizer = made()
    second.load_state_dict(loaded["model"])
    second_optimizer.load_state_dict(loaded["optimizer"])
    train(second, second_optimizer, range(4, 8))
    assert same(dict(second.state_dict()), dict(whole.state_dict()))
    assert same(second_optimizer.state_dict(), whole_optimizer.state_dict())


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.float64(1.0), "numpy.float64"),
        ({1, 2}, "builtins.set"),
        (b"x", "builtins.bytes"),
        (torch.Size([1]), "torch.Size"),
        (Path("x"), "Path"),
        (torch.zeros(2, dtype=torch.complex128), "complex128"),
        (torch.eye(2).to_sparse(), "sparse"),
        ({(1, 2): 3}, "key of type tuple"),
        ({True: 3}, "key of type bool"),
    ],
)
def test_anything_else_is_refused_by_its_place(tmp_path: Path, value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=r"tree\['state'\]\[1\].*" + named):
        save_tree(tmp_path / "t", {"state": [0, value]})
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "structure", ["", "[", "[1]", '["list", 3]', '["tensor", "x"]', '["?", 0]']
)
def test_a_file_that_is_no_tree_is_refused(tmp_path: Path, structure: str) -> None:
    save_file({}, tmp_path / "t", {"tree": structure})
    with pytest.raises(CheckpointError, match="a tree that save_tree wrote"):
        load_tree(tmp_path / "t")


def test_a_hostile_depth_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "t", {"tree": '["list",[' * 100_000 + "]]" * 100_000})
    with pytest.raises(CheckpointError, match="another structure"):
        load_tree(tmp_path / "t")


def test_weights_without_a_tree_and_missing_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "t")
    for path in (tmp_path / "t", tmp_path / "absent"):
        with pytest.raises(CheckpointError, match=path.name):
            load_tree(path)


def test_the_structure_is_readable_json(tmp_path: Path) -> None:
    from shared_core.checkpoints.weights import load_metadata

    save_tree(tmp_path / "t", {"lr": 0.5, 3: (None, True)})
    assert json.loads(load_metadata(tmp_path / "t")["tree"]) == [
        "dict",
        [["lr", ["float", "0x1.0000000000000p-1"]], [3, ["tuple", [None, True]]]],
    ]
