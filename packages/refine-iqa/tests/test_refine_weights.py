"""`refine-iqa convert`: a model folder that stands alone, with a card, and its way to the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from refine_iqa.cli import main
from refine_iqa.config import Lora, MediaSettings, TrainConfig
from refine_iqa.model.card import run_card
from refine_iqa.model.loading import load_model, load_processor
from refine_iqa.scoring import QualityScorer
from refine_iqa.weights import export, push_to_hub
from shared_core.checkpoints import hub
from shared_core.errors import CheckpointError, DataError, UsageError, UserError
from shared_core.reporting.events import Events

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors")
ALONE = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "manifest.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(params=FAMILIES)
def base(request, tiny_folders, tmp_path):
    """A copy of a tiny model that a test may damage or remove."""
    return shutil.copytree(tiny_folders[request.param], tmp_path / "base")


@pytest.fixture
def small(tiny_folders, tmp_path):
    """The same, of one family."""
    return shutil.copytree(tiny_folders["qwen2_5_vl"], tmp_path / "base")


def adapt(base, folder, *, run=False):
    """LoRA adapters that change what a model says, alone or as a run leaves them; returns their folder."""
    model = load_model(base).model
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    target = folder / "model" if run else folder
    get_peft_model(model, config).save_pretrained(target)
    if run:
        load_processor(base).save_pretrained(target)
    return folder


def scores(folder, pictures):
    scorer = QualityScorer.from_pretrained(
        folder, device="cpu", media=MediaSettings(max_pixels=6272)
    )
    return [one.score for one in scorer.predict(sorted(pictures.glob("*.png"))[:3])]


def names(folder):
    return {path.name for path in folder.iterdir()}


def header(card):
    return yaml.safe_load(card.split("---\n")[1])


# --- weights --------------------------------------------------------------------------------------


def test_a_manifest_of_somebody_else_is_no_fault(small):
    (small / "manifest.json").write_text('{"name": "an app", "version": 3}')
    load_model(small)


@pytest.mark.parametrize("adapters", [False, True])
def test_a_written_model_is_refused_once_a_bit_of_its_weights_changed(small, tmp_path, adapters):
    source = adapt(small, tmp_path / "adapters", run=True) if adapters else small
    folder = export(source, tmp_path / "out")
    (folder / "README.md").write_text("My own words.")  # what is no weight may be changed
    load_model(folder)
    (path,) = folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path.name}.*sha256"):
        load_model(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=path.name):
        load_model(folder)


@pytest.mark.parametrize("run", [False, True])
def test_merged_adapters_score_as_the_adapted_model_and_need_no_base(base, run, pictures, tmp_path):
    adapters = adapt(base, tmp_path / "adapters", run=run)
    expected, without = scores(adapters, pictures), scores(base, pictures)
    out = export(adapters, tmp_path / "out", merge_lora=True)
    shutil.rmtree(base)
    shutil.rmtree(adapters)
    assert names(out) == ALONE
    assert scores(out, pictures) == pytest.approx(expected, abs=1e-5)
    assert max(abs(a - b) for a, b in zip(expected, without, strict=True)) > 1e-3


def test_a_run_and_its_model_folder_become_the_same_folder(base, pictures, tmp_path):
    expected = scores(base, pictures)
    (tmp_path / "run").mkdir()
    base.rename(tmp_path / "run" / "model")
    outs = [
        export(tmp_path / "run", tmp_path / "a"),
        export(tmp_path / "run/model", tmp_path / "b"),
    ]
    shutil.rmtree(tmp_path / "run")
    for out in outs:
        assert names(out) == ALONE
        assert scores(out, pictures) == expected
    assert (outs[0] / "generation_config.json").read_text() == (
        outs[1] / "generation_config.json"
    ).read_text()


def test_generation_settings_go_along(small, tmp_path):
    settings = load_model(small).model.generation_config
    settings.update(do_sample=True, temperature=0.3)
    settings.save_pretrained(small)
    assert load_model(export(small, tmp_path / "out")).model.generation_config.temperature == 0.3


def test_weights_in_the_older_layout_of_keys_are_taken(small, tmp_path):
    """The layout of the released checkpoints: `visual.*`, `model.*`, `lm_head.weight`."""
    weights = {name: w + 1 for name, w in load_model(small).model.state_dict().items()}
    legacy = {
        name.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1): w
        for name, w in weights.items()
    }
    save_file(legacy, small / "model.safetensors", {"format": "pt"})
    found = load_model(export(small, tmp_path / "out")).model.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("merge", [False, True])
def test_weights_keep_their_number_format(small, merge, tmp_path):
    load_model(small, dtype=torch.bfloat16).model.save_pretrained(small)
    source = adapt(small, tmp_path / "adapters") if merge else small
    out = export(source, tmp_path / "out", merge_lora=merge)
    kinds = {weight.dtype for weight in load_file(out / "model.safetensors").values()}
    assert kinds == {torch.bfloat16}


# --- adapters that stay adapters ------------------------------------------------------------------


@pytest.mark.parametrize("run", [False, True])
def test_adapters_are_copied_with_the_processor_that_they_need(small, run, pictures, tmp_path):
    adapters = adapt(small, tmp_path / "adapters", run=run)
    out = export(adapters, tmp_path / "out")
    source = adapters / "model" if run else adapters
    assert names(out) == ALONE - {"config.json", "generation_config.json", "model.safetensors"} | {
        *ADAPTERS
    }
    assert (out / ADAPTERS[1]).read_bytes() == (source / ADAPTERS[1]).read_bytes()
    assert json.loads((out / ADAPTERS[0]).read_text()) == json.loads(
        (source / ADAPTERS[0]).read_text()
    )
    assert scores(out, pictures) == scores(adapters, pictures)


@pytest.mark.parametrize(("run", "merge"), [(False, False), (True, False), (True, True)])
def test_a_base_that_has_moved_is_named(small, run, merge, pictures, tmp_path):
    adapters = adapt(small, tmp_path / "adapters", run=run)
    expected = scores(adapters, pictures)
    moved = small.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=f"{small}.*\nSay where it is: --base"):
        export(adapters, tmp_path / "out", merge_lora=merge)
    out = export(adapters, tmp_path / "out", merge_lora=merge, base=moved)
    assert scores(out, pictures) == pytest.approx(expected, abs=1e-5)


# --- what is refused ------------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_refused(small, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    for taken in (out, out / "mine.txt"):
        with pytest.raises(UsageError, match="a new or an empty folder"):
            export(small, taken)
    assert (out / "mine.txt").read_text() == "kept"
    assert names(out) == {"mine.txt"}


def test_an_empty_folder_is_filled(small, tmp_path):
    (tmp_path / "out").mkdir()
    assert names(export(small, tmp_path / "out")) == ALONE


@pytest.mark.parametrize("given", [{"merge_lora": True}, {"base": "Qwen/Qwen2.5-VL-3B-Instruct"}])
def test_what_is_for_adapters_alone_is_refused_without_any(small, given, tmp_path):
    with pytest.raises(UsageError, match="no adapters are in it"):
        export(small, tmp_path / "out", **given)


@pytest.mark.parametrize("fault", ["absent", "not finite"])
def test_adapters_that_cannot_be_added_leave_nothing_behind(small, fault, tmp_path):
    adapters = adapt(small, tmp_path / "adapters")
    weights = load_file(adapters / ADAPTERS[1])
    (adapters / ADAPTERS[1]).unlink()
    if fault == "not finite":
        save_file(
            {n: torch.full_like(w, torch.nan) for n, w in weights.items()}, adapters / ADAPTERS[1]
        )
    with pytest.raises(CheckpointError, match=str(adapters)):
        export(adapters, tmp_path / "out", merge_lora=True)
    if fault == "absent":
        with pytest.raises(CheckpointError, match=ADAPTERS[1]):
            export(adapters, tmp_path / "out")
    assert names(tmp_path) == {"base", "adapters"}


def test_a_folder_that_cannot_be_written_is_told(small, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match="cannot be written"):
        export(small, tmp_path / "file" / "out")


# --- the card -------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """Settings of a run whose record has two evaluations."""
    run = tmp_path / "run"
    run.mkdir()
    record = Events(run)
    for step, srcc in ((20, 0.75), (40, None)):
        reason = "all alike" if srcc is None else None
        record.write(step, "evaluate", measures={"srcc": {"value": srcc, "reason": reason}})
        record.write(step, "train", loss=0.0)
    return TrainConfig(
        model="Qwen/Qwen2.5-VL-7B-Instruct",
        data=(Path("/home/me/koniq.json"), Path("kadid.csv")),
        eval_data=Path("/home/me/spaq.json"),
        run=run,
        strategy="refine",
        lora=Lora(rank=16),
        batch_size=4,
        num_generations=6,
        max_pixels=100_000,
    )


def test_the_card_of_a_run_says_what_it_learnt_from_and_how_well_it_does(trained):
    card = run_card(trained, 20)
    for told in (
        "from 1 (bad) to 5 (excellent): higher is better",
        "from Qwen/Qwen2.5-VL-7B-Instruct by GRPO with the refine strategy on koniq.json, kadid.csv.",
        "Updates: 20, each of 24 completions, 6 of a prompt.",
        "format, answer",
        "adapters of rank 16",
        "3136 to 100000 pixels",
        "| spaq.json, which also chose the step | this model | SRCC | 0.7500 |",
        "licence of the model that it was made from (Qwen/Qwen2.5-VL-7B-Instruct)",
        "media=MediaSettings(max_pixels=100000)",
        "2508.03763",
    ):
        assert told in card.replace("\\_", "_"), told
    assert "/home/me" not in card
    about = header(card)
    assert (about["license"], about["library_name"]) == ("other", "refine-iqa")
    assert about["metrics"] == ["srcc"]


def test_a_card_holds_what_was_measured_when_its_model_was_saved(trained):
    assert "| SRCC | undefined | all alike |" in run_card(trained, 40)
    assert "Not measured." in run_card(trained, 30)


def test_the_python_of_a_card_runs(small, trained, pictures):
    code = run_card(trained, 20).split("```python\n")[1].split("```")[0]
    code = code.replace("path or hub id", str(small)).replace("photo.jpg", str(pictures / "0.png"))
    *lines, last = code.strip().splitlines()
    place = {}
    exec("\n".join(lines), place)
    assert 1 <= eval(last, place) <= 5
    assert place["scorer"].media.max_pixels == 100_000


def test_the_card_that_training_wrote_goes_along(small, trained, tmp_path):
    (tmp_path / "run" / "model").mkdir()
    adapters = adapt(small, tmp_path / "run", run=True)
    (adapters / "model" / "README.md").write_text(run_card(trained, 20))
    for merge in (False, True):
        out = export(adapters, tmp_path / f"out-{merge}", merge_lora=merge)
        assert (out / "README.md").read_text() == run_card(trained, 20)


def test_a_model_of_unknown_training_is_said_to_be_one(small, tmp_path):
    """peft writes an empty form, which nobody fills in."""
    adapters = adapt(small, tmp_path / "adapters")
    assert "More Information Needed" in (adapters / "README.md").read_text()
    card = (export(adapters, tmp_path / "out") / "README.md").read_text()
    assert "More Information Needed" not in card
    assert "whether it was tuned to rate quality is not known here" in card
    assert "made from (base)" in card
    assert str(tmp_path) not in card


# --- the command and the hub ----------------------------------------------------------------------


class StandIn:
    """As much of the hub's interface as is used."""

    def __init__(self):
        self.calls = []

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create_repo", repo_id, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, **_):
        self.calls.append(("upload_folder", repo_id, names(Path(folder_path))))
        return SimpleNamespace(oid="c0ffee")


