"""The order of the data: every item once an epoch, the same for any workers, ranks and restarts."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_core.data.loader import (
    ItemKey,
    KeyedLoader,
    Position,
    SequentialPlan,
    ShuffledPlan,
    WorkerError,
    deal,
    generator,
)
from shared_core.data.quarantine import Quarantine
from shared_core.errors import CheckpointError, DataError, UsageError


@dataclass(frozen=True)
class Items:
    """Item i is (i, a number drawn from its key); some are damaged, some kill their reader."""

    size: int
    bad: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    interrupted: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: ItemKey) -> tuple[int, float]:
        if key.index in self.bad:
            raise CheckpointError("items.h5", "NaN", where=f"row {key.index}", expected="a number")
        if key.index in self.broken:
            raise KeyError("a bug")
        if key.index in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if key.index in self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        return key.index, torch.rand((), generator=key.generator()).item()


def as_list(items: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return items


@pytest.fixture
def by_name(monkeypatch):
    """This module under a name that loader processes can import."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module(Path(__file__).stem)


def loader(items, *, batch_size=4, seed=0, plan=None, **settings):
    plan = plan or ShuffledPlan(len(items), batch_size, seed)
    return KeyedLoader(items, plan, seed=seed, collate=as_list, **settings)


def indices(batch: list[tuple[int, float]]) -> list[int]:
    return [index for index, _ in batch]


sizes = st.integers(1, 40)
batch_sizes = st.integers(1, 17)
parts = st.integers(1, 4)


@given(sizes, batch_sizes, st.integers(0, 2**40), st.integers(0, 5))
def test_every_item_comes_exactly_once_an_epoch(size, batch_size, seed, epoch):
    for plan in (ShuffledPlan(size, batch_size, seed), SequentialPlan(size, batch_size)):
        batches = plan.batches(epoch)
        assert sorted(chain.from_iterable(batches)) == list(range(size))
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert 1 <= len(batches[-1]) <= batch_size


