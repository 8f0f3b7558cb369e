"""The probabilities of continuations in two passes are those of one long pass for each."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from refine_iqa.config import MediaSettings
from refine_iqa.data.prompts import ANSWER_OPENING, NO_THINK_TEMPLATE
from refine_iqa.model.loading import load_model, load_processor
from refine_iqa.model.tiny import build
from refine_iqa.scoring.continuations import Continuations, token_log_probs
from refine_iqa.scoring.digits import TEXTS, belief, digit_ids, score_continuations
from refine_iqa.scoring.inputs import batch_of, read_sample
from refine_iqa.scoring.levels import level_belief, level_continuations
from shared_core.errors import CheckpointError


def inputs_of(processor, family="qwen2_5_vl"):
    """Two prompts of unequal length, with pictures of unequal size."""
    factor = 28 if family == "qwen2_5_vl" else 32
    samples = [
        read_sample(Image.new("RGB", size, colour), None, MediaSettings(), factor)
        for size, colour in (((64, 64), "red"), ((160, 96), "green"))
    ]
    return batch_of(processor, samples, NO_THINK_TEMPLATE, opening=ANSWER_OPENING)


def teacher_forced(model, inputs, row, tokens):
    """Log-probabilities of tokens after one prompt, by a plain pass over the prompt and them."""
    seen = inputs["attention_mask"][row].bool()
    ids = torch.cat([inputs["input_ids"][row][seen], torch.tensor(tokens)])[None]
    types = torch.cat([inputs["mm_token_type_ids"][row][seen], torch.zeros(len(tokens)).long()])
    counts = inputs["image_grid_thw"].prod(dim=1).tolist()
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            mm_token_type_ids=types[None],
            pixel_values=inputs["pixel_values"].split(counts)[row],
            image_grid_thw=inputs["image_grid_thw"][row : row + 1],
        ).logits
    found = logits[0, -len(tokens) - 1 : -1].log_softmax(dim=-1)
    return [float(found[i, token]) for i, token in enumerate(tokens)]


@pytest.fixture(params=["qwen2_5_vl", "qwen3_vl"])
def loaded(request, tiny_folders):
    return *load_model(tiny_folders[request.param]), request.param


def test_each_token_is_as_probable_as_in_a_plain_pass(loaded):
    model, processor, family = loaded
    inputs = inputs_of(processor, family)
    continuations = score_continuations(processor.tokenizer)
    found = token_log_probs(model, inputs, continuations)
    assert found.shape == (2, 401, 4)
    for row in range(2):
        for place in (0, 1, 57, 123, 246, 399, 400):
            tokens = processor.tokenizer.encode(TEXTS[place])
            expected = teacher_forced(model, inputs, row, tokens)
            assert found[row, place].tolist() == pytest.approx(expected, abs=2e-5)


def test_texts_of_unequal_length_are_whole(loaded):
    """Words of several tokens, one the beginning of another."""
    model, processor, family = loaded
    inputs = inputs_of(processor, family)
    texts = [processor.tokenizer.encode(word) for word in ("good", "go", "bad", "g")]
    found = token_log_probs(model, inputs, Continuations(texts))
    for place, tokens in enumerate(texts):
        expected = teacher_forced(model, inputs, 1, tokens)
        assert found[1, place].tolist() == pytest.approx(
            [*expected, *[0.0] * (4 - len(tokens))], abs=2e-5
        )


def test_texts_of_one_token_need_one_pass(loaded):
    model, processor, family = loaded
    inputs, calls = inputs_of(processor, family), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    found = token_log_probs(model, inputs, Continuations([[15], [16]]))
    assert len(calls) == 1
    assert float(found[0, 1, 0]) == pytest.approx(
        teacher_forced(model, inputs, 0, [16])[0], abs=2e-5
    )


def test_all_scores_take_one_prefix_pass_and_one_short_pass(loaded):
    model, processor, family = loaded
    lengths, towers = [], []
    model.register_forward_pre_hook(
        lambda _model, _args, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    model.model.visual.register_forward_pre_hook(lambda *_: towers.append(1))
    inputs = inputs_of(processor, family)
    token_log_probs(model, inputs, score_continuations(processor.tokenizer))
    # 1 2 3 4 5, a point after each, ten first decimals after four of them, and 5.0
    assert lengths == [inputs["input_ids"].shape[1], 5 + 5 + 40 + 1]
    assert len(towers) == 1


def test_kernels_that_take_no_mask_are_put_aside_for_the_short_pass(tiny_folders):
    """As FlashAttention's; what the model had before comes back."""
    seen = []

    def maskless(module, query, key, value, attention_mask, **kwargs):
        seen.append(query.shape[2])
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    AttentionInterface.register("maskless", maskless)
    AttentionMaskInterface.register("maskless", sdpa_mask)
    model, processor = load_model(tiny_folders["qwen2_5_vl"])
    inputs, scores = inputs_of(processor), score_continuations(processor.tokenizer)
    expected = token_log_probs(model, inputs, scores)
    model.set_attn_implementation("maskless")
    found = token_log_probs(model, inputs, scores)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert inputs["input_ids"].shape[1] in seen
    assert len(scores.nodes) not in seen
    assert model.config._attn_implementation == "maskless"