@pytest.fixture
def stand_in(monkeypatch):
    api = StandIn()
    module = SimpleNamespace(HfApi=lambda: api, HTTPError=ConnectionError)
    monkeypatch.setattr(hub, "require", lambda *_: module)
    return api


def test_the_command_merges_and_uploads(small, stand_in, tmp_path, capsys):
    adapters = adapt(small, tmp_path / "adapters", run=True)
    out = tmp_path / "out"
    line = ["--source", str(adapters), "--out", str(out), "--merge-lora", "--push-to-hub", "me/iqa"]
    capsys.readouterr()
    assert main(["convert", *line]) == 0
    told = capsys.readouterr()
    assert f"written to {out}" in told.out
    assert "uploaded to me/iqa, commit c0ffee" in told.out
    assert told.err == ""
    assert stand_in.calls == [("create_repo", "me/iqa", True), ("upload_folder", "me/iqa", ALONE)]


def test_the_function_uploads_a_folder(small, stand_in):
    assert push_to_hub(small, "me/iqa") == "c0ffee"
    assert stand_in.calls[1] == ("upload_folder", "me/iqa", names(small))


def test_without_a_network_the_folder_stays_and_the_hub_is_named(small, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["--source", str(small), "--out", str(out), "--push-to-hub", "me/iqa"]
    assert main(["convert", *line]) == 1
    assert "me/iqa: the hub does not take it" in capsys.readouterr().err
    assert names(out) == ALONE
    with pytest.raises(UserError, match="the hub does not take it"):
        push_to_hub(out, "me/iqa")
