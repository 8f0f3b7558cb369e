"""Batch norm over processes: output, gradients and running statistics of one process with all rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared_core.launch.batch_norm import ConnectedBatchNorm, synchronise
from shared_core.launch.collectives import all_reduce_sum
from shared_core.testing.processes import run_ranks

ROWS = 7


def float64(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 1))
    return nn.Sequential(net, nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6)).double()


def rows() -> torch.Tensor:
    return torch.randn(ROWS, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def learnt(net: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> dict:
    """Two passes in training mode, the gradient of a loss over all rows, and the buffers."""
    for _ in range(2):
        net.zero_grad()
        loss = all_reduce_sum((net(x) ** 2 * weight).sum())
        loss.backward()
    return {
        "loss": loss.item(),
        "gradients": [p.grad.tolist() for p in net.parameters()],
        "buffers": {name: buffer.tolist() for name, buffer in net.named_buffers()},
    }


def on_a_rank(shares: list[int]) -> dict:
    net = synchronise(network())
    assert sum(isinstance(m, ConnectedBatchNorm) for m in net.modules()) == 2
    rank = torch.distributed.get_rank()
    first = sum(shares[:rank])
    weights = torch.arange(ROWS * 6).double().view(ROWS, 6)
    own = slice(first, first + shares[rank])
    found = learnt(net, rows()[own], weights[own])
    # What DistributedDataParallel does: the mean of the processes' gradients.
    for parameter in net.parameters():
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= len(shares)
    found["gradients"] = [p.grad.tolist() for p in net.parameters()]
    return found


@pytest.mark.parametrize("shares", [[4, 3], [7, 0]], ids=["uneven", "one without rows"])
def test_two_processes_learn_what_one_does(shares):
    whole = learnt(network(), rows(), torch.arange(ROWS * 6).double().view(ROWS, 6))
    for found in run_ranks(on_a_rank, arguments={"shares": shares}):
        assert found["loss"] == pytest.approx(whole["loss"], rel=1e-12)
        for ours, theirs in zip(found["gradients"], whole["gradients"], strict=True):
            assert torch.allclose(float64(ours), float64(theirs), rtol=1e-9, atol=1e-9)
        for name, values in whole["buffers"].items():
            assert torch.allclose(
                float64(found["buffers"][name]), float64(values), rtol=1e-9, atol=1e-9
            ), name


def test_with_one_process_nothing_changes():
    ours, theirs = synchronise(network()), network()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours(rows()), theirs(rows()))
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.eval()(rows()), theirs.eval()(rows()))


def test_parameters_stay_the_same_objects():
    net = network()
    before = list(net.parameters())
    assert all(a is b for a, b in zip(before, synchronise(net).parameters(), strict=True))
