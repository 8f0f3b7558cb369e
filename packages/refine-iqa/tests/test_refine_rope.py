"""Positions of text after videos: the original's, and the library's where both agree."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from refine_iqa.model.loading import load_model
from refine_iqa.model.rope import original_positions, set_rope

VIDEO_PAD, IMAGE_PAD, LETTER = 263, 262, 64


def slow_positions(layout, merge=2):
    """Position by position: text counts on; a visual lies on its grid; text goes on above all before it."""
    places, start = [], 0
    for part in layout:
        if isinstance(part, int):
            new = [(start + i,) * 3 for i in range(part)]
        else:
            (time, height, width), interval = part
            new = [
                (start + int(t * interval), start + h, start + w)
                for t in range(time)
                for h in range(height // merge)
                for w in range(width // merge)
            ]
        places += new
        start = max(max(place) for place in places) + 1
    return torch.tensor(places).T


def row_of(layout, kind):
    """Token ids and kinds of a layout: numbers of letters, and visuals of one kind."""
    ids, types = [], []
    for part in layout:
        if isinstance(part, int):
            ids += [LETTER] * part
            types += [0] * part
        else:
            time, height, width = part[0]
            count = time * height * width // 4
            ids += [VIDEO_PAD if kind == 2 else IMAGE_PAD] * count
            types += [kind] * count
    return ids, types


def rope_inputs(rows, kind, seconds=None):
    """A left-padded batch of layouts, as `get_rope_index` takes it."""
    made = [row_of(layout, kind) for layout in rows]
    longest = max(len(ids) for ids, _ in made)
    grids = torch.tensor([part[0] for row in rows for part in row if not isinstance(part, int)])
    given = {
        "input_ids": torch.tensor([[257] * (longest - len(ids)) + ids for ids, _ in made]),
        "mm_token_type_ids": torch.tensor(
            [[0] * (longest - len(types)) + types for _, types in made]
        ),
        "attention_mask": torch.tensor(
            [[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in made]
        ),
    }
    name = "video_grid_thw" if kind == 2 else "image_grid_thw"
    return {**given, name: grids} | (
        {} if seconds is None else {"second_per_grid_ts": torch.tensor(seconds)}
    )


@pytest.fixture
def model(tiny_folders):
    return load_model(tiny_folders["qwen2_5_vl"]).model


def test_acceptance_19_text_after_a_video_of_five_steps_ends_at_34(model):
    """Grid (5, 8, 6), 2 s each, among 18 tokens of text; the library ends at 21."""
    inputs = rope_inputs([[10, ((5, 8, 6), 4.0), 8]], kind=2, seconds=[2.0])
    assert int(model.model.get_rope_index(**inputs)[0][:, 0, -1].max()) == 21
    set_rope(model, "original")
    positions, deltas = model.model.get_rope_index(**inputs)
    assert positions[:, 0, -1].tolist() == [34, 34, 34]
    assert deltas.tolist() == [[35 - (18 + 60)]]
    set_rope(model, "library")
    assert int(model.model.get_rope_index(**inputs)[0][:, 0, -1].max()) == 21


def test_acceptance_19_positions_of_images_equal_the_librarys(model):
    """Several images in a row, rows of unequal length."""
    rows = [[3, ((1, 8, 6), 0), 2, ((1, 4, 12), 0), 5], [1, ((1, 4, 4), 0), 2]]
    inputs = rope_inputs(rows, kind=1)
    library = model.model.get_rope_index(**inputs)
    set_rope(model, "original")
    original = model.model.get_rope_index(**inputs)
    seen = inputs["attention_mask"].bool()
    assert torch.equal(original[0][:, seen], library[0][:, seen])
    assert torch.equal(original[1], library[1])


@pytest.mark.parametrize("seconds", [2.0, 1.9853, 0.25])
def test_positions_equal_the_formula_written_slowly(model, seconds):
    set_rope(model, "original")
    visuals = [((4, 4, 8), 2 * seconds), ((2, 6, 4), 2 * seconds), ((3, 4, 4), 2 * seconds)]
    rows = [[5, visuals[0], 3, visuals[1], 7], [2, visuals[2], 1]]
    positions, deltas = model.model.get_rope_index(
        **rope_inputs(rows, kind=2, seconds=[seconds] * 3)
    )
    for row, layout in enumerate(rows):
        expected = slow_positions(layout)
        length = expected.shape[1]
        assert torch.equal(positions[:, row, -length:], expected)
        assert int(deltas[row]) == int(expected.max()) + 1 - length


def test_text_alone_counts_on():
    places = original_positions(torch.zeros(4, dtype=torch.long), [], [], 2)
    assert places.tolist() == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize("rope", ["library", "original"])
def test_cached_decoding_of_a_padded_batch_does_not_drift(model, rope):
    """Each step's logits equal those of a forward pass over all tokens so far."""
    set_rope(model, rope)
    rows = [[9, ((4, 4, 4), 4.0), 6], [2, ((2, 4, 4), 4.0), 3]]
    inputs = rope_inputs(rows, kind=2, seconds=[2.0, 2.0])
    patches = int(inputs["video_grid_thw"].prod(dim=1).sum())
    pixels = torch.randn(patches, 1176, generator=torch.Generator().manual_seed(0))
    steps, length = 6, inputs["input_ids"].shape[1]
    written = model.generate(
        **inputs,
        pixel_values_videos=pixels,
        max_new_tokens=steps,
        min_new_tokens=steps,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    whole = {**inputs, "input_ids": written.sequences}
    for name, fill in (("mm_token_type_ids", 0), ("attention_mask", 1)):
        tail = torch.full((2, steps), fill)
        whole[name] = torch.cat([inputs[name], tail], dim=1)
    with torch.no_grad():
        logits = model(**whole, pixel_values_videos=pixels).logits
    for step, cached in enumerate(written.logits):
        torch.testing.assert_close(cached, logits[:, length - 1 + step], atol=1e-4, rtol=0)


def test_a_model_with_adapters_and_one_of_qwen3_take_the_setting(tiny_folders, model):
    inputs = rope_inputs([[10, ((5, 8, 6), 4.0), 8]], kind=2, seconds=[2.0])
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    set_rope(adapted, "original")
    assert int(model.model.get_rope_index(**inputs)[0].max()) == 34
    third = load_model(tiny_folders["qwen3_vl"]).model
    before = third.model.get_rope_index
    set_rope(third, "original")
    assert third.model.get_rope_index == before
