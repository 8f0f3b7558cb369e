"""The page itself, drawn with gradio: the same frame around every package's parts."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_core.extras import require
from shared_core.reporting.figures import Svg
from shared_core.serving.answering import NotAnsweredError, answered
from shared_core.serving.parts import Choice, Control, Example, Kind, Number, Output, Service, Words

gr = require("gradio", "serve")

LICENCE = (
    "The program is under the Apache License 2.0; the weights may have terms of their own, those of the "
    "data that they were trained on."
)

_WAITING = '<p class="quiet">The answer comes here.</p>'

OLD_SECONDS = 3600
"""After which a visitor's file is removed while the page runs; at its end all are."""

STYLE = """
.gradio-container { max-width: 1180px !important; width: 100% !important; margin: 0 auto !important; }
.told h1 { font-size: 1.5rem; font-weight: 650; margin: .4rem 0 .2rem; }
.told h2 { font-size: .85rem; font-weight: 500; margin: 0 0 .4rem; }
.told p { margin: .2rem 0; line-height: 1.45; max-width: 72ch; }
.told .quiet, .told dt, .told th, .told h2 { color: var(--body-text-color); opacity: .75; }
.told .quiet { font-size: .85rem; overflow-wrap: anywhere; }
.told .note { border-left: 3px solid #d9632a; padding: .35rem .7rem; margin: .5rem 0;
  background: color-mix(in srgb, #d9632a 10%, transparent); }
.told dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .5rem;
  margin: 0; }
.told dl div { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .5rem .7rem; }
.told dt { font-size: .8rem; }
.told dd { margin: 0; font-size: 1.05rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.told dl div:first-child dd { font-size: 1.5rem; font-weight: 650; }
.told svg { max-width: 100%; height: auto; }
.told { min-width: 0 !important; max-width: 100%; overflow-x: auto !important; }
.told table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.told table, .told tr { border: 0 !important; }
.told th, .told td { text-align: left; padding: .3rem .7rem .3rem 0; vertical-align: bottom;
  border: 0 solid var(--border-color-primary) !important; border-bottom-width: 1px !important; }
.shown { padding-top: 2rem !important; }
.shown .image-frame { width: 100% !important; }
.shown img { width: 100%; max-height: 70vh; object-fit: contain; }
.shown .thumbnail-item { aspect-ratio: auto !important; height: auto !important; }
.shown .grid-wrap { height: auto !important; max-height: none !important; }
"""


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a page's model comes from.

    Attributes:
        program: whose page.
        checkpoint: as the user named it.
        taught: what has to be said of what it was taught on; empty: nothing.
    """

    program: str
    checkpoint: str
    taught: str = ""


def theme() -> Any:
    """Colours of the reports, and the visitor's own fonts: none is fetched."""
    return gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_400")


def page_of(service: Service, about: About, folder: Path) -> Any:
    """The page of a service, not yet served.

    Args:
        service: what it takes and shows.
        about: its model.
        folder: for the files of answers and examples.

    Returns:
        gradio's Blocks.
    """
    examples = _examples(service, folder / "examples")
    with gr.Blocks(
        title=f"{about.program}: {service.title}",
        analytics_enabled=False,
        delete_cache=(OLD_SECONDS, OLD_SECONDS),
    ) as page:
        gr.HTML(_head(service, about), elem_classes="told")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                source = gr.File(
                    label=f"A {service.takes}",
                    file_types=sorted(service.suffixes),
                    type="filepath",
                    height=150,
                )
                controls = [_component(control) for control in service.controls]
                button = gr.Button("Ask the model", variant="primary")
                if examples:
                    _offer(examples, service, [source, *controls])
            with gr.Column(scale=3, min_width=300):
                waiting = gr.HTML(_WAITING, elem_classes="told", min_height=90, padding=True)
                outputs = [waiting, *(_place(output) for output in service.outputs)]
        gr.HTML(_foot(service, about), elem_classes="told")

        def ask(given: str | None, *values: Any) -> list[Any]:
            try:
                found = answered(service, folder / "answer", given, values)
            except NotAnsweredError as error:
                raise gr.Error(
                    html.escape(str(error)), duration=None, print_exception=False
                ) from error
            parts = zip(service.outputs, found, strict=True)
            return [gr.update(visible=False), *(_shown(output, part) for output, part in parts)]

        def clear() -> list[Any]:
            return [gr.update(value="", visible=True), *(_nothing() for _ in service.outputs)]

        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        cleared = button.click(clear, None, outputs, queue=False, **hidden)
        cleared.then(
            ask,
            [source, *controls],
            outputs,
            api_visibility="private",
            concurrency_limit=1,
            show_progress_on=waiting,
        )
    return page