def test_eager_and_sdpa_agree(tiny_folders):
    model, processor = load_model(tiny_folders["qwen2_5_vl"], attn="eager")
    inputs, scores = inputs_of(processor), score_continuations(processor.tokenizer)
    eager = token_log_probs(model, inputs, scores)
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(eager, token_log_probs(model, inputs, scores), atol=1e-4, rtol=0)


def test_digits_have_the_ids_of_qwen(tiny_folders):
    digits, point = digit_ids(load_processor(tiny_folders["qwen2_5_vl"]).tokenizer)
    assert digits == {str(digit): 15 + digit for digit in range(10)}
    assert point == 13


@pytest.mark.parametrize("merged", ["1.", "40", ".2", ": 5", "5.00"])
def test_a_tokenizer_in_which_a_digit_is_not_a_token_is_refused(merged, tmp_path):
    tokenizer = load_processor(build(tmp_path / "odd", added_tokens=(merged,))).tokenizer
    with pytest.raises(CheckpointError, match="each digit, and the point, is one token") as raised:
        digit_ids(tokenizer)
    assert "odd" in str(raised.value)


def test_belief_is_the_expectation_over_the_three_digits():
    """A slow sum; the point's own probability has no say."""
    draws = torch.Generator().manual_seed(0)
    log_probs = torch.randn(3, 401, 4, generator=draws, dtype=torch.float64)
    found = belief(log_probs)
    for row in range(3):
        weights = [
            math.exp(sum(float(log_probs[row, i, k]) for k in (0, 2, 3))) for i in range(401)
        ]
        scores = [float(text) for text in TEXTS]
        mean = sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)
        square = sum(w * (s - mean) ** 2 for w, s in zip(weights, scores, strict=True))
        assert float(found.score[row]) == pytest.approx(mean, abs=1e-12)
        assert float(found.std[row]) == pytest.approx(math.sqrt(square / sum(weights)), abs=1e-12)


def test_belief_of_a_certain_and_of_an_ignorant_model():
    certain = torch.full((1, 401, 4), -50.0, dtype=torch.float64)
    certain[0, TEXTS.index("4.40")] = 0.0
    assert belief(certain).score.tolist() == pytest.approx([4.40], abs=1e-9)
    assert belief(certain).std.tolist() == pytest.approx([0.0], abs=1e-9)
    ignorant = belief(torch.zeros(1, 401, 4, dtype=torch.float64))
    assert ignorant.score.tolist() == pytest.approx([3.0])
    assert ignorant.std.tolist() == pytest.approx([math.sqrt((401**2 - 1) / 12) / 100])


def test_scores_are_all_hundredths_from_1_to_5():
    assert (TEXTS[0], TEXTS[1], TEXTS[-1], len(TEXTS)) == ("1.00", "1.01", "5.00", 401)


def test_levels_weigh_whole_words(loaded):
    """Softmax over the products of the words' probabilities, times 5 to 1."""
    model, processor, family = loaded
    inputs = inputs_of(processor, family)
    words = level_continuations(processor.tokenizer)
    found = level_belief(token_log_probs(model, inputs, words))
    names = ("excellent", "good", "fair", "poor", "bad")
    for row in range(2):
        weights = [
            math.exp(
                sum(teacher_forced(model, inputs, row, processor.tokenizer.encode(f" {name}")))
            )
            for name in names
        ]
        mean = sum(w * (5 - i) for i, w in enumerate(weights)) / sum(weights)
        assert float(found.score[row]) == pytest.approx(mean, abs=1e-3)
