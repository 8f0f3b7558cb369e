"""Measure: undefined is NaN with a reason, never best, null in JSON."""

import json
import math
import subprocess
import sys

import pytest

from shared_core.metrics import Interval, Measure

UNDEFINED = Measure(value=math.nan, reason="target is constant")


def test_an_undefined_measure_needs_its_reason():
    with pytest.raises(ValueError, match="reason"):
        Measure(value=math.nan)


def test_an_undefined_measure_is_never_the_best():
    assert not UNDEFINED.better_than(None)
    assert not UNDEFINED.better_than(UNDEFINED)
    assert not UNDEFINED.better_than(Measure(value=-1.0))
    assert Measure(value=-1.0).better_than(UNDEFINED)


def test_better_follows_the_direction_and_is_strict():
    assert Measure(value=-0.5).better_than(None)
    assert Measure(value=0.5).better_than(Measure(value=0.4))
    assert not Measure(value=0.5).better_than(Measure(value=0.5))
    low, high = (Measure(value=v, higher_is_better=False) for v in (1.0, 2.0))
    assert low.better_than(high)
    assert not high.better_than(low)


def test_json_is_strict_and_keeps_the_reason():
    text = json.dumps(UNDEFINED.to_json(), allow_nan=False)
    assert json.loads(text)["value"] is None
    assert json.loads(text)["reason"] == "target is constant"
    defined = Measure(value=0.5, low=0.4, high=0.6, unit="MOS").to_json()
    assert (defined["value"], defined["low"], defined["high"]) == (0.5, 0.4, 0.6)
    assert defined["unit"] == "MOS"


def test_an_interval_that_is_undefined_leaves_its_reason():
    value = Measure(value=0.5)
    interval = value.with_interval(Interval(low=0.4, high=0.6, groups=7))
    assert (interval.low, interval.high, interval.reason) == (0.4, 0.6, None)
    without = value.with_interval(Interval.undefined(3, "fewer than 5 videos"))
    assert without.low is None
    assert without.reason == "no interval: fewer than 5 videos"
    assert UNDEFINED.with_interval(Interval.undefined(3, "few")).reason == "target is constant"


def test_as_text():
    assert str(Measure(value=0.5, low=0.4, high=0.6)) == "0.5000 [0.4000, 0.6000]"
    assert str(Measure(value=2.0, unit="MOS")) == "2.0000 MOS"
    assert str(UNDEFINED) == "undefined (target is constant)"


def test_measure_is_imported_without_torch():
    code = "import sys; from shared_core.metrics import Measure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    import shared_core.metrics

    assert all(hasattr(shared_core.metrics, name) for name in shared_core.metrics.__all__)
    with pytest.raises(AttributeError, match="spearmint"):
        _ = shared_core.metrics.spearmint
