"""Pictures that a group has in common are processed once, and seen once; nothing else changes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from refine_iqa.data.pictures import Picture
from refine_iqa.data.prompts import messages
from refine_iqa.model.loading import load_model
from refine_iqa.model.sharing import SharedPictures, distinct, share_vision, vision_tower

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


def picture(seed, family="qwen2_5_vl", *, tall=False):
    side = 28 if family == "qwen2_5_vl" else 32
    size = (3 * side, 2 * side) if tall else (2 * side, 3 * side)
    draws = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Picture.of(Image.fromarray(draws))


class Counting:
    """An image processor that counts its calls and pictures."""

    def __init__(self, processor):
        self.processor = processor
        self.calls = []

    def __call__(self, images, **kwargs):
        self.calls.append(len(images))
        return self.processor(images, **kwargs)

    def __getattr__(self, name):
        return getattr(self.processor, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_acceptance_27_a_group_is_processed_once(tiny_folders, family):
    _, processor = load_model(tiny_folders[family])
    usual = processor.image_processor
    counting = Counting(usual)
    processor.image_processor = SharedPictures(counting)
    first, second = picture(0, family), picture(1, family, tall=True)
    group = [first] * 4 + [second] * 4
    prompts = [copy.deepcopy(message_with(image)) for image in group]
    for _ in range(2):  # trl asks for the same pictures twice at every step
        found = processor.apply_chat_template(prompts, tokenize=True, return_dict=True)
    assert counting.calls == [2]
    assert processor.image_processor.processed == 2
    expected = usual(group, return_tensors="pt")
    torch.testing.assert_close(found["pixel_values"], expected["pixel_values"], rtol=0, atol=0)
    assert torch.equal(found["image_grid_thw"], expected["image_grid_thw"])


def message_with(image):
    prompt = messages("How good?")
    prompt[0]["content"][0]["image"] = image
    return prompt


def test_a_new_picture_of_the_same_place_in_memory_is_not_taken_for_the_old_one(tiny_folders):
    _, processor = load_model(tiny_folders["qwen2_5_vl"])
    shared = SharedPictures(processor.image_processor)
    for seed in range(5):
        image = picture(seed)
        found = shared([image])
        expected = processor.image_processor([image], return_tensors="pt")
        assert torch.equal(found["pixel_values"], expected["pixel_values"])
        del image, found


def test_distinct_pictures_are_told_apart_by_every_value():
    grids = torch.tensor([[1, 2, 2], [1, 2, 2], [1, 1, 4], [1, 2, 2], [1, 2, 2]])
    block = torch.arange(12.0).view(4, 3)
    swapped = block[[1, 0, 2, 3]]  # the same sum
    pixels = torch.cat([block, swapped, block, block, swapped])
    assert distinct(pixels, grids) == ([0, 1, 2], [0, 1, 2, 0, 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_tower_gives_the_same_logits_and_gradients(tiny_folders, family):
    model, processor = load_model(tiny_folders[family])
    first, second = picture(0, family), picture(1, family, tall=True)
    images = [first, second, picture(0, family), first, second]
    prompts = [message_with(image) for image in images]
    inputs = processor.apply_chat_template(
        prompts, tokenize=True, return_dict=True, return_tensors="pt", padding=True
    )
    assert processor.tokenizer.padding_side == "left"
    seen = []
    tower = vision_tower(model)
    tower.patch_embed.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))

    def outcome():
        model.zero_grad()
        logits = model(**inputs).logits
        (logits[inputs["attention_mask"].bool()].square().mean()).backward()
        return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}

    plain, plain_gradients = outcome()
    handles = share_vision(model)
    shared, shared_gradients = outcome()
    torch.testing.assert_close(shared, plain, rtol=1e-5, atol=1e-6)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(shared_gradients[name], gradient, rtol=1e-4, atol=1e-7)
    assert seen[1] * 5 == seen[0] * 2  # two of five pictures
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(outcome()[0], plain, rtol=0, atol=0)
    assert seen[2] == seen[0]
