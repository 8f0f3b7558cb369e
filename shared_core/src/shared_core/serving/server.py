"""Running a page: what it may reach, where its files lie, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

from shared_core.commands import say
from shared_core.errors import UsageError
from shared_core.extras import require
from shared_core.serving.checkpoint import made_by_demo, newest_run
from shared_core.serving.config import USUAL_PORT, ServeSettings
from shared_core.serving.guard import Guard
from shared_core.serving.parts import Page, Settings

_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(page: Page[Settings], settings: Settings) -> NoReturn:
    """Serve a page on a model until Ctrl-C (KeyboardInterrupt) or SIGTERM (SystemExit 143).

    Args:
        page: a package's.
        settings: which model, and where to listen.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        UsageError: no model is there, or the page cannot listen where it should.
        CheckpointError: the model cannot be loaded.
    """
    program = page.program
    with (
        _ended_by_sigterm(),
        TemporaryDirectory(prefix=f"{program}-page-", ignore_cleanup_errors=True) as name,
        _environment(Path(name)),
    ):
        require("gradio", "serve", program)
        checkpoint = settings.checkpoint or str(newest_run(settings.out, page.runs, program))
        port = free_port(settings.host, settings.port)
        say(f"loading {checkpoint}")
        service = page.service(checkpoint, settings)
        from shared_core.serving.blocks import About, page_of

        about = About(
            program=program,
            checkpoint=checkpoint,
            taught=page.taught if made_by_demo(checkpoint, program) else "",
        )
        drawn = page_of(service, about, Path(name))
        try:
            _launch(drawn, settings, port)
            say(f"open {drawn.local_url} (Ctrl-C ends it)")
            sys.stdout.flush()
            while True:
                time.sleep(3600)
        finally:
            drawn.close(verbose=False)


def free_port(host: str, asked: int | None) -> int:
    """The port to listen at.

    Args:
        host: address of this machine.
        asked: 0 for any free one; None: the usual one, or where that is taken, a free one.

    Raises:
        UsageError: the port is taken, or the address is not this machine's.
    """
    reason = ""
    for port in (USUAL_PORT, 0) if asked is None else (asked,):
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family) as held:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.bind((host, port))
                return int(held.getsockname()[1])
        except OSError as error:
            reason = error.strerror or str(error)
    raise UsageError(f"--host {host} --port {asked or 0}: nothing can listen there ({reason}).")


def _launch(page: Any, settings: ServeSettings, port: int) -> None:
    """Start the server in threads of its own; nothing of gradio's that shares, reports or records."""
    from shared_core.serving.blocks import STYLE, theme

    hosts = [*_LOCAL, settings.host] if settings.host in _LOCAL else ["*"]
    try:
        page.queue(api_open=False, default_concurrency_limit=1).launch(
            server_name=settings.host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=False,
            max_file_size=round(settings.max_upload * 2**20),
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            footer_links=[],
            app_kwargs={"middleware": [(Guard, [], {"hosts": hosts})]},
            theme=theme(),
            css=STYLE,
        )
    except OSError as error:
        raise UsageError(f"--port {port}: nothing can listen there ({error}).") from error


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what lies on the disk is removed."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Settings that gradio takes from the environment: those of this page, and nobody else's.

    Some are read when it is imported. That it reports nothing to anybody is among them, and that it asks
    its own server past any proxy, which knows nothing of this machine.
    """
    own = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder / "uploads")}
    past = ",".join(filter(None, (os.environ.get("NO_PROXY"), os.environ.get("no_proxy"), *_LOCAL)))
    names = [name for name in os.environ if name.startswith("GRADIO_")]
    with _changed({**dict.fromkeys(names), **own, "NO_PROXY": past, "no_proxy": past}):
        yield


@contextmanager
def _changed(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables set, or absent where None, within the block."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