def _head(service: Service, about: About) -> str:
    notes = [note for note in (about.taught, *service.notes) if note]
    return "".join(
        [
            f"<h1>{html.escape(service.title)}</h1>",
            f"<p>{html.escape(service.about)}</p>",
            f'<p class="quiet">{html.escape(service.paper)}</p>',
            *map(_note, notes),
        ]
    )


def _foot(service: Service, about: About) -> str:
    told = (
        f"{about.program}, model {about.checkpoint}, on {service.device}. What you give stays on the "
        f"machine that serves this page, and is removed when it ends. {LICENCE}"
    )
    return f'<p class="quiet">{html.escape(told)}</p>'


def _note(text: str) -> str:
    """A sentence in a box; a clause becomes one."""
    sentence = f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
    return f'<p class="note">{html.escape(sentence)}</p>'


def _examples(service: Service, folder: Path) -> Sequence[Example]:
    if service.examples is None:
        return ()
    folder.mkdir()
    return service.examples(folder)


def _offer(examples: Sequence[Example], service: Service, inputs: list[Any]) -> None:
    """Examples below the controls; a press fills these in."""
    rows = [
        [
            str(example.path),
            *(example.values.get(control.name, _start(control)) for control in service.controls),
        ]
        for example in examples
    ]
    gr.Examples(
        rows,
        inputs,
        label="Nothing at hand? Drawn examples",
        cache_examples=False,
        example_labels=[example.path.name for example in examples],
    )


def _start(control: Control) -> str | float | bool:
    """The value of a control that nobody has touched."""
    match control:
        case Choice():
            return control.choices[0]
        case Number():
            return control.value
        case Words():
            return ""
        case _:
            return False


def _component(control: Control) -> Any:
    """Where a visitor chooses."""
    common = {"label": control.label, "info": control.info or None, "value": _start(control)}
    match control:
        case Choice():
            return gr.Radio(list(control.choices), **common)
        case Number():
            return gr.Slider(control.low, control.high, step=control.step, buttons=[], **common)
        case Words():
            return gr.Textbox(placeholder=control.placeholder, max_length=200, **common)
        case _:
            return gr.Checkbox(**common)


def _place(output: Output) -> Any:
    """Where a part of an answer will stand; nothing is there before."""
    return _PLACES[output.kind](label=output.label, visible=False)


def _told(label: str, **about: Any) -> Any:
    return gr.HTML(label=label, elem_classes="told", padding=True, **about)


_PLACES: Mapping[Kind, Callable[..., Any]] = {
    "facts": _told,
    "note": _told,
    "figure": _told,
    "table": _told,
    "text": lambda **about: gr.Textbox(interactive=False, lines=4, max_lines=20, **about),
    "picture": lambda **about: gr.Image(
        interactive=False, buttons=["download", "fullscreen"], elem_classes="shown", **about
    ),
    "pictures": lambda **about: gr.Gallery(
        interactive=False,
        columns=1,
        object_fit="contain",
        buttons=["download", "fullscreen"],
        elem_classes="shown",
        **about,
    ),
    "video": lambda **about: gr.Video(
        interactive=False, buttons=["download"], loop=True, elem_classes="shown", **about
    ),
    "files": lambda **about: gr.File(interactive=False, file_count="multiple", **about),
}


def _nothing() -> Any:
    """An empty place; a new one each time, for gradio takes it apart."""
    return gr.update(value=None, visible=False)


def _shown(output: Output, part: Any) -> Any:
    """What gradio is to put into a place; a part that is not there leaves no gap."""
    if not part:
        return _nothing()
    return gr.update(value=_VALUES[output.kind](output.label, part), visible=True)


def _facts(label: str, facts: Mapping[str, object]) -> str:
    pairs = (
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )
    return f"<h2>{html.escape(label)}</h2><dl>{''.join(pairs)}</dl>"


def _figure(label: str, figure: Svg) -> str:
    if not isinstance(figure, Svg):
        raise TypeError(
            "a figure is what reporting.figures draws: SVG from elsewhere may hold scripts"
        )
    return f"<h2>{html.escape(label)}</h2>{figure}"


def _table(label: str, rows: Sequence[Mapping[str, object]]) -> str:
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row.values()) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f"<h2>{html.escape(label)}</h2>{table}"


_VALUES: Mapping[Kind, Callable[[str, Any], Any]] = {
    "facts": _facts,
    "note": lambda _, text: _note(text),
    "figure": _figure,
    "table": _table,
    "text": lambda _, text: text,
    "picture": lambda _, path: str(path),
    "pictures": lambda _, pictures: [(str(path), caption) for path, caption in pictures],
    "video": lambda _, path: str(path),
    "files": lambda _, files: [str(path) for path in files],
}
