"""What a package's page is made of: declared here, drawn by `blocks`, without gradio."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from shared_core.serving.config import ServeSettings

Settings = TypeVar("Settings", bound=ServeSettings)

Kind = Literal["facts", "note", "text", "figure", "table", "picture", "pictures", "video", "files"]
"""How an answer is shown, and what it is:

- `facts`: names with values, the most important first: a mapping.
- `note`: a sentence that stands out; empty: nothing to say.
- `text`: something long, set as it is.
- `figure`: an `Svg` of `reporting.figures`.
- `table`: rows, each a mapping with the same names.
- `picture`, `video`: a file; `pictures`: files, each with its caption.
- `files`: to download.
"""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few words.

    Attributes:
        name: of the argument that `Service.answer` gets.
        label: beside it.
        choices: to choose among, the first at the beginning.
        info: a line of help.
    """

    name: str
    label: str
    choices: tuple[str, ...]
    info: str = ""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number between two ends.

    Attributes:
        name: of the argument that `Service.answer` gets.
        label: beside it.
        value: at the beginning.
        low: lowest.
        high: highest.
        step: between two values; a whole number gives whole numbers.
        info: a line of help.
    """

    name: str
    label: str
    value: float
    low: float
    high: float
    step: float = 1
    info: str = ""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A line of text.

    Attributes:
        name: of the argument that `Service.answer` gets.
        label: beside it.
        placeholder: shown while it is empty.
        info: a line of help.
    """

    name: str
    label: str
    placeholder: str = ""
    info: str = ""


@dataclass(frozen=True, kw_only=True)
class Switch:
    """Yes or no; no at the beginning.

    Attributes:
        name: of the argument that `Service.answer` gets.
        label: beside it.
        info: a line of help.
    """

    name: str
    label: str
    info: str = ""


Control = Choice | Number | Words | Switch


@dataclass(frozen=True, kw_only=True)
class Output:
    """A place for a part of the answer.

    Attributes:
        name: under which `Service.answer` gives it.
        kind: how it is shown.
        label: above it.
    """

    name: str
    kind: Kind
    label: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """A file that a visitor without one can try.

    Attributes:
        path: the file.
        values: of controls, by name, that belong to it.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a model is shown with.

    Attributes:
        title: of the page.
        about: what the model does, a sentence.
        paper: where that comes from: authors, year, number.
        takes: what a visitor may give: "picture or video".
        suffixes: endings of such files, with their dots, in small letters.
        outputs: parts of an answer, from top to bottom.
        answer: takes the file, an empty folder for files of the answer, and the controls by name; gives
            the parts by name. What it leaves out is not shown. It raises a `UserError` for what a visitor
            can mend.
        controls: what a visitor can choose.
        notes: what has to be said of every answer of this model.
        device: where the model runs.
        examples: writes files to try into a folder; none: there are none.
    """

    title: str
    about: str
    paper: str
    takes: str
    suffixes: Collection[str]
    outputs: tuple[Output, ...]
    answer: Callable[..., Mapping[str, Any]]
    controls: tuple[Control, ...] = ()
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    examples: Callable[[Path], Sequence[Example]] | None = None


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Settings]):
    """What a package's `demo --serve` opens.

    Attributes:
        program: whose page.
        service: loads the model of a run, folder or hub id, and says what it is shown with.
        runs: pattern of the runs in the demo's folder that hold what the demo is about: `run/seed-*`.
        taught: what has to be said of the demo's models: what they were taught on.
    """

    program: str
    service: Callable[[str, Settings], Service]
    runs: str
    taught: str
