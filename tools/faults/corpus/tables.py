"""Where each package reads a table, a record or settings: command lines with hostile text in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.faults.corpus.texts import BROKEN_JSON, VALUES, YAML, csv_texts
from tools.faults.subject import Subject

Words = list[object]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A file of text that a command reads.

    Attributes:
        name: verb, and which of its files.
        texts: hostile content by what it is.
        line: puts the content where it belongs inside a new folder; gives the command's words.
    """

    name: str
    texts: dict[str, bytes]
    line: Callable[[bytes, Path], Words]


def tables(subject: Subject) -> Iterator[Table]:
    """The tables of a package, and what all packages read: settings and a model's config."""

    def settings(content: bytes, new: Path) -> Words:
        path = new / "hostile.yaml"
        path.write_bytes(content)
        return ["train", "--config", path]

    def config(content: bytes, new: Path) -> Words:
        model = Path(shutil.copytree(subject.whole / "model", new / "model"))
        (model / "config.json").write_bytes(content)
        return [*subject.predict(model, subject.media(new / "media", 1), new / "out")[3:]]

    yield Table(name="train --config", texts=YAML, line=settings)
    yield Table(
        name="predict, config.json", texts=_records(b'{"format": 1, "config": %s}'), line=config
    )
    yield from _OWN[subject.module](subject)


def _records(frame: bytes) -> dict[str, bytes]:
    """Hostile JSON: no JSON at all, and each value in its place in a frame."""
    inside = {name: frame.replace(b"%s", value) for name, value in VALUES.items()}
    return BROKEN_JSON | inside | {f"{name} alone": value for name, value in VALUES.items()}


