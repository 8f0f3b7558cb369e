"""Batches in an order that depends on (seed, epoch) alone: exact to resume, whatever the workers.

A plan says which items make up each global batch of an epoch. The loader deals every batch into
micro-batches and ranks, and asks the data set for `ItemKey`s; an item that draws anything at random
draws from its key. So neither a restart, nor the number of workers, nor the number of processes
changes what is drawn, and no random state has to be saved.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset

from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError, UsageError, UserError

Item = TypeVar("Item")
ItemOut = TypeVar("ItemOut", covariant=True)
Batch = TypeVar("Batch")

PADDING = -1
"""Index of the item that counts nothing, which fills up a batch that does not divide."""


def generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on `key` alone, such as (seed, epoch, item).

    The seed is the first 64 bits of the sha256 of the numbers; torch's CPU engine uses 32 of them.
    """
    digest = hashlib.sha256(",".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Which item, of which epoch, under which seed; index -1 asks for the padding item."""

    seed: int
    epoch: int
    index: int

    def generator(self) -> torch.Generator:
        """The generator of everything that this item draws in this epoch."""
        return generator(self.seed, self.epoch, self.index)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The next global batch to be drawn."""

    epoch: int = 0
    batch: int = 0


class KeyedDataset(Protocol[ItemOut]):
    """A data set whose items are a function of their key.

    For index -1 it answers with an item that counts nothing (all `valid` False). It must be
    picklable and open its files where it reads them, so that worker processes can have it.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey, /) -> ItemOut: ...


class BatchPlan(Protocol):
    """Which items make up the global batches of an epoch: a function of (seed, epoch) only."""

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The global batches of this epoch, as indices into the data set (-1 = padding)."""
        ...


@dataclass(frozen=True)
class ShuffledPlan:
    """Every item once an epoch, in an order of its own for each epoch.

    Args:
        size: number of items.
        batch_size: items of a global batch.
        seed: together with the epoch, it decides the order.
        drop_last: leave out a last batch that is not full.
    """

    size: int
    batch_size: int
    seed: int
    drop_last: bool = False

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The global batches of this epoch."""
        order = torch.randperm(self.size, generator=generator(self.seed, epoch))
        return _Cut(order, self.batch_size, self.drop_last)


@dataclass(frozen=True)
class SequentialPlan:
    """Every item once an epoch, in the order of the data set."""

    size: int
    batch_size: int

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:  # noqa: ARG002
        """The global batches: the same in each epoch."""
        return _Cut(torch.arange(self.size), self.batch_size, drop_last=False)


@dataclass(frozen=True)
class NeighboursPlan:
    """Every item once, in batches of neighbours that are dealt whole to the processes: for judging.

    What an item owes to its batch mates then does not depend on how many share the work.
    """

    size: int
    batch_size: int
    rank: int
    world: int

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:  # noqa: ARG002
        """This process's batches."""
        starts = range(0, self.size, self.batch_size)
        whole = [range(s, min(s + self.batch_size, self.size)) for s in starts]
        return whole[self.rank :: self.world]


class _Cut(Sequence[Sequence[int]]):
    """An order cut into batches when they are asked for: millions of items stay one tensor."""

    def __init__(self, order: torch.Tensor, batch_size: int, drop_last: bool) -> None:
        if batch_size < 1:
            raise UsageError(f"batch size: expected 1 or more, found {batch_size}.")
        self._order = order
        self._batch_size = batch_size
        self._len = len(order) // batch_size if drop_last else math.ceil(len(order) / batch_size)

    def __len__(self) -> int:
        return self._len

    def __getitem__(self, batch: Any) -> Any:
        if isinstance(batch, slice):
            return [self[i] for i in range(*batch.indices(len(self)))]
        if not -len(self) <= batch < len(self):
            raise IndexError(batch)
        start = batch % len(self) * self._batch_size
        return self._order[start : start + self._batch_size].tolist()


def deal(batch: Sequence[int], *, accumulate: int, rank: int, world: int) -> list[list[int]]:
    """One rank's share of a global batch, as `accumulate` micro-batches of equal size.

    The batch is cut into micro-batches first and each of these over the ranks, so that a
    micro-batch holds the same items whatever the number of processes. What does not divide is
    filled up with `PADDING` at its end; a batch that is short, the last of an epoch, may give
    micro-batches of padding alone.
    """
    micro = math.ceil(len(batch) / accumulate)
    part = math.ceil(micro / world)
    shares = []
    for first in range(0, accumulate * micro, micro):
        members = list(batch[first : first + micro])
        members += [PADDING] * (part * world - len(members))
        shares.append(members[rank * part : (rank + 1) * part])
    return shares


class WorkerError(UserError):
    """A loader process ended before it had answered."""


class KeyedLoader(Generic[Item, Batch]):
    """Deals a data set to this rank, batch by batch, from any position on.

    Args:
        dataset: answers an `ItemKey` with an item; a row it cannot use raises `DataError`.
        plan: the global batches of each epoch.
        seed: goes into every key.
        collate: makes a batch of a list of items; runs in the worker.
        accumulate: micro-batches that make up a global batch.
        workers: loader processes; 0 reads in this process. They are started by a fork server and
            not forked from this process, whose threads, CUDA context and open HDF5 files would not
            survive it: `dataset` and `collate` travel by pickle, and a script that trains needs
            its `if __name__ == "__main__":`.
        rank: this process.
        world: number of processes.
        pin: batches in page-locked memory, for copies to a GPU. A batch class of its own needs a
            method `pin_memory`.
        quarantine: what to do with rows that cannot be used; without it the first one is raised.
    """

    def __init__(
        self,
        dataset: KeyedDataset[Item],
        plan: BatchPlan,
        *,
        seed: int,
        collate: Callable[[list[Item]], Batch],
        accumulate: int = 1,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.dataset = dataset
        self.plan = plan
        self.seed = seed
        self.collate = collate
        self.accumulate = accumulate
        self.workers = workers
        self.rank = rank
        self.world = world
        self.pin = pin
        self.quarantine = quarantine or Quarantine("raise")

    def __len__(self) -> int:
        """Global batches of epoch 0."""
        return self.steps(0)

    def steps(self, epoch: int) -> int:
        """Global batches of an epoch."""
        return len(self.plan.batches(epoch))

    def after(self, position: Position) -> Iterator[tuple[Position, list[Batch]]]:
        """This rank's micro-batches of each global batch from `position` on, epoch after epoch.

        Yields:
            The position after this global batch, to resume from, and its micro-batches. It goes on
            without end; closing the iterator ends the workers.

        Raises:
            DataError: a row cannot be used, or too many of them (see `Quarantine`).
            WorkerError: a loader process ended unexpectedly.
            UsageError: `position` lies outside its epoch: the data changed since it was saved.
        """
        return self._steps(position, last_epoch=None)

    def epoch(self, epoch: int = 0) -> Iterator[list[Batch]]:
        """This rank's micro-batches of each global batch of one epoch; raises as `after` does."""
        for _, batches in self._steps(Position(epoch), last_epoch=epoch):
            yield batches

    def _steps(
        self, start: Position, last_epoch: int | None
    ) -> Iterator[tuple[Position, list[Batch]]]:
        alive, this_process = multiprocessing.Pipe(duplex=False)
        answers = _alive(iter(self._loader(start, last_epoch, alive)))
        # The pipe is closed after the workers have ended, or by the death of this process.
        with this_process, closing(answers):
            yield from self._dealt(answers)

    def _dealt(self, answers: Iterator[_Fetched]) -> Iterator[tuple[Position, list[Batch]]]:
        step: list[Batch] = []
        for fetched in answers:
            for carried in fetched.bad:
                self.quarantine.bad(carried.revive(), of=len(self.dataset))
            if fetched.fatal is not None:
                raise fetched.fatal.revive()
            step.append(fetched.batch)
            if len(step) == self.accumulate:
                yield fetched.after, step
                step = []

    def _loader(
        self, start: Position, last_epoch: int | None, alive: Connection
    ) -> DataLoader[Any]:
        return DataLoader(
            _Fetch(self.dataset, self.collate, self.quarantine.policy == "quarantine"),
            sampler=_Tasks(self, start, last_epoch),
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=self.workers,
            pin_memory=self.pin,
            worker_init_fn=partial(_begin_worker, alive),
            multiprocessing_context=_fork_server() if self.workers else None,
            # Without one, each new iterator draws a seed from the global generator.
            generator=generator(self.seed),
        )


class _Task(NamedTuple):
    """What a worker is asked for: one micro-batch, with the position after its global batch."""

    after: Position
    keys: list[ItemKey]


class _Tasks:
    """The micro-batches of one rank, from a position on; one epoch's plan is held at a time."""

    def __init__(
        self, loader: KeyedLoader[Any, Any], start: Position, last_epoch: int | None
    ) -> None:
        self.loader = loader
        self.start = start
        self.last_epoch = last_epoch

    def __iter__(self) -> Iterator[_Task]:
        epoch, first = self.start.epoch, self.start.batch
        while self.last_epoch is None or epoch <= self.last_epoch:
            batches = self.loader.plan.batches(epoch)
            if not 0 <= first <= len(batches) or not len(batches):
                raise UsageError(
                    f"epoch {epoch} has {len(batches)} batches, so batch {first} cannot come next. "
                    "Give it data, or if the data changed since the run was saved, a new run."
                )
            for batch in range(first, len(batches)):
                yield from self._tasks(epoch, batch, batches)
            epoch, first = epoch + 1, 0

    def _tasks(self, epoch: int, batch: int, batches: Sequence[Sequence[int]]) -> Iterator[_Task]:
        loader = self.loader
        last = batch + 1 == len(batches)
        after = Position(epoch + 1) if last else Position(epoch, batch + 1)
        for share in deal(
            batches[batch], accumulate=loader.accumulate, rank=loader.rank, world=loader.world
        ):
            yield _Task(after, [ItemKey(loader.seed, epoch, index) for index in share])


class _Carried(NamedTuple):
    """An error as plain values: unpickling one would call its class with its message alone."""

    kind: type[UserError]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: UserError) -> _Carried:
        return cls(type(error), error.args, vars(error))

    def revive(self) -> Any:
        error = self.kind.__new__(self.kind, *self.arguments)
        vars(error).update(self.fields)
        return error


class _Fetched(NamedTuple):
    """A worker's answer: a batch with the rows left out of it, or the error that ends the run."""

    after: Position
    batch: Any
    bad: list[_Carried]
    fatal: _Carried | None


class _Fetch(Dataset[_Fetched], Generic[Item, Batch]):
    """Turns a task into a batch, in the worker; errors of the data come back as values."""

    def __init__(
        self,
        dataset: KeyedDataset[Item],
        collate: Callable[[list[Item]], Batch],
        leave_out: bool,
    ) -> None:
        self.dataset = dataset
        self.collate = collate
        self.leave_out = leave_out

    def __getitem__(self, task: _Task) -> _Fetched:
        bad: list[_Carried] = []
        try:
            batch = self.collate([self._item(key, bad) for key in task.keys])
        except UserError as error:
            return _Fetched(task.after, None, bad, _Carried.of(error))
        return _Fetched(task.after, batch, bad, None)

    def _item(self, key: ItemKey, bad: list[_Carried]) -> Item:
        try:
            return self.dataset[key]
        except DataError as error:
            if not self.leave_out or key.index == PADDING:
                raise
            bad.append(_Carried.of(error))
            return self.dataset[replace(key, index=PADDING)]


def _alive(answers: Iterator[_Fetched]) -> Generator[_Fetched, None, None]:
    try:
        yield from answers
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorkerError(
            f"a loader process ended before it had answered ({error}).\n"
            "Out of memory is the usual reason: take fewer workers. A script that trains needs its "
            '`if __name__ == "__main__":`. With --workers 0 the reason shows itself.'
        ) from error


def _fork_server() -> BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports torch once, not once a worker
    return context


def _begin_worker(alive: Connection, _number: int) -> None:
    """In a worker: leave Ctrl-C to the process that reads, and end when that one ends.

    A worker's parent is the fork server, which lives as long as its workers do: neither would see
    that the process they work for was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    wait([alive])  # nothing is ever sent: it is ready when the other end is closed
    os._exit(0)


def _unchanged(fetched: Any) -> Any:
    return fetched