def test_epochs_and_seeds_have_orders_of_their_own_and_drop_last_drops_one_batch():
    orders = {
        tuple(chain.from_iterable(ShuffledPlan(30, 4, seed).batches(epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9
    assert [len(b) for b in ShuffledPlan(30, 4, 0, drop_last=True).batches(0)] == [4] * 7
    assert list(SequentialPlan(5, 2).batches(3)) == [[0, 1], [2, 3], [4]]


def test_the_order_is_written_in_stone():
    """A checkpoint of an older version must find the same order: these numbers never change."""
    assert list(ShuffledPlan(8, 3, seed=7).batches(2)) == [[2, 1, 0], [4, 3, 5], [6, 7]]
    assert generator(7, 2, 5).initial_seed() == 7823906019645725628


batches = st.lists(st.integers(0, 99), min_size=1, max_size=40)


@given(batch=batches, accumulate=parts, world=parts)
def test_ranks_together_hold_the_global_batch(batch, accumulate, world):
    """Concatenated over micro-batches and ranks: the batch, and padding at its end."""
    shares = [deal(batch, accumulate=accumulate, rank=r, world=world) for r in range(world)]
    whole = [
        index
        for micro in range(accumulate)
        for rank in range(world)
        for index in shares[rank][micro]
    ]
    assert [index for index in whole if index >= 0] == batch
    assert len({len(micro) for share in shares for micro in share}) == 1
    for micro in range(accumulate):
        alone = deal(batch, accumulate=accumulate, rank=0, world=1)[micro]
        together = [i for rank in range(world) for i in shares[rank][micro]]
        assert [i for i in together if i >= 0] == [i for i in alone if i >= 0]


@settings(deadline=None, max_examples=40)
@given(size=sizes, batch_size=batch_sizes, accumulate=parts, world=parts, stop=st.integers(0, 25))
def test_resumed_is_uninterrupted_on_every_rank(size, batch_size, accumulate, world, stop):
    for rank in range(world):
        loaded = loader(
            Items(size), batch_size=batch_size, accumulate=accumulate, rank=rank, world=world
        )
        whole = list(islice(loaded.after(Position()), stop + 6))
        position = whole[stop - 1][0] if stop else Position()
        assert list(islice(loaded.after(position), 6)) == whole[stop:]


@settings(deadline=None, max_examples=40)
@given(size=sizes, batch_size=batch_sizes, accumulate=parts, world=parts, epoch=st.integers(0, 3))
def test_an_epoch_holds_every_item_once_over_all_ranks(size, batch_size, accumulate, world, epoch):
    seen = []
    for rank in range(world):
        loaded = loader(
            Items(size), batch_size=batch_size, accumulate=accumulate, rank=rank, world=world
        )
        steps = list(loaded.epoch(epoch))
        assert len(steps) == loaded.steps(epoch) == len(loaded)
        seen += [i for step in steps for batch in step for i in indices(batch) if i >= 0]
    assert sorted(seen) == list(range(size))


def test_positions_run_over_the_epochs():
    positions = [p for p, _ in islice(loader(Items(10)).after(Position(3, 1)), 5)]
    expected = [(3, 2), (4, 0), (4, 1), (4, 2), (5, 0)]
    assert [(p.epoch, p.batch) for p in positions] == expected
    end_of_epoch = islice(loader(Items(10)).after(Position(3, 3)), 5)
    assert next(p for p, _ in end_of_epoch) == Position(4, 1)


def test_a_position_outside_the_epoch_and_an_empty_plan_are_refused():
    with pytest.raises(UsageError, match="epoch 1 has 3 batches, so batch 4 cannot come next"):
        next(loader(Items(10)).after(Position(1, 4)))
    with pytest.raises(UsageError, match="epoch 0 has 0 batches"):
        next(loader(Items(0)).after(Position()))
    with pytest.raises(UsageError, match="batch size: expected 1 or more, found 0"):
        loader(Items(3), batch_size=0).steps(0)


def test_an_item_draws_the_same_whoever_reads_it_and_another_in_each_epoch():
    items = Items(5)
    assert items[ItemKey(1, 2, 3)] == items[ItemKey(1, 2, 3)]
    keys = [ItemKey(s, e, i) for s in range(3) for e in range(3) for i in range(3)]
    assert len({items[key][1] for key in keys}) == len(keys)
    assert generator(1, 23).initial_seed() != generator(12, 3).initial_seed()


def test_global_random_states_are_left_alone():
    state = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    list(loader(Items(10)).epoch(0))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert str(np.random.get_state()) == state[2]  # noqa: NPY002


def test_millions_of_items_stay_one_tensor():
    batches = ShuffledPlan(3_000_000, 16, seed=0).batches(0)
    assert len(batches) == 187_500
    assert len(batches[-1]) == 16
    assert isinstance(batches._order, torch.Tensor)


def test_workers_change_neither_order_nor_draws_and_leave_random_states_alone(by_name):
    items = by_name.Items(23)
    alone = by_name.loader(items, accumulate=2, seed=5)
    both = by_name.loader(items, accumulate=2, seed=5, workers=2)
    whole = list(islice(alone.after(Position()), 15))
    state = torch.get_rng_state()
    assert list(islice(both.after(Position()), 15)) == whole
    assert torch.equal(torch.get_rng_state(), state)
    assert list(islice(both.after(whole[3][0]), 4)) == whole[4:8]
    assert list(both.epoch(1)) == list(alone.epoch(1))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_keeps_its_class_and_sentence(by_name, workers):
    items = by_name.Items(6, bad=(4,))
    with pytest.raises(CheckpointError) as caught:
        list(by_name.loader(items, workers=workers).epoch(0))
    assert str(caught.value) == "items.h5, row 4: expected a number, found NaN."
    assert caught.value.where == "row 4"
    assert caught.value.path == Path("items.h5")
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_row_in_quarantine_becomes_padding_and_is_listed(by_name, workers):
    items = by_name.Items(20, bad=(4, 11))
    quarantine = Quarantine("quarantine", limit_share=0.1)
    plan = SequentialPlan(20, 5)
    loaded = by_name.loader(items, plan=plan, workers=workers, quarantine=quarantine)
    batches = [indices(batch) for _, step in islice(loaded.after(Position()), 8) for batch in step]
    assert batches[0] == batches[4] == [0, 1, 2, 3, -1]
    assert batches[2] == batches[6] == [10, -1, 12, 13, 14]
    assert [(r.where, r.count) for r in quarantine.rows] == [("row 4", 2), ("row 11", 2)]


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_bad_rows_stop_the_run(by_name, workers):
    items = by_name.Items(20, bad=(1, 2, 3))
    loaded = by_name.loader(
        items, plan=SequentialPlan(20, 2), workers=workers, quarantine=Quarantine("quarantine", 0.1)
    )
    steps = loaded.epoch(0)
    next(steps)
    with pytest.raises(DataError, match=r"3 of 20 rows cannot be used, more than the limit of 10%"):
        next(steps)


def test_a_bug_in_the_data_set_keeps_its_traceback(by_name):
    with pytest.raises(KeyError, match="a bug"):
        list(by_name.loader(by_name.Items(6, broken=(2,))).epoch(0))
    with pytest.raises(KeyError, match=r"(?s)in __getitem__.*a bug"):
        list(by_name.loader(by_name.Items(6, broken=(2,)), workers=1).epoch(0))


def test_a_worker_leaves_a_ctrl_c_to_its_parent(by_name):
    items = by_name.Items(6, interrupted=(2,))
    steps = by_name.loader(items, plan=SequentialPlan(6, 3), workers=1).epoch(0)
    assert [indices(batch) for step in steps for batch in step] == [[0, 1, 2], [3, 4, 5]]


def test_a_dead_worker_gives_one_clear_error(by_name):
    with pytest.raises(WorkerError, match=r"a loader process ended before it had answered"):
        list(by_name.loader(by_name.Items(6, deadly=(2,)), workers=1).epoch(0))


READER = """
import os, signal, sys
import psutil
sys.path.insert(0, sys.argv[1])
import test_data_loader as own
if __name__ == "__main__":
    data = own.KeyedLoader(
        own.Items(1000), own.ShuffledPlan(1000, 4, 0), seed=0, collate=own.as_list, workers=2
    )
    for number, _ in enumerate(data.after(own.Position())):
        if number == 3:
            print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_reader_leaves_no_process_behind(tmp_path):
    """Workers end with the process they work for, though their parent is the fork server."""
    script = tmp_path / "reader.py"
    script.write_text(READER)
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    family = [int(number) for number in killed.stdout.split()]
    assert len(family) >= 3  # the fork server and its workers
    _, alive = psutil.wait_procs([psutil.Process(p) for p in family if psutil.pid_exists(p)], 20)
    assert not alive
