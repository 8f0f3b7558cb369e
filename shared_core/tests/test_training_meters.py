"""What a run shows about its speed, with a clock of the test's own."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from shared_core.training.meters import Display, Meter, clock_time


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_meter_shares_time_between_data_and_compute():
    clock = Clock()
    meter = Meter(window=2, clock=clock)

    def batches():
        for wait in (9.0, 1.0, 3.0):
            clock.now += wait
            yield wait

    for _ in meter.waiting(batches()):
        clock.now += 2.0
        meter.updated()
        clock.now += 10.0  # an evaluation: neither data nor compute

    assert meter.data_share == pytest.approx((1 + 3) / (1 + 3 + 2 + 2))
    assert meter.items_per_second(16) == pytest.approx(2 * 16 / 8)
    assert meter.seconds == pytest.approx(9 + 1 + 3 + 3 * 12)
    assert meter.seconds_left(6) == pytest.approx(6 * meter.seconds / 3)


def test_a_loop_that_tells_of_no_batch_is_timed_from_update_to_update():
    clock = Clock()
    meter = Meter(window=50, clock=clock)
    clock.now += 30.0  # the model is loaded
    meter.skip()
    for _ in range(4):
        clock.now += 2.0
        meter.updated()
        assert meter.items_per_second(16) == pytest.approx(16 / 2)
    clock.now += 10.0  # an evaluation
    meter.skip()
    clock.now += 7.0
    meter.updated()
    assert meter.speed(16) == {"items_per_second": pytest.approx(5 * 16 / (4 * 2 + 7))}


def test_the_share_of_data_is_told_where_batches_are():
    clock = Clock()
    meter = Meter(clock=clock)
    for wait in meter.waiting([1.0, 3.0]):
        clock.now += wait
        meter.updated()
    assert meter.speed(4) == {"items_per_second": pytest.approx(2), "data_share": 0}


def test_time_left_is_unknown_before_the_first_update():
    assert clock_time(Meter().seconds_left(5)) == "?"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (3599.6, "1:00:00"), (3723, "1:02:03")]
)
def test_clock_time(seconds, text):
    assert clock_time(seconds) == text


def test_output_to_a_file_is_a_line_now_and_then_and_one_at_the_end():
    out = io.StringIO()
    display = Display(1000, shown=True, console=Console(file=out, width=40))
    with display.opened():
        for step in range(1, 1001):
            display.update(step, 0, lambda: "a text that is longer than the console is wide [x]")
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1  1/1000  a text")
    assert lines[1].startswith("epoch 1  1000/1000")
    assert lines[1].endswith("[x]")


def test_other_processes_show_nothing():
    out = io.StringIO()
    display = Display(10, shown=False, console=Console(file=out))
    with display.opened():
        display.update(1, 0, lambda: "text")
        display.say("words")
    assert out.getvalue() == ""
