"""The tiny model: sizes, tokens, seeds."""

from __future__ import annotations

import socket

import pytest
import torch

from refine_iqa.config import TinyModelConfig
from refine_iqa.model.loading import load_model, load_processor
from refine_iqa.model.tiny import SPECIAL_TOKENS, build, command
from shared_core.errors import UsageError

PARAMETERS = {"qwen2_5_vl": 115_104, "qwen3_vl": 145_440}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("family", PARAMETERS)
def test_acceptance_13_the_tiny_model_is_built_offline_with_the_ids_of_qwen(
    family, tmp_path, no_network
):
    model, processor = load_model(build(tmp_path, family))
    tokenizer = processor.tokenizer
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[family]
    assert len(tokenizer) == 264
    assert tokenizer.encode("0123456789") == list(range(15, 25))
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(256, 264))
    assert model.generation_config.eos_token_id == 256
    assert model.generation_config.pad_token_id == 257


def test_a_byte_is_a_token_and_comes_back(tiny_folders):
    tokenizer = load_processor(tiny_folders["qwen2_5_vl"]).tokenizer
    text = "Score: 4.40 é\n\t<answer>"
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_chat_template_marks_turns_pictures_and_videos(tiny_folders):
    processor = load_processor(tiny_folders["qwen2_5_vl"])
    content = [{"type": "video"}, {"type": "image"}, {"type": "text", "text": "How good?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}, {"role": "assistant", "content": "3.00"}],
        add_generation_prompt=True,
    )
    assert text == (
        "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>"
        "<|vision_start|><|image_pad|><|vision_end|>How good?<|im_end|>\n"
        "<|im_start|>assistant\n3.00<|im_end|>\n<|im_start|>assistant\n"
    )


def test_weights_follow_the_seed_alone(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = build(tmp_path / "one", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = build(tmp_path / "again", seed=1), build(tmp_path / "other", seed=2)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_added_tokens_are_single_and_decoded_as_text(tmp_path):
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    model, processor = load_model(build(tmp_path, added_tokens=tags))
    text = "<think>dim</think><answer>Score: 2.50</answer>"
    tokens = processor.tokenizer.encode(text)
    assert len(tokens) == 4 + len("dimScore: 2.50")
    assert processor.tokenizer.decode(tokens, skip_special_tokens=True) == text
    assert model.get_input_embeddings().num_embeddings == 264 + len(tags)


@pytest.mark.parametrize("family", PARAMETERS)
def test_other_sizes_can_be_asked_for(family, tmp_path):
    model, processor = load_model(build(tmp_path, family, width=64, layers=3, vision_layers=1))
    assert len(model.model.language_model.layers) == 3
    assert len(model.model.visual.blocks) == 1
    inputs = processor(text=["good"], return_tensors="pt")
    assert model(**inputs).logits.shape == (1, 4, 264)


def test_a_width_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(UsageError, match="multiple of 32, found 40"):
        build(tmp_path, width=40)


def test_the_command_writes_a_model_that_loads(tmp_path, capsys):
    assert command(TinyModelConfig(out=tmp_path / "tiny", family="qwen3_vl")) == 0
    assert str(tmp_path / "tiny") in capsys.readouterr().out
    assert load_model(tmp_path / "tiny").model.config.model_type == "qwen3_vl"
