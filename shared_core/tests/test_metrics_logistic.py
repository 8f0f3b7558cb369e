"""The VQEG logistics: known curves, scipy's curve_fit, and what cannot be fitted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from shared_core.metrics import (
    FitError,
    FittedPLCC,
    FittedRMSE,
    Logistic,
    fit_logistic,
    plcc,
    rmse,
)


def four(x, b1, b2, b3, b4):
    return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / b4))


def five(x, b1, b2, b3, b4, b5):
    return b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5


CURVES = {4: (four, (90.0, 12.0, 5.0, 0.8)), 5: (five, (60.0, 1.3, 5.0, 0.9, 30.0))}


def scores(size: int = 300) -> torch.Tensor:
    return 10 * torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("parameters", [4, 5])
def test_the_curve_is_the_equation_of_the_documentation(parameters):
    equation, values = CURVES[parameters]
    x = scores()
    assert Logistic(values)(x).numpy() == pytest.approx(equation(x.numpy(), *values), rel=1e-12)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("parameters", [4, 5])
def test_a_curve_without_noise_is_found_again(parameters, direction):
    equation, values = CURVES[parameters]
    x = scores()
    target = torch.from_numpy(equation(x.numpy(), *values))
    curve = fit_logistic(direction * x, target, parameters)
    assert curve(direction * x).numpy() == pytest.approx(target.numpy(), abs=1e-4)
    assert float(plcc(direction * x, target, fit=parameters)) == pytest.approx(1, abs=1e-8)
    assert float(rmse(direction * x, target, fit=parameters)) < 1e-4


@pytest.mark.parametrize("parameters", [4, 5])
def test_no_fit_of_scipy_from_the_true_parameters_is_better(parameters):
    equation, values = CURVES[parameters]
    x = scores().numpy()
    y = equation(x, *values) + np.random.default_rng(0).normal(0, 8, len(x))
    best, _ = curve_fit(equation, x, y, p0=values, maxfev=5000)
    reference = math.sqrt(np.mean((equation(x, *best) - y) ** 2))
    ours = float(rmse(torch.from_numpy(x), torch.from_numpy(y), fit=parameters))
    assert ours == pytest.approx(reference, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_fit_to_unrelated_scores_ends_and_is_no_worse_than_a_line(seed):
    x, y = torch.rand(2, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    line = abs(float(plcc(x, y)))
    assert float(plcc(x, y, fit=5)) >= line - 1e-9
    assert float(plcc(x, y, fit=4)) >= line - 0.01  # its flattest curve is not quite a line


@pytest.mark.parametrize("parameters", [4, 5])
@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0), (-1, 3), (1e6, 1e9), (0.1, -100)])
def test_the_fit_ignores_scale_and_shift_of_the_scores(parameters, scale, shift):
    x = scores(60)
    noise = torch.randn(60, generator=torch.Generator().manual_seed(4))
    y = torch.from_numpy(four(x.numpy(), *CURVES[4][1])) + 5 * noise
    expected = float(plcc(x, y, fit=parameters))
    assert float(plcc(scale * x + shift, y, fit=parameters)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("parameters", [4, 5])
def test_what_cannot_be_fitted_is_undefined_with_its_reason(parameters):
    line = torch.linspace(0, 1, 20)
    cases = {
        "needs more values": (line[:parameters], line[:parameters]),
        "prediction is constant": (torch.full_like(line, 0.3), line),
        "target is constant": (line, torch.full_like(line, 0.3)),
    }
    for reason, (prediction, target) in cases.items():
        with pytest.raises(FitError, match=reason):
            fit_logistic(prediction, target, parameters)
        assert math.isnan(plcc(prediction, target, fit=parameters))
        for metric in (FittedPLCC(parameters), FittedRMSE(parameters)):
            metric.update(prediction, target)
            measure = metric.measure()
            assert math.isnan(measure.value)
            assert reason in measure.reason


def test_no_convergence_is_undefined_with_its_reason(monkeypatch):
    monkeypatch.setattr("shared_core.metrics.logistic._EVALUATIONS", 1)
    x = scores()
    metric = FittedPLCC(4)
    metric.update(x, torch.from_numpy(four(x.numpy(), *CURVES[4][1])))
    assert metric.measure().reason == "no logistic fit: it did not converge within 1 evaluations"


def test_the_streaming_fit_equals_the_function_over_shards():
    x = scores()
    y = torch.from_numpy(four(x.numpy(), *CURVES[4][1])) + torch.randn(
        300, generator=torch.Generator().manual_seed(1)
    )
    for metric, function in ((FittedPLCC(4), plcc), (FittedRMSE(4), rmse)):
        for part in zip(x.split(70), y.split(70), strict=True):
            metric.update(*part)
        assert float(metric.compute()) == float(function(x, y, fit=4))
