"""Models are loaded whole, from safetensors, of the two families, and without running their code."""

from __future__ import annotations

import importlib
import json
import shutil
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

import refine_iqa.model
from refine_iqa.model.loading import load_model, load_processor, model_folder, padded_left
from shared_core.errors import CheckpointError

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny_folders, tmp_path):
    """A copy of a tiny model that a test may damage."""
    return shutil.copytree(tiny_folders["qwen2_5_vl"], tmp_path / "model")


@pytest.fixture
def adapters(folder, tmp_path):
    """LoRA adapters that change what the model says."""
    model = load_model(folder).model
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapters")
    return tmp_path / "adapters"


def logits_of(model, processor):
    with torch.no_grad():
        return model(**processor(text=["Score: 4"], return_tensors="pt")).logits


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_acceptance_18_legacy_keys_load_bit_equal(folder):
    """The layout of the released checkpoints: `visual.*`, `model.*`, `lm_head.weight`."""
    weights = load_model(folder).model.state_dict()
    legacy = {
        name.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1): w
        for name, w in weights.items()
    }
    assert {name.split(".")[0] for name in legacy} == {"visual", "model", "lm_head"}
    assert "model.layers.0.self_attn.q_proj.weight" in legacy
    changed = {name: weight + 1 for name, weight in legacy.items()}
    save_file(changed, folder / WEIGHTS, {"format": "pt"})
    loaded = load_model(folder).model.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name] + 1) for name in weights)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_processor_pads_and_cuts_on_the_left_whatever_was_saved(family, tiny_folders, tmp_path):
    copy = shutil.copytree(tiny_folders[family], tmp_path / "copy")
    edit(copy / "tokenizer_config.json", padding_side="right", truncation_side="right")
    tokenizer = load_processor(copy).tokenizer
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("left", "left")
    made = tokenizer(["1234", "1"], padding=True)
    assert made["attention_mask"] == [[1, 1, 1, 1], [0, 0, 0, 1]]


def test_a_processor_without_a_tokenizer_is_refused(tiny_folders):
    pictures_only = load_processor(tiny_folders["qwen2_5_vl"]).image_processor
    with pytest.raises(CheckpointError, match="a processor that pads on the left"):
        padded_left(pictures_only)


def test_a_run_folder_gives_its_model(folder):
    assert model_folder(folder.parent) == folder
    assert load_model(str(folder.parent)).model.config.model_type == "qwen2_5_vl"


def test_a_checkpoint_of_another_family_is_named(folder):
    edit(folder / "config.json", model_type="llava")
    with pytest.raises(CheckpointError, match="'llava'") as raised:
        load_model(folder)
    assert "qwen2_5_vl or qwen3_vl" in str(raised.value)


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        names = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer")
        edit(folder / name, auto_map=dict.fromkeys(names, "own.Own"))
    load_model(folder)
    assert not marker.exists()


def test_weights_in_a_pickle_are_refused(folder):
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(folder)


@pytest.mark.parametrize("fault", ["missing", "shape", "damaged"])
def test_weights_that_are_not_whole_are_refused(folder, fault):
    """transformers itself fills in random numbers for a missing tensor, and goes on."""
    weights = load_file(folder / WEIGHTS)
    if fault == "missing":
        del weights["lm_head.weight"]
    elif fault == "shape":
        weights["lm_head.weight"] = torch.zeros(3, 32)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    if fault == "damaged":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=str(folder)):
        load_model(folder)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder, and not a hub id"):
        load_model(tmp_path / "absent")
    with pytest.raises(
        CheckpointError, match=r"a folder with config\.json or adapter_config\.json"
    ):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="hub does not give it"):
        load_model("nobody/nothing")


def test_a_folder_without_a_processor_is_refused(folder):
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="the processor of a qwen2_5_vl model"):
        load_model(folder)


def test_adapters_go_on_the_model_that_they_name_or_on_the_given_one(folder, adapters):
    base = load_model(folder)
    named = load_model(adapters)
    given = load_model(folder, adapter=adapters)
    assert isinstance(named.model, PeftModel)
    assert named.processor.tokenizer.padding_side == "left"
    assert torch.equal(logits_of(*named), logits_of(*given))
    assert not torch.allclose(logits_of(*named), logits_of(*base), atol=1e-4)


def test_a_processor_beside_adapters_needs_no_model_where_they_name_one(folder, adapters):
    load_processor(folder).save_pretrained(adapters)
    edit(adapters / "adapter_config.json", base_model_name_or_path="moved/away")
    assert load_model(folder, adapter=adapters).processor.tokenizer.padding_side == "left"
    assert load_processor(adapters, base=folder).tokenizer.padding_side == "left"
    with pytest.raises(CheckpointError, match="moved/away"):
        load_processor(adapters)


def test_adapters_in_a_pickle_are_refused(adapters):
    torch.save(load_file(adapters / "adapter_model.safetensors"), adapters / "adapter_model.bin")
    (adapters / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors"):
        load_model(adapters)


def test_adapters_without_the_name_of_a_base_are_refused(adapters):
    edit(adapters / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(CheckpointError, match="base_model_name_or_path"):
        load_model(adapters)


def test_a_model_is_read_and_written_without_a_bar(folder, tmp_path, capsys):
    load_model(folder).model.save_pretrained(tmp_path / "again")
    assert capsys.readouterr().err == ""


def test_only_what_others_call_by_an_old_name_is_not_warned_of(folder):
    """trl and peft do; a user cannot help it."""
    model = load_model(folder).model
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        importlib.reload(refine_iqa.model)
        assert model.is_gradient_checkpointing is False
        model.gradient_checkpointing_enable()
        model.gradient_checkpointing_disable()
        warnings.warn("`gradient_checkpointing` of ours", FutureWarning, stacklevel=1)
    assert [str(warning.message) for warning in told] == ["`gradient_checkpointing` of ours"]


def test_number_format_and_kernels_are_as_asked(folder):
    model = load_model(folder, dtype=torch.bfloat16, attn="eager").model
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    assert not model.training
    model.save_pretrained(folder)
    assert load_model(folder, dtype="auto").model.dtype == torch.bfloat16
