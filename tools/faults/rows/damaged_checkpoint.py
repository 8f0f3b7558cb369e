"""Every file of the newest checkpoint cut or flipped: seen before use, and the one before it taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shared_core.checkpoints.manifest import files_in, sha256_of
from shared_core.checkpoints.store import Store
from shared_core.errors import CheckpointError
from shared_core.testing.faults import flip_bit, truncate
from tools.faults.campaign import Start, difference
from tools.faults.processes import child, ended
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "refused before use, the previous one is taken and this is said"
WANTED_COMMAND = "the same from the command; resumes bit for bit"
WANTED_MODEL = "predict refuses the exported model, and names the file"


def _shorten(path: Path) -> None:
    """Cut a byte off; of JSON one that says something, so not the newline at its end."""
    content = path.read_bytes()
    kept = content.rstrip() if path.suffix == ".json" else content
    truncate(path, len(kept) - 1)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "emptied": lambda path: truncate(path, 0),
    "half": truncate,
    "one byte short": _shorten,
    "one bit": flip_bit,
}
SHARE = 5
"""One in so many of the moments is a resume by the command: each costs a start."""


def run(subject: Subject, options: Options) -> list[Figure]:
    """Through the store for every file and damage; through the commands for some of them."""
    store = Store(subject.whole / "checkpoints")
    newest = store.folder / f"step-{store.steps()[-1]:08d}"
    cases = [(place, damage) for place in range(len(files_in(newest))) for damage in DAMAGE]
    draw = options.draw("damaged-checkpoint", subject.module)
    some = draw.sample(cases, max(2, options.moments // SHARE))
    found = [_by_store(subject, options, cases), _by_command(subject, options, some)]
    return [*found, _model(subject, options)]


def _by_store(subject: Subject, options: Options, cases: list[tuple[int, str]]) -> Figure:
    trials = Trials("damaged-checkpoint", subject, WANTED)
    for place, damage in cases:
        with trials.trial(f"file {place + 1} {damage}"):
            folder = options.folder / "store"
            shutil.copytree(subject.whole / "checkpoints", folder)
            try:
                _refused(Store(folder), place, damage)
            finally:
                shutil.rmtree(folder)
    return trials.figure(f"{len(cases) // len(DAMAGE)} files x {len(DAMAGE)} kinds of damage")


def _refused(store: Store, place: int, damage: str) -> None:
    before, newest = store.steps()[-2:]
    path = _file(store, newest, place)
    whole = path.read_bytes()
    DAMAGE[damage](path)
    expect(path.read_bytes() != whole, "the damage changed nothing")
    try:
        store.at(newest)
    except CheckpointError as error:
        expect(path.name in str(error), f"the file is not named: {error}")
    else:
        expect(holds=False, found="loaded without a word")
    taken = store.latest()
    step = None if taken is None else taken.step
    expect(step == before, f"step {step} was taken, not {before}")


def _file(store: Store, step: int, place: int) -> Path:
    """A file of a checkpoint, by its place among them: the names in trl's part hold the step."""
    return files_in(store.folder / f"step-{step:08d}")[place]


def _by_command(subject: Subject, options: Options, cases: list[tuple[int, str]]) -> Figure:
    """A run that was killed is damaged and resumed; it must get to the bits of the whole one."""
    trials = Trials("damaged-checkpoint: resume", subject, WANTED_COMMAND)
    for number, (place, damage) in enumerate(cases):
        with trials.trial(f"file {place + 1} {damage}"):
            run = options.folder / f"run-{number}"
            line = [*subject.train(subject.data, run), "--run", run]
            with child(line) as started:
                start = Start(child=started, run=run, begun=0.0)
                start.wait_until(partial(_has_two, run))
                started.kill_all()
            store = Store(run / "checkpoints")
            before, newest = store.steps()[-2:]
            DAMAGE[damage](_file(store, newest, place))
            again = ended([*line, "--resume"])
            expect(again.status == 0, f"ended with {again.status}:\n{again.output}")
            said = "The checkpoint before it is looked for" in " ".join(again.output.split())
            expect(said, f"does not say that step {before} was taken:\n{again.output}")
            found = difference(subject.left(run), subject.left(subject.whole))
            expect(not found, found)
    return trials.figure()


def _has_two(run: Path) -> bool:
    return len(Store(run / "checkpoints").steps()) >= 2


def _model(subject: Subject, options: Options) -> Figure:
    """What `predict` says to a flipped bit in the weights of the exported model."""
    trials = Trials("damaged-checkpoint: model", subject, WANTED_MODEL)
    copy = options.folder / "model"
    shutil.copytree(subject.whole / "model", copy)
    weights = sorted(copy.glob("*.safetensors"))[0]
    before = sha256_of(weights)
    flip_bit(weights)
    sources = subject.media(options.folder / "media", 1)
    with trials.trial(weights.name):
        expect(sha256_of(weights) != before, "the damage changed nothing")
        found = ended(subject.predict(copy, sources, options.folder / "out"))
        expect(found.status != 0, f"predicts with it:\n{found.output}")
        expect("Traceback" not in found.output, f"fails without a message:\n{found.output}")
        expect(weights.name in found.output, f"the file is not named:\n{found.output}")
    return trials.figure()


ROWS = (Row(name="damaged-checkpoint", wanted=WANTED, run=run),)
