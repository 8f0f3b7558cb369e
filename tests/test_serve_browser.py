"""The five pages to try a model, as real processes, driven in a headless browser."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from shared_core.testing.browser import browser
from shared_core.testing.commands import modules_after
from shared_core.testing.processes import Child

if TYPE_CHECKING:
    from playwright.sync_api import Page

START_SECONDS, ANSWER_SECONDS = 600, 120
"""Most seconds until a page is up, and until an answer is there, on a machine that does much else."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A page under test.

    Attributes:
        program: whose page.
        checkpoint: writes a tiny model into a folder.
        source: writes a file to ask about into a folder; gives its path.
        expected: numbers that the package's own prediction gives, as the page writes them.
        fields: text to fill in, by its label.
        shows: what must be there beside the numbers, as a selector.
    """

    program: str
    checkpoint: Callable[[Path], object]
    source: Callable[[Path], Path]
    expected: Callable[[Path, Path], list[str]]
    fields: dict[str, str] = field(default_factory=dict)
    shows: str

    @property
    def module(self) -> str:
        return self.program.replace("-", "_")


# --- abaw-va --------------------------------------------------------------------------------------


def _va_model(folder: Path) -> None:
    from abaw_va.config import Transformer, VaModelConfig
    from abaw_va.model.initial import initialise
    from abaw_va.model.network import VaModel

    sizes = {"hidden_size": 8, "regressor": (8,), "layers": 1, "heads": 2, "ffn_width": 16}
    config = VaModelConfig(
        model=Transformer(**sizes, chunk_length=50), features=("pixels", "logmel"), input_width=320
    )
    model = VaModel(config)
    initialise(model, torch.Generator().manual_seed(3), gain=0.3)
    model.save_pretrained(folder)


def _va_source(folder: Path) -> Path:
    from abaw_va import synthetic
    from shared_core.testing.media import write_media

    clip = synthetic.clip(seed=1, number=0, seconds=2.0)
    sound = [(0.0, clip.sound)]
    return write_media(folder / "talk.mkv", clip.frames, sound=sound, rate=synthetic.SOUND_RATE)


def _va_expected(checkpoint: Path, source: Path) -> list[str]:
    from abaw_va.model.network import VaModel

    found = VaModel.from_pretrained(checkpoint).predict(source)
    return [f"{found.valence.mean():+.3f}", f"{found.arousal.mean():+.3f}"]


# --- gaze-da --------------------------------------------------------------------------------------

HEADS = ((20, 10, 60, 50), (90, 30, 130, 80))


def _gaze_model(folder: Path) -> None:
    from gaze_da.config import GazeModelConfig, Network
    from gaze_da.model.initial import initialise
    from gaze_da.model.network import GazeModel

    names = ("scene_layers", "depth_layers", "face_layers")
    layers = dict.fromkeys(names, (1, 1, 1, 1, 1))
    network = Network(width=16, **layers, input_size=64, output_size=24)
    model = GazeModel(GazeModelConfig(network=network))
    initialise(model, torch.Generator().manual_seed(1))
    model.save_pretrained(folder)


def _gaze_expected(checkpoint: Path, source: Path) -> list[str]:
    from gaze_da.model.network import GazeModel

    people = GazeModel.from_pretrained(checkpoint).predict(source, HEADS, units="pixels")
    return [f"{value:.1f}" for value in (person.angle for person in people)]


# --- asal-vrvqa -----------------------------------------------------------------------------------


def _asal_model(folder: Path) -> None:
    from asal_vrvqa.config import Network, QualityModelConfig, Scale
    from asal_vrvqa.model.initial import initialise
    from asal_vrvqa.model.network import QualityModel

    network = Network(parts=2, channels=4, height=64, width=128)
    model = QualityModel(
        QualityModelConfig(network=network, scale=Scale(name="drawn severity", low=1, high=5))
    )
    initialise(model, torch.Generator().manual_seed(0))
    model.save_pretrained(folder)


def _asal_source(folder: Path) -> Path:
    from asal_vrvqa.synthetic import write_video

    path = folder / "walk.mp4"
    write_video(path, "CG", 0.5, height=64, width=128, seconds=8, rate=2, seed=0)
    return path


def _asal_expected(checkpoint: Path, source: Path) -> list[str]:
    from asal_vrvqa.model.network import QualityModel

    found = QualityModel.from_pretrained(checkpoint).predict(source)
    told = ["nothing here is calibrated to MOS"]  # beside every score of such a model
    return [f"{found.score:.3f}", f"{found.low:.3f} to {found.high:.3f}", *told]


# --- adaglimpse -----------------------------------------------------------------------------------


def _glimpse_model(folder: Path) -> None:
    from adaglimpse.config import GlimpseModelConfig
    from adaglimpse.model.network import GlimpseModel

    torch.manual_seed(3)
    config = GlimpseModelConfig(
        task="classification",
        backbone_size="tiny",
        image_size=(64, 64),
        num_glimpses=3,
        glimpse_grid_size=1,
        num_classes=3,
        classes=("disc", "ring", "cross"),
    )
    GlimpseModel(config).save_pretrained(folder)


def _glimpse_expected(checkpoint: Path, source: Path) -> list[str]:
    from adaglimpse.model.network import GlimpseModel

    (found,) = GlimpseModel.from_pretrained(checkpoint).predict([source])
    return [f"{share:.1%}" for _, share in found.classes(found.steps)]


# --- refine-iqa -----------------------------------------------------------------------------------


def _refine_model(folder: Path) -> None:
    from refine_iqa.model.tiny import build

    build(folder)


def _refine_expected(checkpoint: Path, source: Path) -> list[str]:
    from refine_iqa.scoring import QualityScorer

    (found,) = QualityScorer.from_pretrained(checkpoint, device="cpu").predict([source])
    return [f"{found.score:.3f}", f"{found.std:.3f}"]


def _picture(folder: Path) -> Path:
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    coarse.resize((160, 120), Image.Resampling.BICUBIC).save(folder / "street.png")
    return folder / "street.png"


CASES = (
    Case(
        program="abaw-va", checkpoint=_va_model, source=_va_source, expected=_va_expected,
        shows="video",
    ),
    Case(
        program="gaze-da", checkpoint=_gaze_model, source=_picture, expected=_gaze_expected,
        fields={"Head boxes": " ".join(",".join(map(str, box)) for box in HEADS)},
        shows=".shown img",
    ),
    Case(
        program="asal-vrvqa", checkpoint=_asal_model, source=_asal_source, expected=_asal_expected,
        shows=".told svg[role=img]",  # not the sign of an error
    ),
    Case(
        program="adaglimpse", checkpoint=_glimpse_model, source=_picture,
        expected=_glimpse_expected, shows=".shown img",
    ),
    Case(
        program="refine-iqa", checkpoint=_refine_model, source=_picture, expected=_refine_expected,
        shows=".told dl",
    ),
)  # fmt: skip


@contextmanager
def served(case: Case, folder: Path) -> Iterator[tuple[Child, str]]:
    """The page's process and its address."""
    (folder / "temporary").mkdir()
    quiet = {"TMPDIR": str(folder / "temporary"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    line = ["--checkpoint", folder / "model", "--port", "0", "--device", "cpu"]
    command = ["python", "-m", case.module, "demo", "--serve", *line]
    with Child(command, environment=quiet, folder=folder) as child:
        child.wait_for("open http", START_SECONDS)
        yield child, re.findall(r"open (http\S+)", child.output)[0]


def wait_for(page: Page, texts: Iterable[str]) -> None:
    """Until the page shows all texts."""
    for text in texts:
        page.get_by_text(text).first.wait_for()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.program)
def test_help_of_a_demo_imports_neither_torch_nor_gradio(case):
    modules = modules_after([case.module, "demo", "--help"])
    assert "shared_core.serving.config" in modules
    assert modules.isdisjoint({"torch", "gradio", "numpy"})


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.program)
def test_a_page_answers_as_the_package_does_and_reaches_nobody(case, tmp_path):
    """One file asked about, one that is no picture, one again; then SIGTERM."""
    torch.set_num_threads(1)
    case.checkpoint(tmp_path / "model")
    source = case.source(tmp_path)
    damaged = tmp_path / f"letter{source.suffix}"
    damaged.write_text("Dear Sir or Madam,\n")
    with served(case, tmp_path) as (child, address), browser() as opened:
        page = opened.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(1000 * ANSWER_SECONDS)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        for label, text in case.fields.items():
            page.get_by_label(label).fill(text)

        def ask(path: Path) -> None:
            if (remove := page.get_by_label("Clear")).count():
                remove.first.click()
            page.locator("input[type=file]").first.set_input_files(path)
            page.get_by_text(path.stem).first.wait_for()
            page.get_by_role("button", name="Ask the model").click()

        expected = case.expected(tmp_path / "model", source)
        ask(source)
        wait_for(page, expected)
        page.locator(case.shows).first.wait_for()
        ask(damaged)
        toast = page.locator(".toast-body")
        toast.wait_for()
        message = toast.inner_text()
        assert damaged.name in message
        assert str(tmp_path) not in message
        assert "Traceback" not in child.output
        assert page.locator(case.shows).count() == 0  # an answer of before is not beside an error
        page.get_by_test_id("toast-close").click()
        ask(source)
        wait_for(page, expected)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        elsewhere = [url for url in asked if not url.startswith((address, "blob:", "data:"))]
        assert asked
        assert elsewhere == []
        child.send(signal.SIGTERM)
        assert child.wait(60) == 128 + signal.SIGTERM
    assert list((tmp_path / "temporary").iterdir()) == []
