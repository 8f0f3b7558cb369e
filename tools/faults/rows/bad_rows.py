"""Rows that cannot be used, at 1, 10 and 100 percent: in training, and among files to predict for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.faults.corpus import pictures, videos
from tools.faults.corpus.forks import Ended, warm
from tools.faults.corpus.sets import SETS, Rows
from tools.faults.row import Options, Row, Trials, expect, not_offered
from tools.faults.subject import QUARANTINE, Subject
from tools.faults.table import Figure

SHARES = (0.01, 0.1)
"""Of the rows that are spoilt within the budget of the quarantine (10 percent)."""
TRAIN_WANTED = "raise names one; quarantine lists exactly them; 100 % stops"
PREDICT_WANTED = "the others are predicted, all bad ones named, exit 1"
GOOD = 9
"""Whole files beside the bad ones."""

_LONGEST_S = 600.0

Spoil = Callable[[Path, Sequence[str]], None]


def media(subject: Subject, options: Options) -> Figure:
    """Pictures that are damaged, features that are not finite."""
    rows = SETS[subject.module]
    return _train("bad-media", subject, options, rows.media, rows.spoil_media)


def tables(subject: Subject, options: Options) -> Figure:
    """Labels that are no number, or out of range."""
    rows = SETS[subject.module]
    if type(rows).table is Rows.table:
        reason = "its labels are folder names: there is no row to be bad"
        return not_offered("bad-labels", subject, TRAIN_WANTED, reason)
    return _train("bad-labels", subject, options, rows.table, rows.spoil_table, rows.strict)


def _train(
    row: str,
    subject: Subject,
    options: Options,
    names_of: Callable[[Path], Sequence[str]],
    spoil: Spoil,
    strict: str = "",
) -> Figure:
    trials = Trials(row, subject, TRAIN_WANTED)
    whole = options.folder / "whole"
    SETS[subject.module].write(whole, options.seed)
    names = list(names_of(whole))

    def trained(count: int, *flags: str) -> tuple[Ended, list[str], Path]:
        folder = options.folder / f"{count}-{len(flags)}"
        data = Path(shutil.copytree(whole, folder / "data"))
        bad = sorted(options.draw(row, subject.module, str(count)).sample(names, count))
        spoil(data, bad)
        changes = {"workers": 0, "save_every": 1000, **SETS[subject.module].changes}
        more = (*flags, *SETS[subject.module].flags(whole))
        words = subject.train(data, folder / "run", *more, **changes)[3:]
        return warm(subject.module)(*words, limit_s=_LONGEST_S), bad, folder / "run"

    for share in SHARES:
        count = max(1, round(share * len(names)))
        with trials.trial(f"{count} of {len(names)}, raise"):
            _raised(*trained(count)[:2])
        if strict:
            continue
        with trials.trial(f"{count} of {len(names)}, quarantine"):
            _listed(*trained(count, *QUARANTINE))
    with trials.trial("all, quarantine"):
        _stopped(trained(len(names), *QUARANTINE)[0], names if strict else ("cannot be used",))
    return trials.figure(f"{len(names)} rows", reason=strict)


def _raised(ended: Ended, bad: Sequence[str]) -> None:
    expect(ended.status == 1 and not ended.crashed, ended.last)
    named = [name for name in bad if _names(name, ended.told)]
    expect(len(named) >= 1, f"none of {bad[:5]} is named: {ended.last}")


def _listed(ended: Ended, bad: Sequence[str], run: Path) -> None:
    expect(ended.status == 0 and not ended.crashed, ended.last)
    path = run / "quarantine.json"
    rows = json.loads(path.read_text("utf-8")) if path.is_file() else []
    told = [f"{row['path']}, {row['where']}, {row['message']}" for row in rows]
    missing = [name for name in bad if not any(_names(name, text) for text in told)]
    wrong = [text for text in told if not any(_names(name, text) for name in bad)]
    expect(not missing, f"not listed: {missing}; listed: {told}")
    expect(not wrong, f"listed, and good: {wrong}")
    page = (run / "report.html").read_text("utf-8")
    unseen = [name for name in bad if not _names(name, page)]
    expect(not unseen, f"not in the report: {unseen}")


def _stopped(ended: Ended, said: Sequence[str]) -> None:
    expect(ended.status == 1 and not ended.crashed, ended.last)
    expect(any(_names(words, ended.told) for words in said), f"it does not say why: {ended.last}")


def _names(name: str, text: str) -> bool:
    """Whether a text tells a name: `row 1` is not told by `row 12`."""
    return re.search(rf"{re.escape(name)}(?!\d)", text) is not None


def prediction(subject: Subject, options: Options) -> Figure:
    """Each kind of damaged file alone among whole ones, then no whole one at all."""
    trials = Trials("bad-input", subject, PREDICT_WANTED)
    good = subject.media(options.folder / "good", GOOD)
    bad = _damaged(options.folder / "bad", _KINDS[subject.module])
    cases = {f"1 of {GOOD + 1}": bad[:1], "all kinds": bad, "no good one": bad}
    for name, chosen in cases.items():
        others = [] if name == "no good one" else good
        with trials.trial(name):
            out = options.folder / name.replace(" ", "-")
            words = subject.predict(subject.whole, [*others, *chosen], out)[3:]
            _predicted(warm(subject.module)(*words), others, chosen, out)
    return trials.figure(f"{len(bad)} kinds of damage")


_KINDS = {
    "abaw_va": ("video",),
    "adaglimpse": ("picture", "video"),
    "asal_vrvqa": ("video",),
    "gaze_da": ("picture", "video"),
    "refine_iqa": ("picture", "video"),
}
"""What each package predicts for."""


def _damaged(folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Write a file of each kind of damage."""
    folder.mkdir()
    made = []
    if "picture" in kinds:
        for number, content in enumerate(pictures.DAMAGED.values()):
            made.append(folder / f"damaged{number:02d}.png")
            made[-1].write_bytes(content())
    for number, write in enumerate(videos.DAMAGED.values()):
        made.append(folder / f"damaged{number:02d}.mp4")
        write(made[-1])
    return made


def _predicted(ended: Ended, good: Sequence[Path], bad: Sequence[Path], out: Path) -> None:
    expect(ended.status == 1 and not ended.crashed, ended.last)
    unnamed = [path.name for path in bad if path.name not in ended.told]
    expect(not unnamed, f"not named: {unnamed}: {ended.last}")
    expect(videos.SECRET not in ended.told, "another file was read")
    written = _written(out)
    absent = [path.name for path in good if path.stem not in written]
    expect(not absent, f"not predicted: {absent}: {ended.last}")


def _written(out: Path) -> str:
    """All names and all text that a prediction left."""
    found = [path for path in out.rglob("*") if path.is_file()]
    texts = [
        path.read_text("utf-8") for path in found if path.suffix in (".json", ".jsonl", ".csv")
    ]
    return "\n".join([*map(str, found), *texts])


ROWS = (
    Row(name="bad-media", wanted=TRAIN_WANTED, run=media),
    Row(name="bad-labels", wanted=TRAIN_WANTED, run=tables),
    Row(name="bad-input", wanted=PREDICT_WANTED, run=prediction),
)
