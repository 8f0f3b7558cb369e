"""Sums over real, connected ranks, and their gradients."""

import pytest
import torch
import torch.distributed as dist

from shared_core.launch.collectives import all_reduce_sum, any_rank, average, from_rank_zero
from shared_core.testing.processes import run_ranks


def network() -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    return module


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    data = torch.randn(10, 4, generator=generator, dtype=torch.double)
    return data[:, :3], data[:, 3]


def sums(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    ones = torch.ones_like(target)
    terms = (ones, prediction, target, prediction**2, target**2, prediction * target)
    return torch.stack([term.sum() for term in terms])


def loss_of(total: torch.Tensor) -> torch.Tensor:
    """1 - CCC: far from a mean over rows, so averaging per-rank losses would be wrong."""
    n, p, t, pp, tt, pt = total
    covariance = pt / n - p * t / n**2
    spread = pp / n - (p / n) ** 2 + tt / n - (t / n) ** 2
    return 1 - 2 * covariance / (spread + (p / n - t / n) ** 2)


def on_a_rank() -> dict[str, object]:
    """Uneven shares (7 and 3 rows) of one global batch, through DDP."""
    rank = dist.get_rank()
    inputs, target = rows()
    share = slice(0, 7) if rank == 0 else slice(7, 10)
    module = torch.nn.parallel.DistributedDataParallel(network())
    loss = loss_of(all_reduce_sum(sums(module(inputs[share]).squeeze(1), target[share])))
    loss.backward()
    given = torch.ones(2)
    all_reduce_sum(given)
    mine = [
        torch.full((2, 2), float(rank)),
        torch.tensor([1.0 + rank], dtype=torch.float64),
        torch.tensor([rank]),
    ]
    average(mine)
    return {
        "averaged": [tensor.flatten().tolist() for tensor in mine],
        "loss": loss.item(),
        "gradient": [parameter.grad.flatten().tolist() for parameter in module.parameters()],
        "unchanged": given.tolist(),
        "any": any_rank([rank == 1, False, True]),
        "zero": from_rank_zero({"rank": rank, "ä": [1, None]} if rank == 0 else object()),
        "empty": from_rank_zero(None),
    }


@pytest.fixture(scope="module")
def results():
    return run_ranks(on_a_rank)


def test_a_loss_of_global_sums_has_the_gradient_of_the_whole_batch(results):
    inputs, target = rows()
    module = network()
    loss = loss_of(sums(module(inputs).squeeze(1), target))
    loss.backward()
    for result in results:
        assert result["loss"] == pytest.approx(loss.item(), abs=1e-12)
        for found, parameter in zip(result["gradient"], module.parameters(), strict=True):
            torch.testing.assert_close(
                torch.tensor(found, dtype=torch.double),
                parameter.grad.flatten(),
                rtol=0,
                atol=1e-12,
            )


def test_the_summed_tensor_is_a_new_one(results):
    assert [result["unchanged"] for result in results] == [[1.0, 1.0]] * 2


def test_an_average_is_taken_in_place_and_leaves_whole_numbers(results):
    found = [result["averaged"] for result in results]
    assert [of[:2] for of in found] == [[[0.5] * 4, [1.5]]] * 2
    assert [of[2] for of in found] == [[0], [1]]


def test_a_flag_of_any_rank_is_seen_by_all(results):
    assert [result["any"] for result in results] == [[True, False, True]] * 2


def test_all_ranks_get_rank_zeros_value(results):
    assert [result["zero"] for result in results] == [{"rank": 0, "ä": [1, None]}] * 2
    assert [result["empty"] for result in results] == [None] * 2


def test_alone_they_are_the_identity():
    tensor = torch.arange(3.0, requires_grad=True)
    assert all_reduce_sum(tensor) is tensor
    assert any_rank([True, False]) == [True, False]
    average([tensor])
    assert tensor.tolist() == [0.0, 1.0, 2.0]
    assert from_rank_zero({"a": (1, 2)}) == {"a": [1, 2]}


def fails_on_rank_1() -> None:
    if dist.get_rank() == 1:
        raise ValueError("rank 1 has had enough")


def test_a_failing_rank_fails_the_test_with_its_words():
    with pytest.raises(AssertionError, match="rank 1 has had enough"):
        run_ranks(fails_on_rank_1)