def _written(content: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _abaw(subject: Subject) -> Iterator[Table]:
    def frames(content: bytes, new: Path) -> Words:
        _written(content, new / "tables" / "a.csv")
        words: Words = ["prepare", "tables", "--tables", new / "tables", "--data", new / "root"]
        return [*words, "--features", "x=x"]

    def annotations(content: bytes, new: Path) -> Words:
        for split in ("Train_Set", "Validation_Set"):
            _written(content, new / "texts" / split / f"{split}.txt")
        return ["prepare", "annotations", "--annotations", new / "texts", "--data", new / "root"]

    def boxes(content: bytes, new: Path) -> Words:
        path = _written(content, new / "boxes.csv")
        words = subject.predict(subject.whole, subject.media(new / "media", 1), new / "out")
        return [*words[3:], "--boxes", path]

    def results(content: bytes, new: Path) -> Words:
        for target in ("valence", "arousal"):
            _written(content, new / "results" / f"val_pred_{target}_smooth.json")
        words: Words = ["submit", "--results", new / "results", "--out", new / "out"]
        return [*words, "--split", "val"]

    def options(content: bytes, new: Path) -> Words:
        _written(content, new / "authors" / "train_opt.conf")
        return ["convert", "--source", new / "authors", "--out", new / "out"]

    traces = b'{%s: {"pred": [0.1, %s]}}'
    yield Table(
        name="prepare tables", texts=csv_texts("x,valence,arousal", "1,0.1,0.2"), line=frames
    )
    yield Table(
        name="prepare annotations", texts=csv_texts("valence,arousal", "0.1,0.2"), line=annotations
    )
    yield Table(
        name="predict --boxes",
        texts=csv_texts("frame,x0,y0,x1,y1", "0,0.3,0.2,0.7,0.8"),
        line=boxes,
    )
    yield Table(name="submit", texts=_records(traces), line=results)
    yield Table(name="convert", texts=_records(b'{"feature_set": %s}'), line=options)


def _gaze(subject: Subject) -> Iterator[Table]:
    def annotations(content: bytes, new: Path) -> Words:
        root = new / "root"
        for split in ("train", "test"):
            _written(content, root / f"{split}_annotations_release.txt")
        return ["prepare", "check", "--data", root, "--out", new / "list.json"]

    def heads(ending: str) -> Callable[[bytes, Path], Words]:
        def line(content: bytes, new: Path) -> Words:
            path = _written(content, new / f"heads{ending}")
            words = subject.predict(subject.whole, subject.media(new / "media", 1), new / "out")
            return [*words[3:], "--heads", path]

        return line

    def goo(content: bytes, new: Path) -> Words:
        for name in ("oneshotrealhumansNew", "testrealhumansNew"):
            _written(content, new / f"{name}.jsonl")
        (new / "pictures").mkdir()
        return ["prepare", "check", "--dataset", "goo", "--data", new / "pictures"]

    row = "train/a.jpg,1,0.1,0.1,0.5,0.8,0.3,0.3,0.5,0.5,10,10,40,40,1,made,m"
    columns = "source,frame,person,x0,y0,x1,y1"
    head = b'[{"source": %s, "person": 1, "box": [1, 2, 30, %s]}]'
    yield Table(name="prepare check", texts=csv_texts(row, row), line=annotations)
    yield Table(
        name="predict --heads CSV",
        texts=csv_texts(columns, "picture0.png,0,a,1,2,30,40"),
        line=heads(".csv"),
    )
    yield Table(name="predict --heads JSON", texts=_records(head), line=heads(".json"))
    yield Table(name="prepare check goo", texts=_records(b'{"filename": %s, "hx": %s}\n'), line=goo)


def _asal(subject: Subject) -> Iterator[Table]:
    def labels(file: str) -> Callable[[bytes, Path], Words]:
        def line(content: bytes, new: Path) -> Words:
            shutil.copytree(subject.data / "labels", new / "labels")
            _written(content, new / "labels" / file)
            words = subject.train(subject.data, new / "run")[3:]
            return [*words, "--labels", new / "labels"]

        return line

    def starts(content: bytes, new: Path) -> Words:
        for start in "AB":
            _written(content, new / "labels" / f"info{start}.csv")
        (new / "videos").mkdir()
        words: Words = ["prepare", "frames", "--videos", new / "videos", "--out", new / "out"]
        return [*words, "--labels", new / "labels"]

    def listed(content: bytes, new: Path) -> Words:
        path = _written(content, new / "list.csv")
        return ["predict", "--table", path, "--checkpoint", subject.whole, "--out", new / "out"]

    clip, video = "7_A_A_CG00.mp4", "A_CG00.mp4"
    yield Table(
        name="train, scores",
        texts=csv_texts("VideoName,MOS", f"{clip},3.5"),
        line=labels("infoAB_all.csv"),
    )
    yield Table(
        name="train, categories",
        texts=csv_texts("video_names,category", f"{video},CG"),
        line=labels("categorized_videos.csv"),
    )
    yield Table(
        name="prepare frames",
        texts=csv_texts("VideoName,HM_pitch,HM_yaw", f"{video},0,0"),
        line=starts,
    )
    yield Table(
        name="predict --table",
        texts=csv_texts("path,seconds,yaw,pitch", f"{video},7,0,0"),
        line=listed,
    )


def _glimpse(_: Subject) -> Iterator[Table]:
    def split(content: bytes, new: Path) -> Words:
        path = _written(content, new / "split.csv")
        words: Words = ["prepare", "check", "--dataset", "sun360", "--data-dir", new / "images"]
        (new / "images").mkdir()
        return [*words, "--split-file", path, "--out", new / "check.json"]

    yield Table(name="prepare check", texts=csv_texts("a/b.jpg,0", "a/b.jpg,0"), line=split)


def _refine(subject: Subject) -> Iterator[Table]:
    def rows(ending: str) -> Callable[[bytes, Path], Words]:
        def line(content: bytes, new: Path) -> Words:
            path = _written(content, new / f"rows{ending}")
            return ["prepare", "check", "--data", path, "--out", new / "check.json"]

        return line

    def scores(content: bytes, new: Path) -> Words:
        path = _written(content, new / "scores.csv")
        table = subject.data / "pictures" / "table.json"
        words: Words = ["evaluate", "--benchmark", "table", "--labels", table, "--split", "all"]
        return [*words, "--predictions", path, "--out", new / "out"]

    record = b'{"image": %s, "question": %s, "solution": %s}'
    yield Table(name="prepare check JSON", texts=_records(b"[" + record + b"]"), line=rows(".json"))
    yield Table(name="prepare check lines", texts=_records(record), line=rows(".jsonl"))
    yield Table(
        name="prepare check CSV", texts=csv_texts("path,mos", "a.png,3.5"), line=rows(".csv")
    )
    yield Table(
        name="evaluate, scores", texts=csv_texts("path,score", "00000.png,3.5"), line=scores
    )


_OWN: dict[str, Callable[[Subject], Iterator[Table]]] = {
    "abaw_va": _abaw,
    "gaze_da": _gaze,
    "asal_vrvqa": _asal,
    "adaglimpse": _glimpse,
    "refine_iqa": _refine,
}
