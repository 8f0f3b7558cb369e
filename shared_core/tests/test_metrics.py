"""Metrics of pairs: values against scipy and slow formulas, laws, degenerate and bad input."""

import math
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from shared_core.errors import NonFiniteError
from shared_core.metrics import (
    CCC,
    KRCC,
    MAE,
    PLCC,
    RMSE,
    SRCC,
    FittedPLCC,
    FittedRMSE,
    Moments,
    ccc,
    krcc,
    mae,
    plcc,
    rmse,
    srcc,
)

FUNCTIONS = {CCC: ccc, PLCC: plcc, SRCC: srcc, KRCC: krcc, RMSE: rmse, MAE: mae}
CORRELATIONS = {PLCC: plcc, SRCC: srcc, KRCC: krcc}


def golden(name: str, size: int) -> torch.Tensor:
    seed = zlib.crc32(f"input:{name}".encode())
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def golden_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.tanh(golden("metric_true", 1000))
    return 0.6 * target + 0.3 * golden("metric_noise", 1000), target


def slow_ccc(prediction: torch.Tensor, target: torch.Tensor) -> float:
    p, t = prediction.double().numpy(), target.double().numpy()
    covariance = np.mean((p - p.mean()) * (t - t.mean()))
    return float(2 * covariance / (p.var() + t.var() + (p.mean() - t.mean()) ** 2))


@st.composite
def pairs(draw, smallest: int = 2):
    """Two float64 vectors with ties, neither constant."""
    size = draw(st.integers(smallest, 40))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    values = st.lists(st.integers(-8, 8), min_size=size, max_size=size)
    p, t = (torch.tensor(draw(values), dtype=torch.float64) * scale for _ in range(2))
    assume(p.min() < p.max())
    assume(t.min() < t.max())
    return p, t


def cut(values: torch.Tensor, places: list[int]) -> list[torch.Tensor]:
    return list(values.tensor_split(sorted(min(place, len(values)) for place in places)))


# Values.


def test_golden_values_of_the_specification():
    prediction, target = golden_pairs()
    expected = [0.152290, 0.390243, 0.782828, 0.749473]
    error = rmse(prediction, target)
    values = [error**2, error, plcc(prediction, target), ccc(prediction, target)]
    assert [float(v) for v in values] == pytest.approx(expected, abs=5e-7)


def test_acceptance_12_ccc_of_a_shift_of_a_constant_and_of_shards():
    target = torch.tanh(golden("metric_true", 1000)).double()
    assert float(ccc(target, target + 0.5)) == pytest.approx(0.757958, abs=5e-7)
    assert float(ccc(torch.full_like(target, 0.1), target)) == 0.0

    prediction, _ = golden_pairs()
    metric = CCC()
    for p, t in zip(prediction.tensor_split(7), target.tensor_split(7), strict=True):
        metric.update(p, t)
    assert float(metric.compute()) == pytest.approx(float(ccc(prediction, target)), abs=1e-12)


@given(pairs())
def test_correlations_equal_scipy(drawn):
    p, t = drawn
    assert float(plcc(p, t)) == pytest.approx(stats.pearsonr(p, t).statistic, abs=1e-12)
    assert float(srcc(p, t)) == pytest.approx(stats.spearmanr(p, t).statistic, abs=1e-12)
    assert float(krcc(p, t)) == pytest.approx(stats.kendalltau(p, t).statistic, abs=1e-12)


