"""Where each package opens a file that somebody else made: command lines with a hostile file in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_core.checkpoints.manifest import MANIFEST, read_manifest, seal, sha256_of
from tools.faults.subject import Subject

Words = list[object]


@dataclass(frozen=True, kw_only=True)
class Door:
    """A command that opens a file.

    Attributes:
        name: verb or flag.
        line: puts the file where it belongs inside a new folder, and gives the command's words.
        takes: endings of the files that are tried; none: all.
    """

    name: str
    line: Callable[[Path, Path], Words]
    takes: tuple[str, ...] = ()


def doors(subject: Subject) -> Iterator[Door]:
    """The doors of a package, those of the core among them."""
    yield Door(name="predict --checkpoint", line=lambda file, new: _model(subject, file, new))
    yield Door(name="train --resume", line=lambda file, new: _run(subject, file, new))
    yield from _OWN[subject.module](subject)


def _model(subject: Subject, file: Path, new: Path) -> Words:
    """A model folder whose weights are the file, and whose config or manifest names the file's hash."""
    model = Path(shutil.copytree(subject.whole / "model", new / "model"))
    weights = model / "model.safetensors"
    shutil.copy(file, weights)
    about = model / "config.json"
    settings: dict[str, Any] = json.loads(about.read_text("utf-8"))
    if "weights" in settings:
        size = weights.stat().st_size
        settings["weights"] = {"sha256": sha256_of(weights), "bytes": size}
        about.write_text(json.dumps(settings), "utf-8")
    if (model / MANIFEST).is_file():
        (model / MANIFEST).unlink()
        seal(model, {})
    source = subject.media(new / "media", 1)
    return [*subject.predict(model, source, new / "out")[3:]]


def _run(subject: Subject, file: Path, new: Path) -> Words:
    """A run whose newest checkpoint holds the file for the optimiser's state, sealed anew."""
    run = new / "run"
    words = subject.train(subject.data, subject.whole)[3:]
    shutil.copytree(subject.whole, run, symlinks=True)
    for name in ("summary.json", "report.html"):
        (run / name).unlink(missing_ok=True)
    for checkpoint in (run / "checkpoints").glob("step-*"):
        about = read_manifest(checkpoint)
        for kept in checkpoint.rglob("*"):
            if kept.is_file() and kept.name != MANIFEST and kept.suffix != ".json":
                shutil.copy(file, kept)
        (checkpoint / MANIFEST).unlink()
        seal(checkpoint, {key: about[key] for key in about if key not in ("format", "files")})
    return [*words, "--run", run, "--resume"]


def _abaw(subject: Subject) -> Iterator[Door]:
    def convert(file: Path, new: Path) -> Words:
        upstream = Path(shutil.copytree(_upstream(subject), new / "authors"))
        for weights in upstream.glob("*.pth"):
            shutil.copy(file, weights)
        return ["convert", "--source", upstream, "--out", new / "out"]

    def encoder(file: Path, new: Path) -> Words:
        words = subject.train(subject.data, new / "run")[3:]
        return [*words, "--pretrained-encoder", file]

    def features(file: Path, new: Path) -> Words:
        (new / "data" / "features").mkdir(parents=True)
        for path in subject.data.rglob("*.h5"):
            target = new / "data" / path.relative_to(subject.data)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file if "features" in path.parts else path, target)
        return [*subject.train(new / "data", new / "run")[3:]]

    yield Door(name="convert", line=convert)
    yield Door(name="train --pretrained-encoder", line=encoder)
    yield Door(name="train on features", line=features)


def _upstream(subject: Subject) -> Path:
    """The finished run as the authors' files, made once."""
    from abaw_va.model.network import VaModel
    from abaw_va.weights import to_upstream

    folder = subject.folder / "authors"
    if not folder.exists():
        folder.mkdir()
        to_upstream(VaModel.from_pretrained(subject.whole), folder, "latest")
    return folder


def _gaze(subject: Subject) -> Iterator[Door]:
    def initial(file: Path, new: Path) -> Words:
        return [*subject.train(subject.data, new / "run")[3:], "--init-weights", file]

    def goo(file: Path, new: Path) -> Words:
        return ["prepare", "goo", "--annotations", file, "--out", new / "rows.jsonl"]

    yield Door(name="convert", line=_convert)
    yield Door(name="train --init-weights", line=initial)
    yield Door(name="prepare goo", line=goo)


def _convert(file: Path, new: Path) -> Words:
    return ["convert", "--source", file, "--out", new / "out"]


def _asal(subject: Subject) -> Iterator[Door]:
    def initial(file: Path, new: Path) -> Words:
        return [*subject.train(subject.data, new / "run")[3:], "--init-weights", file]

    def cache(file: Path, new: Path) -> Words:
        kept = new / "cache"
        kept.mkdir()
        for folder in (subject.data / "frames").iterdir():
            shutil.copy(file, kept / f"{folder.name}.npy")
        return [*subject.train(subject.data, new / "run")[3:], "--cache", kept]

    yield Door(name="convert", line=_convert)
    yield Door(name="train --init-weights", line=initial)
    yield Door(name="train --cache", line=cache)


def _glimpse(subject: Subject) -> Iterator[Door]:
    def flag(name: str, *more: str) -> Door:
        def line(file: Path, new: Path) -> Words:
            return [*subject.train(subject.data, new / "run")[3:], name, file, *more]

        return Door(name=f"train {name}", line=line)

    def state(file: Path, new: Path) -> Words:
        source = subject.media(new / "media", 1)
        words = subject.predict(subject.whole, source, new / "out")[3:]
        return [*words, "--replace-state", "patches", "--avg-state", file]

    yield Door(name="convert", line=_convert)
    yield flag("--pretrained-mae-path")
    yield flag("--teacher-path", "--teacher-type", "vit")
    yield Door(name="predict --avg-state", line=state)


def _refine(subject: Subject) -> Iterator[Door]:
    def model(file: Path, new: Path, name: str = "pytorch_model.bin") -> Path:
        folder = Path(shutil.copytree(subject.whole / "model", new / "model"))
        for weights in folder.glob("*.safetensors*"):
            weights.unlink()
        shutil.copy(file, folder / name)
        return folder

    def convert(file: Path, new: Path) -> Words:
        return ["convert", "--source", model(file, new), "--out", new / "out"]

    def adapters(file: Path, new: Path) -> Words:
        folder = new / "adapters"
        folder.mkdir()
        about = {"peft_type": "LORA", "base_model_name_or_path": str(subject.whole / "model")}
        (folder / "adapter_config.json").write_text(json.dumps(about), "utf-8")
        shutil.copy(file, folder / "adapter_model.bin")
        source = subject.media(new / "media", 1)
        return [*subject.predict(folder, source, new / "out")[3:]]

    yield Door(name="convert", line=convert)
    yield Door(name="predict with adapters", line=adapters)


_OWN: dict[str, Callable[[Subject], Iterator[Door]]] = {
    "abaw_va": _abaw,
    "gaze_da": _gaze,
    "asal_vrvqa": _asal,
    "adaglimpse": _glimpse,
    "refine_iqa": _refine,
}
