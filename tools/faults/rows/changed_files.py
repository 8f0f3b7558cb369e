"""Bytes that are not those that were asked for: downloads, and the weights of a model folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from shared_core.data.download import fetch
from shared_core.errors import DataError
from shared_core.testing.faults import flip_bit, truncate
from tools.faults.corpus.forks import warm
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

DOWNLOAD_WANTED = "refused by sha256, nothing is kept"
MODEL_WANTED = "refused by name before it predicts"

_CONTENT = bytes(range(256)) * 64
_CHANGED: dict[str, bytes] = {
    "one bit": bytes([_CONTENT[0] ^ 1]) + _CONTENT[1:],
    "cut": _CONTENT[:-1],
    "longer": _CONTENT + b"\0",
    "nothing": b"",
    "another page": b"<html>moved</html>",
}


def downloads(subject: Subject, options: Options) -> Figure:
    """A server that gives other bytes than those whose hash is written beside its address."""
    trials = Trials("changed-download", subject, DOWNLOAD_WANTED)
    expected = hashlib.sha256(_CONTENT).hexdigest()
    for name, content in _CHANGED.items():
        with trials.trial(name), _serving(content) as address:
            folder = options.folder / name.replace(" ", "-")
            try:
                fetch(f"{address}/weights.bin", expected, folder, retries=0)
            except DataError as error:
                expect(expected in str(error), f"the hash is not told: {error}")
            else:
                expect(False, "it was taken")
            left = [path.name for path in folder.rglob("*") if path.is_file()]
            expect(not left, f"it left {left}")
    return trials.figure()


@contextmanager
def _serving(content: bytes) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def models(subject: Subject, options: Options) -> Figure:
    """A model folder, one file of which was changed since it was written."""
    trials = Trials("changed-model", subject, MODEL_WANTED)
    source = subject.media(options.folder / "media", 1)
    for name, change in _DAMAGES.items():
        with trials.trial(name):
            folder = options.folder / name.replace(" ", "-")
            model = Path(shutil.copytree(subject.whole / "model", folder / "model"))
            change(model)
            words = subject.predict(model, source, folder / "out")[3:]
            ended = warm(subject.module)(*words)
            expect(ended.status in (1, 2) and not ended.crashed, f"it was used: {ended.last}")
            expect(str(model) in ended.told, f"the model is not named: {ended.last}")
    return trials.figure()


def _weights(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda model: change(model / "model.safetensors")


def _another_class(model: Path) -> None:
    path = model / "config.json"
    about = json.loads(path.read_text("utf-8"))
    for name in ("class", "model_type"):
        if name in about:
            about[name] = "Another"
    path.write_text(json.dumps(about), "utf-8")


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "one bit of the weights": _weights(flip_bit),
    "last bit of the weights": _weights(
        lambda path: flip_bit(path, position=path.stat().st_size - 1, bit=7)
    ),
    "half of the weights": _weights(truncate),
    "a byte less": _weights(lambda path: truncate(path, -1)),
    "no weights": _weights(Path.unlink),
    "empty weights": _weights(lambda path: truncate(path, 0)),
    "half of the config": lambda model: truncate(model / "config.json"),
    "another class": _another_class,
}

ROWS = (
    Row(name="changed-download", wanted=DOWNLOAD_WANTED, run=downloads, per_package=False),
    Row(name="changed-model", wanted=MODEL_WANTED, run=models),
)
