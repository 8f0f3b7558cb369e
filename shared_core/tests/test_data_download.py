"""Downloads: whole and right, or not there and one sentence that says what to do."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared_core.data.download import fetch
from shared_core.errors import DataError, MissingExtraError, UsageError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers with the content; /cut ends half-way, /flaky does so at the first request."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        cut = self.path == "/cut" or (self.path == "/flaky" and len(self.server.asked) == 1)
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if cut else CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_comes_once_and_is_found_again_without_the_network(server, tmp_path):
    path = fetch(f"{server.address}/weights%20v1.bin", SHA256.upper(), tmp_path / "new")
    assert path == tmp_path / "new" / "weights v1.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(f"{server.address}/weights%20v1.bin", SHA256, tmp_path / "new") == path
    assert len(server.asked) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_was_put_there_by_hand_needs_no_network(tmp_path):
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    url = "https://nowhere.invalid/x"
    assert fetch(url, SHA256, tmp_path, "model.onnx").read_bytes() == CONTENT


def test_a_damaged_file_in_the_folder_is_replaced(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1])
    assert fetch(f"{server.address}/a.bin", SHA256, tmp_path).read_bytes() == CONTENT


def test_an_interrupted_download_is_tried_again(server, tmp_path):
    assert fetch(f"{server.address}/flaky", SHA256, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("name", "sha256", "reason"),
    [
        ("a.bin", "0" * 64, "the sha256 is another one"),
        ("cut", SHA256, "IncompleteRead|sha256 is another one"),
        ("gone", SHA256, "404"),
    ],
)
def test_what_is_wrong_or_incomplete_leaves_nothing_and_says_what_to_do(
    server, tmp_path, name, sha256, reason
):
    with pytest.raises(DataError, match=reason) as caught:
        fetch(f"{server.address}/{name}", sha256, tmp_path, retries=0)
    message = str(caught.value)
    assert f"{server.address}/{name} could not be downloaded" in message
    assert f"Download it by hand and save it as {tmp_path / name}" in message
    assert sha256 in message
    assert not list(tmp_path.iterdir())


def test_without_a_network_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match="refused") as caught:
        fetch(f"http://127.0.0.1:{port}/a.bin", SHA256, tmp_path, retries=0)
    assert f"Download it by hand and save it as {tmp_path / 'a.bin'}" in str(caught.value)


def test_a_folder_that_cannot_be_written_is_one_sentence(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch(f"{server.address}/a.bin", SHA256, tmp_path / "file", retries=0)


@pytest.mark.parametrize(
    ("url", "sha256", "name"),
    [
        ("file:///etc/passwd", SHA256, None),
        ("ftp://127.0.0.1/a", SHA256, None),
        ("a.bin", SHA256, None),
        ("https://127.0.0.1/", SHA256, None),
        ("https://127.0.0.1/a", SHA256[:-1], None),
        ("https://127.0.0.1/a", "", None),
        ("https://127.0.0.1/a", SHA256, "../a"),
        ("https://127.0.0.1/..%2Fa", SHA256, None),
        ("https://127.0.0.1/%2Fetc", SHA256, None),
    ],
)
def test_an_address_hash_or_name_that_cannot_be_one_is_refused(tmp_path, url, sha256, name):
    with pytest.raises(UsageError):
        fetch(url, sha256, tmp_path, name)


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"shared-core\[download\]"):
        fetch("https://127.0.0.1/a", SHA256, tmp_path)