@given(pairs())
def test_agreement_and_errors_equal_their_formulas(drawn):
    p, t = drawn
    assert float(ccc(p, t)) == pytest.approx(slow_ccc(p, t), abs=1e-12)
    assert float(rmse(p, t)) == pytest.approx(math.sqrt(((p - t) ** 2).mean()), rel=1e-12)
    assert float(mae(p, t)) == pytest.approx(float((p - t).abs().mean()), rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
@pytest.mark.parametrize("size", [3, 1000, 200_001])
def test_float32_input_is_summed_in_float64(size, offset):
    generator = torch.Generator().manual_seed(size)
    target = torch.randn(size, generator=generator) + offset
    prediction = target + torch.randn(size, generator=generator)
    assert float(ccc(prediction, target)) == pytest.approx(slow_ccc(prediction, target), abs=1e-9)
    expected = stats.pearsonr(prediction.double(), target.double()).statistic
    assert float(plcc(prediction, target)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("place", [0, 16, 17, 999])
def test_an_outlier_costs_no_digits_wherever_it_stands(place):
    target = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double()
    prediction = target.roll(1) + target
    prediction[place] = 1e7
    expected = stats.pearsonr(prediction, target).statistic
    assert float(plcc(prediction, target)) == pytest.approx(expected, abs=1e-12)
    assert float(ccc(prediction, target)) == pytest.approx(slow_ccc(prediction, target), rel=1e-9)


@given(pairs())
def test_the_error_of_moments_is_that_of_the_pairs(drawn):
    p, t = drawn
    scale = float(p.abs().max() + t.abs().max())
    error = float(Moments.of(p, t).root_mean_squared_error())
    assert error == pytest.approx(float(rmse(p, t)), rel=1e-12, abs=1e-7 * scale)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_any_real_type_is_taken(dtype):
    prediction = (torch.arange(12).reshape(3, 4) * 7 % 13).to(dtype)
    target = torch.arange(12).reshape(3, 4).to(dtype)
    for function in FUNCTIONS.values():
        expected = function(prediction.double(), target.double())
        assert float(function(prediction, target)) == pytest.approx(float(expected), abs=1e-12)


def test_a_long_float16_stream_may_overflow_its_own_sum():
    prediction = torch.arange(2000).half() % 97 * 20
    assert float(ccc(prediction, prediction)) == pytest.approx(1, abs=1e-12)


# Laws.


@given(pairs(), st.sampled_from([-2.5, 0.5, 3.0]), st.sampled_from([-7.0, 0.0, 100.0]))
def test_correlations_ignore_scale_and_shift_and_follow_the_sign(drawn, scale, shift):
    p, t = drawn
    for function in CORRELATIONS.values():
        expected = math.copysign(1, scale) * float(function(p, t))
        assert float(function(scale * p + shift, t)) == pytest.approx(expected, abs=1e-9)


@given(pairs(), st.randoms(use_true_random=False))
def test_rank_correlation_does_not_depend_on_the_order_at_all(drawn, random):
    p, t = drawn
    order = list(range(len(p)))
    random.shuffle(order)
    assert srcc(p[order], t[order]) == srcc(p, t)
    assert krcc(p[order], t[order]) == krcc(p, t)


@given(pairs())
def test_all_are_symmetric_and_bounded_and_perfect_on_equal_input(drawn):
    p, t = drawn
    for function in FUNCTIONS.values():
        assert float(function(p, t)) == pytest.approx(float(function(t, p)), rel=1e-12, abs=1e-15)
    for function in (ccc, plcc, srcc, krcc):
        assert abs(float(function(p, t))) <= 1 + 1e-15
        assert float(function(p, p)) == pytest.approx(1, abs=1e-14)
    assert abs(float(ccc(p, t))) <= abs(float(plcc(p, t))) + 1e-12


@pytest.mark.parametrize("metric", FUNCTIONS)
@settings(max_examples=40)
@given(drawn=pairs(), places=st.lists(st.integers(0, 40), max_size=5))
def test_shards_merge_to_the_whole(metric, drawn, places):
    p, t = drawn
    shards = []
    for part_p, part_t in zip(cut(p, places), cut(t, places), strict=True):
        shards.append(metric())
        shards[-1].update(part_p, part_t)
    merged = shards[0]
    merged.compute()  # a value kept from before the merge must not come back
    for shard in shards[1:]:
        merged.merge_state(shard)
    whole = float(FUNCTIONS[metric](p, t))
    exact = metric in (SRCC, KRCC)
    assert float(merged.compute()) == (
        whole if exact else pytest.approx(whole, rel=1e-12, abs=1e-12)
    )


@given(pairs(), st.lists(st.integers(0, 40), max_size=5))
def test_moments_of_parts_merge_in_batches(drawn, places):
    p, t = drawn
    parts = [Moments.of(*part) for part in zip(cut(p, places), cut(t, places), strict=True)]
    whole = Moments.of(p, t)
    twice = Moments(np.stack([Moments.stack(parts).values] * 2)).merge()
    assert twice.values.shape == (2, 6)
    for merged in twice.values:
        assert merged == pytest.approx(whole.values, rel=1e-12, abs=1e-12 * whole.values[3:5].max())


def test_forward_gives_the_batch_and_keeps_the_stream():
    prediction, target = golden_pairs()
    for metric, function in FUNCTIONS.items():
        stream = metric()
        batches = zip(prediction.split(300), target.split(300), strict=True)
        for p, t in batches:
            assert float(stream(p, t)) == pytest.approx(float(function(p, t)), abs=1e-12)
        whole = float(function(prediction, target))
        assert float(stream.compute()) == pytest.approx(whole, abs=1e-12)
        stream.reset()
        stream.update(prediction[:10], target[:10])
        assert float(stream.compute()) == float(function(prediction[:10], target[:10]))


def test_ccc_and_plcc_keep_six_numbers_whatever_the_length():
    for metric in (CCC(), PLCC()):
        for _ in range(5):
            metric.update(torch.randn(1000), torch.randn(1000))
        assert sum(state.numel() for state in metric.metric_state.values()) == 6
        assert metric.state.dtype == torch.float64


def test_states_stay_float64_when_the_metric_is_moved_or_halved():
    for metric_class in FUNCTIONS:
        metric = metric_class().to("cpu").half()
        metric.update(torch.tensor([0.1, 0.2, 0.4]), torch.tensor([0.1, 0.3, 0.2]))
        assert metric.compute().dtype == torch.float64
        assert metric.dtype == torch.float64


def test_gradients_do_not_flow_and_input_is_left_alone():
    prediction = torch.randn(10, dtype=torch.float64, requires_grad=True)
    before = prediction.detach().clone()
    for function in FUNCTIONS.values():
        assert not function(prediction, torch.arange(10)).requires_grad
    assert torch.equal(before, prediction)


# Degenerate and bad input.

CONSTANT = torch.full((301,), 0.1)
VARYING = torch.linspace(-1, 1, 301)


def measured(metric, *batches):
    for prediction, target in batches:
        metric.update(prediction, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # compute before update
        return metric.measure()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, 0.0, -3.3e5, 1e-12])
def test_a_constant_has_ccc_zero_and_no_correlation(value, dtype):
    constant = torch.full((100_003,), value, dtype=dtype)
    varying = torch.linspace(-1, 1, 100_003, dtype=dtype)
    halves = list(zip(constant.tensor_split(3), varying.tensor_split(3), strict=True))
    assert measured(CCC(), *halves).value == 0.0
    assert measured(CCC(), *((t, p) for p, t in halves)).value == 0.0
    for metric in CORRELATIONS:
        assert measured(metric(), *halves).reason == "prediction is constant"
        assert measured(metric(), *((t, p) for p, t in halves)).reason == "target is constant"


@pytest.mark.parametrize("metric", [CCC, PLCC, SRCC, KRCC])
def test_two_constants_are_undefined(metric):
    for other in (CONSTANT, CONSTANT + 1):
        measure = measured(metric(), (CONSTANT[:99], other[:99]), (CONSTANT[:7], other[:7]))
        assert math.isnan(measure.value)
        assert measure.reason == "prediction and target are both constant"
        assert math.isnan(FUNCTIONS[metric](CONSTANT, other))


def test_two_different_constants_in_turn_are_not_a_constant():
    measure = measured(CCC(), (CONSTANT, CONSTANT), (CONSTANT + 1, CONSTANT + 1))
    assert measure.value == pytest.approx(1)


@pytest.mark.parametrize("metric", [CCC, PLCC, SRCC, KRCC])
@pytest.mark.parametrize("size", [0, 1])
def test_fewer_than_two_values_are_undefined(metric, size):
    measure = measured(metric(), (VARYING[:size], VARYING[:size]))
    assert math.isnan(measure.value)
    assert measure.reason == f"it needs at least 2 values, there are {size}"
    assert math.isnan(FUNCTIONS[metric](VARYING[:size], VARYING[:size]))


@pytest.mark.parametrize("metric", [*FUNCTIONS, lambda: FittedPLCC(4), lambda: FittedRMSE(5)])
def test_nothing_seen_is_undefined(metric):
    measure = measured(metric())
    assert math.isnan(measure.value)
    assert measure.reason


@pytest.mark.parametrize("function", FUNCTIONS.values())
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_that_names_the_first(function, bad):
    spoilt = VARYING.clone()
    spoilt[[17, 40]] = bad
    with pytest.raises(NonFiniteError, match=r"prediction\[17\] is "):
        function(spoilt, VARYING)
    with pytest.raises(NonFiniteError, match=r"target\[17\] is "):
        function(VARYING, spoilt)


def test_opposite_infinities_do_not_hide_each_other():
    spoilt = torch.tensor([0.0, math.inf, -math.inf])
    with pytest.raises(NonFiniteError, match=r"prediction\[1\] is inf"):
        ccc(spoilt, torch.zeros(3))


@pytest.mark.parametrize("metric", FUNCTIONS)
def test_a_bad_batch_leaves_the_stream_as_it_was(metric):
    stream = metric()
    stream.update(VARYING, VARYING.flip(0))
    before = stream.compute()
    with pytest.raises(NonFiniteError):
        stream.update(torch.tensor([math.nan]), torch.tensor([0.0]))
    stream._computed = None
    assert stream.compute() == before


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_different_shapes_are_an_error(function):
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 3\)"):
        function(torch.zeros(3), torch.zeros(2, 3))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_squares_that_overflow_are_undefined_and_ranks_are_not():
    huge = VARYING.double() * 1e200
    for metric in (CCC, PLCC):
        measure = measured(metric(), (huge, huge))
        assert math.isnan(measure.value)
        assert measure.reason == "the squares of the values overflow float64"
    assert float(srcc(huge, huge)) == 1.0
