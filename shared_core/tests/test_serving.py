"""A page to try a model: which model, which port, what a visitor is told, and what the server refuses."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import pytest

from shared_core.errors import ConfigError, DataError, MissingExtraError, UsageError
from shared_core.reporting.demo import clear
from shared_core.reporting.figures import Svg
from shared_core.serving.answering import BROKEN, NotAnsweredError, answered
from shared_core.serving.checkpoint import made_by_demo, newest_run
from shared_core.serving.config import ServeSettings
from shared_core.serving.guard import POLICY, Guard
from shared_core.serving.parts import Choice, Example, Number, Output, Page, Service, Switch, Words
from shared_core.serving.server import free_port, serve


def service(answer, **changes):
    plain = {
        "title": "Sums <b>of</b> letters",
        "about": "It counts.",
        "paper": "Nobody, 1900",
        "takes": "text",
        "suffixes": (".txt",),
        "outputs": (
            Output(name="sum", kind="facts", label="Sum"),
            Output(name="note", kind="note", label="Mind"),
        ),
        "answer": answer,
    }
    return Service(**{**plain, **changes})


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("checkpoint", {"checkpoint": "runs/night"}),
        ("port", {"serve": True, "port": 65_536}),
        ("port", {"serve": True, "port": -1}),
        ("max_upload", {"serve": True, "max_upload": 0}),
    ],
)
def test_settings_that_cannot_work_are_refused(field, changes):
    with pytest.raises(ConfigError, match=field):
        ServeSettings(out=Path("demo"), **changes)


# --- which model ----------------------------------------------------------------------------------


def run(folder, written_at):
    (folder / "model").mkdir(parents=True)
    os.utime(folder / "model", (written_at, written_at))
    return folder


def test_the_newest_model_of_the_demo_is_served(tmp_path):
    newest = run(tmp_path / "run" / "seed-1", 2000)
    run(tmp_path / "run" / "seed-2", 1000)
    run(tmp_path / "run" / "other-0", 3000)
    (tmp_path / "run" / "seed-3").mkdir()
    assert newest_run(tmp_path, "run/seed-*", "sums") == newest


def test_without_a_demo_one_is_told_how_to_make_one(tmp_path):
    (tmp_path / "run" / "seed-0").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"`sums demo`.*--checkpoint") as caught:
        newest_run(tmp_path, "run/*", "sums")
    assert str(tmp_path) in str(caught.value)


def test_a_model_of_the_demo_is_known_by_where_it_lies(tmp_path, monkeypatch):
    clear(tmp_path / "demo", "sums")
    (tmp_path / "demo" / "run" / "seed-0").mkdir(parents=True)
    assert made_by_demo(str(tmp_path / "demo" / "run" / "seed-0"), "sums")
    assert not made_by_demo(str(tmp_path / "demo" / "run" / "seed-0"), "others")
    assert not made_by_demo(str(tmp_path / "night"), "sums")
    assert not made_by_demo("owner/name", "sums")
    monkeypatch.chdir(tmp_path / "demo" / "run")
    assert made_by_demo("seed-0", "sums")


# --- where the page is ----------------------------------------------------------------------------


def test_a_port_that_is_asked_for_and_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}"):
            free_port("127.0.0.1", port)


def test_where_the_usual_port_is_taken_a_free_one_is_found(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        monkeypatch.setattr("shared_core.serving.server.USUAL_PORT", usual)
        assert free_port("127.0.0.1", None) not in (0, usual)
    assert free_port("127.0.0.1", None) == usual
    assert free_port("127.0.0.1", 0) > 0


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(UsageError, match=r"192\.0\.2\.1"):
        free_port("192.0.2.1", 0)


# --- a request ------------------------------------------------------------------------------------


def test_parts_come_in_the_order_of_the_outputs_and_what_is_left_out_is_none(tmp_path):
    asked = {}

    def answer(source, out, **controls):
        asked.update(source=source, out=out, **controls)
        return {"sum": {"sum": 3}}

    controls = (
        Number(name="base", label="Base", value=10, low=2, high=16),
        Words(name="w", label="W"),
    )
    found = answered(service(answer, controls=controls), tmp_path / "out", "a.txt", (7, "x"))
    assert found == [{"sum": 3}, None]
    assert asked == {"source": Path("a.txt"), "out": tmp_path / "out", "base": 7, "w": "x"}


def test_what_the_answer_before_wrote_is_gone(tmp_path):
    seen = []

    def answer(_source, out):
        seen.append(list(out.iterdir()))
        (out / "picture.png").touch()
        return {}

    for _ in range(2):
        answered(service(answer), tmp_path / "out", "a.txt", ())
    assert seen == [[], []]


def test_a_mistake_is_told_with_the_visitors_name_of_the_file(tmp_path):
    source = tmp_path / "0a1b2c" / "cat.jpg"

    def answer(path, _out):
        raise DataError(path, "a text", expected="a picture", remedy="Take another.")

    with pytest.raises(NotAnsweredError) as caught:
        answered(service(answer), tmp_path / "out", str(source), ())
    assert str(caught.value) == "cat.jpg: expected a picture, found a text.\nTake another."


def test_an_error_of_ours_is_no_news_for_the_visitor_and_a_traceback_in_the_log(tmp_path, caplog):
    def answer(_source, _out):
        raise RuntimeError("weights of the third layer")

    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(NotAnsweredError, match=BROKEN.partition(".")[0]) as caught,
    ):
        answered(service(answer), tmp_path / "out", "a.txt", ())
    assert "third layer" not in str(caught.value)
    assert "third layer" in caplog.text
    assert "Traceback" in caplog.text


def test_without_a_file_the_model_is_not_asked(tmp_path):
    with pytest.raises(NotAnsweredError, match="Choose a text first"):
        answered(service(lambda *_: 1 / 0), tmp_path / "out", None, ())


# --- who is answered ------------------------------------------------------------------------------


def ask(hosts, host, kind="http"):
    """Status, headers and whether the app was reached."""
    reached, sent = [], []

    async def app(_scope, _receive, send):
        reached.append(True)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(b"host", host.encode())]}
    asyncio.run(Guard(app, hosts)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), bool(reached)


LOCAL = ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:80", "localhost", "[::1]:7860"])
def test_the_page_answers_by_its_own_names_with_a_content_policy(host):
    status, headers, reached = ask(LOCAL, host)
    assert (status, reached) == (200, True)
    assert headers == {b"a": b"b", b"content-security-policy": POLICY.encode()}


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org:7860", "example.org:80", ""]
)
def test_a_page_of_another_name_is_refused(host):
    status, headers, reached = ask(LOCAL, host)
    assert (status, reached) == (400, False)
    assert b"content-security-policy" in headers


def test_who_listens_to_the_network_is_called_by_any_name():
    assert ask(("*",), "workstation:7860")[2]


def test_the_policy_lets_nothing_in_from_elsewhere():
    sources = {word for rule in POLICY.split(";") for word in rule.split()[1:]}
    assert sources == {"'self'", "'unsafe-inline'", "'unsafe-eval'", "blob:", "data:", "'none'"}


# --- gradio ---------------------------------------------------------------------------------------


def test_a_missing_gradio_is_named_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r'pip install "sums\[serve\]"'):
        serve(
            Page(
                program="sums",
                service=lambda checkpoint, _: pytest.fail(f"loaded {checkpoint}"),
                runs="*",
                taught="",
            ),
            ServeSettings(out=tmp_path, serve=True, checkpoint="x"),
        )


def test_gradios_settings_come_from_nobodys_environment(tmp_path, monkeypatch):
    from shared_core.serving.server import _environment

    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("NO_PROXY", "intranet")
    before = dict(os.environ)
    with _environment(tmp_path):
        own = {name: value for name, value in os.environ.items() if name.startswith("GRADIO_")}
        assert own == {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
        }
        assert os.environ["NO_PROXY"].split(",")[:2] == ["intranet", "127.0.0.1"]
    assert dict(os.environ) == before


@pytest.fixture
def blocks(monkeypatch, tmp_path):
    """The module that draws, with gradio's settings as a page has them."""
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    from shared_core.serving import blocks

    return blocks


