"""Metrics over two connected processes: uneven shares, a process without rows, undefined values."""

import warnings

import pytest
import torch

from shared_core.metrics import CCC, KRCC, MAE, PLCC, RMSE, SRCC, FittedPLCC, FittedRMSE
from shared_core.testing.processes import run_ranks

METRICS = {
    "ccc": CCC,
    "plcc": PLCC,
    "srcc": SRCC,
    "krcc": KRCC,
    "rmse": RMSE,
    "mae": MAE,
    "fitted_plcc": lambda: FittedPLCC(4),
    "fitted_rmse": lambda: FittedRMSE(5),
}
SHARES = {"uneven": (0, 37, 100), "first empty": (0, 0, 100), "last empty": (0, 100, 100)}
EXACT = {"srcc", "krcc"}


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(100, generator=generator)
    return target + torch.randn(100, generator=generator).round(), target


def measures_of_a_rank() -> dict[str, dict[str, list[float | str | None]]]:
    warnings.simplefilter("ignore", UserWarning)  # compute before update: that is the point
    rank = torch.distributed.get_rank()
    assert torch.distributed.get_world_size() == 2
    prediction, target = pairs()
    results = {}
    for share, places in SHARES.items():
        rows = slice(places[rank], places[rank + 1])
        results[share] = _measures(prediction[rows], target[rows])
    results["nothing"] = _measures(prediction[:0], target[:0])
    return results


def _measures(prediction, target):
    results = {}
    for name, build in METRICS.items():
        metric = build().to("cpu")
        for part in zip(prediction.split(30), target.split(30), strict=True):
            if len(part[0]):
                metric.update(*part)
        measure = metric.measure()
        results[name] = [measure.to_json()["value"], measure.reason]
    return results


@pytest.fixture(scope="module")
def ranks():
    return run_ranks(measures_of_a_rank, world=2)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", METRICS)
def test_two_processes_equal_one(ranks, name, share):
    alone = METRICS[name]()
    alone.update(*pairs())
    value = float(alone.compute())
    for result in ranks:
        found, reason = result[share][name]
        assert reason is None
        assert found == (value if name in EXACT else pytest.approx(value, rel=1e-12))


@pytest.mark.parametrize("name", METRICS)
def test_nothing_on_any_process_is_undefined_on_all(ranks, name):
    for result in ranks:
        value, reason = result["nothing"][name]
        assert value is None
        assert reason
