"""A loader's process that does not answer any more."""

from __future__ import annotations

import time

import psutil

from tools.faults.campaign import Over, Start
from tools.faults.processes import child
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.rows.kill import loader_processes
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "ends within 60 s after the loader stops, with a dump of where it stood"
STALL_S = 20
LIMIT_S = 60.0


def run(subject: Subject, options: Options) -> Figure:
    """Stop the loader's process, as one that hangs in a network drive does."""
    trials = Trials("stall", subject, WANTED)
    run = options.folder / "run"
    flags = ("--workers", "1", "--stall-seconds", str(STALL_S), *subject.much(subject.data))
    seconds = 0.0
    with child([*subject.train(subject.data, run), *flags]) as started, trials.trial("stopped"):
        start = Start(child=started, run=run, begun=0.0)
        start.wait_for_updates(1)
        stopped = loader_processes(start, forked=subject.trl)
        expect(bool(stopped), "no loader process was found")
        try:
            seconds = _stalls(start, stopped)
        finally:
            for worker in stopped:
                worker.kill()
    return trials.figure(f"ends after {seconds:.1f} s, of which {STALL_S} s are --stall-seconds")


def _stalls(start: Start, workers: list[psutil.Process]) -> float:
    begun = time.monotonic()
    for worker in workers:
        worker.suspend()
    status = start.child.wait(4 * LIMIT_S)
    if status == 0:
        raise Over
    seconds, output = time.monotonic() - begun, start.child.output
    expect(seconds <= LIMIT_S, f"took {seconds:.1f} s:\n{output}")
    expect(status == 1, f"ended with {status}:\n{output}")
    expect("no progress for" in output, f"does not say why:\n{output}")
    dump = start.run / "stalled-0.txt"
    expect(dump.is_file() and "File " in dump.read_text(), "no dump of the stack was left")
    return seconds


ROWS = (Row(name="stall", wanted=WANTED, run=run),)