def test_a_page_holds_all_parts_and_asks_no_other_machine(blocks, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    controls = (
        Choice(name="c", label="A choice", choices=("x", "y")),
        Number(name="n", label="A number", value=1, low=0, high=2),
        Words(name="w", label="Some words"),
        Switch(name="s", label="A switch"),
    )
    made = service(
        dict,
        controls=controls,
        notes=("it guesses",),
        examples=lambda _: [Example(path=tmp_path / "a.txt", values={"w": "b"})],
    )
    about = blocks.About(program="sums", checkpoint="run", taught="Taught on <drawings>")
    page = blocks.page_of(made, about, tmp_path)
    kinds = [part["type"] for part in page.config["components"]]
    for kind in ("file", "radio", "slider", "textbox", "checkbox", "button", "dataset", "html"):
        assert kind in kinds
    shown = str(page.config["components"])
    assert "Sums &lt;b&gt;of&lt;/b&gt; letters" in shown
    assert "Taught on &lt;drawings&gt;." in shown
    assert "It guesses." in shown
    assert page.analytics_enabled is False
    assert {fn.concurrency_limit for fn in page.fns.values() if fn.name == "ask"} == {1}
    assert [sheet for sheet in blocks.theme()._stylesheets if "//" in sheet] == []


def test_what_is_shown_is_escaped(blocks):
    shown = {
        kind: blocks._shown(Output(name="x", kind=kind, label="<i>"), part)["value"]
        for kind, part in (
            ("facts", {"<b>": "<script>"}),
            ("note", "<script>"),
            ("table", [{"<b>": "<script>"}]),
        )
    }
    for markup in shown.values():
        assert "<script>" not in markup
        assert "<b>" not in markup
        assert "<i>" not in markup
        assert "&lt;script&gt;" in markup


def test_a_drawing_from_elsewhere_is_no_figure(blocks):
    figure = Output(name="x", kind="figure", label="Curve")
    assert "<svg>" in blocks._shown(figure, Svg("<svg></svg>"))["value"]
    with pytest.raises(TypeError, match="scripts"):
        blocks._shown(figure, "<svg onload=alert()></svg>")


@pytest.mark.parametrize("part", [None, "", {}, [], ()])
def test_a_part_that_is_not_there_leaves_no_gap(blocks, part):
    update = blocks._shown(Output(name="x", kind="facts", label="Sum"), part)
    assert (update["value"], update["visible"]) == (None, False)
