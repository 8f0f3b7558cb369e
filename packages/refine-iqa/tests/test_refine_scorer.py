"""`QualityScorer` and `QualityMetric`: the same score alone and in company, again and again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from refine_iqa.config import MediaSettings
from refine_iqa.data.prompts import NO_THINK_TEMPLATE, fill
from refine_iqa.data.video import FrameOptions, read_frames
from refine_iqa.scoring import QualityMetric, QualityScorer
from refine_iqa.scoring import scorer as scorer_module
from refine_iqa.scoring.inputs import batch_of, read_sample
from refine_iqa.scoring.reasoning import Draw, reading
from shared_core.data.video import VideoWriter
from shared_core.errors import ConfigError, DataError, UsageError
from shared_core.testing.media import grey_steps

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
MEDIA = MediaSettings(max_pixels=6272)


def write_video(path, frames, rate=4):
    with VideoWriter(path, rate=rate) as writer:
        for image in grey_steps(frames, (60, 80)):
            writer.write(image)
    return path


@pytest.fixture(scope="module")
def scorers(tiny_folders):
    return {
        family: QualityScorer.from_pretrained(tiny_folders[family], device="cpu", media=MEDIA)
        for family in FAMILIES
    }


@pytest.fixture(scope="module")
def by_video_input(tiny_folders):
    """Scorers that give a video by the model's own video input."""
    return {
        family: QualityScorer.from_pretrained(
            tiny_folders[family], device="cpu", media=MEDIA, video_as="video"
        )
        for family in FAMILIES
    }


@pytest.fixture
def scorer(scorers):
    return scorers["qwen2_5_vl"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory, pictures):
    """Eight images and a video, whose sizes differ and are not in order."""
    folder = tmp_path_factory.mktemp("sources")
    draws = np.random.default_rng(1)
    paths = [write_video(folder / "clip.mp4", 9)]
    for number, (width, height) in enumerate([(90, 60), (40, 40), (56, 120), (30, 30), (64, 90)]):
        pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        paths.append(folder / f"{number}.png")
    return [*paths, *sorted(pictures.glob("*.png"))[:3]]


def scores(predictions):
    return [prediction.score for prediction in predictions]


def test_half_precision_is_near(tiny_folders, scorer, sources):
    half = QualityScorer.from_pretrained(
        tiny_folders["qwen2_5_vl"], device="cpu", precision="bf16", media=MEDIA
    )
    found = half.predict(sources)
    assert scores(found) == pytest.approx(scores(scorer.predict(sources)), abs=0.05)


@pytest.mark.parametrize("mode", ["direct", "levels"])
@pytest.mark.parametrize("shown", ["scorers", "by_video_input"])
@pytest.mark.parametrize("family", FAMILIES)
def test_acceptance_20_a_score_depends_on_the_picture_alone(family, shown, mode, sources, request):
    """Batch 1 = batch 8 to 1e-4 in fp32; again: identical; within 1..5."""
    scorer = request.getfixturevalue(shown)[family]
    alone = scorer.predict(sources, mode=mode, batch_size=1)
    together = scorer.predict(sources, mode=mode, batch_size=8)
    assert scores(alone) == pytest.approx(scores(together), abs=1e-4)
    assert len(set(scores(alone))) == len(sources)
    assert scores(scorer.predict(sources, mode=mode, batch_size=8)) == scores(together)
    assert all(1 <= score <= 5 for score in scores(alone))
    assert all(0 < prediction.std < 2 for prediction in alone)
    assert [prediction.path for prediction in alone] == sources


def test_acceptance_21_a_malformed_answer_has_the_score_of_the_digits(scorer, sources, monkeypatch):
    """Never a random one, and said so; the others of the batch keep what they wrote."""
    answers = iter(["I think", "<think>dim</think><answer>Score: 2.25</answer>", ""])
    monkeypatch.setattr(scorer_module, "write", lambda *_, **__: [next(answers) for _ in range(3)])
    order = sorted(
        sources[1:4], key=lambda path: scorer._read(0, path, None, "raise").sample.pixels
    )
    found = scorer.predict(order, mode="reasoned", batch_size=3)
    direct = scorer.predict(order)
    assert [prediction.parsed for prediction in found] == [False, True, False]
    assert scores(found) == pytest.approx([direct[0].score, 2.25, direct[2].score], abs=1e-4)
    assert found[0].std == pytest.approx(direct[0].std, abs=1e-4)
    assert (found[0].raw, found[0].think, found[0].level) == ("I think", None, None)
    assert (found[1].think, found[1].level, found[1].std) == ("dim", "strict", None)


@pytest.mark.parametrize("shown", ["scorers", "by_video_input"])
@pytest.mark.parametrize("family", FAMILIES)
def test_acceptance_28_a_video_of_one_frame_is_scored_and_a_bad_file_is_told(
    family, shown, sources, tmp_path, request
):
    scorer = request.getfixturevalue(shown)[family]
    clip = write_video(tmp_path / "one.mp4", 1)
    broken, absent = tmp_path / "broken.png", tmp_path / "absent.mp4"
    broken.write_bytes(b"no image")
    asked = [broken, clip, absent, sources[1]]
    found = scorer.predict(asked, on_error="record")
    assert [prediction.path for prediction in found] == asked
    assert [prediction.error is None for prediction in found] == [False, True, False, True]
    assert "broken.png" in found[0].error
    assert math.isnan(found[0].score)
    assert 1 <= found[1].score <= 5
    with pytest.raises(DataError, match=r"broken\.png"):
        scorer.predict(asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_acceptance_30_a_metric_takes_a_batch_of_tensors(family, scorers):
    metric = QualityMetric(scorers[family], batch_size=2)
    images = torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    found = metric(images)
    assert found.shape == (3,)
    assert found.dtype == torch.float32
    assert metric.lower_better is False
    as_files = [
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()) for image in images
    ]
    assert found.tolist() == pytest.approx(scores(scorers[family].predict(as_files)), abs=1e-4)
    assert torch.equal(metric(images, reference=images), found)


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (torch.rand(3, 64, 64), "shape"),
        (torch.rand(2, 1, 64, 64), "shape"),
        (torch.rand(0, 3, 64, 64), "shape"),
        (torch.full((1, 3, 64, 64), math.nan), "NaN"),
    ],
)
def test_a_metric_refuses_what_is_no_batch_of_images(scorer, images, fault):
    with pytest.raises(ValueError, match=fault):
        QualityMetric(scorer)(images)


def test_reasoning_is_greedy_whatever_the_model_prefers(scorer, sources):
    """A released model comes with sampling, a temperature and a penalty of its own."""
    options = {"mode": "reasoned", "max_new_tokens": 12}
    plain = scorer.predict(sources[:4], batch_size=1, **options)
    settings = scorer.model.generation_config
    before = settings.to_dict()
    settings.update(do_sample=True, temperature=2.0, top_k=3, repetition_penalty=5.0)
    try:
        again = scorer.predict(sources[:4], batch_size=4, **options)
    finally:
        settings.update(**before)
    assert [prediction.raw for prediction in again] == [prediction.raw for prediction in plain]


def test_drawn_answers_depend_on_seed_and_picture_and_not_on_the_batch(scorer, sources):
    options = {"mode": "reasoned", "max_new_tokens": 8, "samples": 2}
    alone = scorer.predict(sources[:3], batch_size=1, seed=1, **options)
    together = scorer.predict(sources[:3], batch_size=3, seed=1, **options)
    other = scorer.predict(sources[:3], batch_size=3, seed=2, **options)
    assert [prediction.raw for prediction in alone] == [prediction.raw for prediction in together]
    assert [prediction.raw for prediction in alone] != [prediction.raw for prediction in other]


def test_one_picture_given_twice_is_answered_twice(scorer, sources):
    options = {"mode": "reasoned", "max_new_tokens": 8, "samples": 2}
    one, other = scorer.predict([sources[1], sources[1]], **options)
    assert one.raw != other.raw


def test_draws_follow_the_models_distribution():
    """20 000 draws from four tokens, each frequency within four standard errors."""
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]])
    draw = Draw([torch.Generator().manual_seed(seed) for seed in range(500)])
    prompts = torch.zeros(500, 1, dtype=torch.long)
    chosen = [draw(prompts, logits.expand(500, 4)).argmax(dim=1) for _ in range(40)]
    counts = torch.cat(chosen).bincount(minlength=4)
    expected = logits[0].softmax(dim=0)
    error = (expected * (1 - expected) / 20_000).sqrt()
    assert ((counts / 20_000 - expected).abs() <= 4 * error).all()


def test_several_answers_give_their_mean_and_the_nearest_one():
    texts = [f"<think>{n}</think><answer>Score: {n}.00</answer>" for n in (1, 2, 4)]
    found = reading(["nothing", *texts])
    assert found.score == pytest.approx(7 / 3)
    assert found.std == pytest.approx(math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2))
    assert (found.raw, found.think, found.parsed) == (texts[1], "2", True)


def test_a_model_in_training_stays_there_and_is_scored_without_dropout(tiny_folders, sources):
    scorer = QualityScorer.from_pretrained(tiny_folders["qwen2_5_vl"], media=MEDIA)
    expected = scores(scorer.predict(sources[:2]))
    scorer.model.train()
    scorer.model.gradient_checkpointing_enable()
    assert scores(scorer.predict(sources[:2])) == pytest.approx(expected, abs=1e-6)
    assert scorer.model.training
    assert all(weight.grad is None for weight in scorer.model.parameters())


def test_questions_are_one_for_all_or_one_for_each(scorer, sources):
    own = scorer.predict(sources[1:3], question=["Sharp?", "How good is the light?"])
    first = scorer.predict(sources[1:2], question="Sharp?")
    usual = scorer.predict(sources[1:2])
    assert own[0].score == pytest.approx(first[0].score, abs=1e-4)
    assert abs(own[0].score - usual[0].score) > 1e-6
    with pytest.raises(UsageError, match="a question for each of 2 sources, found 1"):
        scorer.predict(sources[1:3], question=["Sharp?"])


def test_templates_of_the_user_are_asked(tiny_folders, sources, tmp_path):
    (tmp_path / "own.txt").write_text("Rate. {question} Now.")
    (tmp_path / "bad.txt").write_text("Rate.")
    folder = tiny_folders["qwen2_5_vl"]
    own = QualityScorer.from_pretrained(
        folder, media=MediaSettings(max_pixels=6272, no_think_template=tmp_path / "own.txt")
    )
    plain = QualityScorer.from_pretrained(folder, media=MEDIA)
    assert abs(own.predict(sources[1:2])[0].score - plain.predict(sources[1:2])[0].score) > 1e-6
    with pytest.raises(ConfigError, match="no_think_template"):
        QualityScorer.from_pretrained(
            folder, media=MediaSettings(no_think_template=tmp_path / "bad.txt")
        )


def test_pictures_in_memory_score_as_their_files(scorer, sources):
    opened = [Image.open(path) for path in sources[1:4]]
    assert scores(scorer.predict(opened)) == pytest.approx(
        scores(scorer.predict(sources[1:4])), abs=1e-6
    )
    assert scorer.predict(opened)[0].path is None


def test_transparency_lies_on_white_and_several_images_are_one_source(scorer):
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    white, red = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "red")
    found = scorer.predict([clear, white, [white, red]], batch_size=1)
    assert found[0].score == found[1].score
    assert abs(found[2].score - found[1].score) > 1e-6


def test_pictures_that_cannot_be_used_are_refused(scorer):
    with pytest.raises(UsageError, match="8 bits"):
        scorer.predict([Image.new("I;16", (64, 64))])
    with pytest.raises(DataError, match="200 times"):
        scorer.predict([Image.new("RGB", (2010, 10))])
    with pytest.raises(UsageError, match="empty list"):
        scorer.predict([[]])


def test_nothing_to_score_gives_nothing(scorer):
    assert scorer.predict([]) == []


def test_many_sources_come_in_their_order(scorer, sources):
    """More than are read at a time."""
    asked = [sources[1 + number % 5] for number in range(21)]
    found = scorer.predict(asked, batch_size=2)
    assert [prediction.path for prediction in found] == asked
    assert len({round(prediction.score, 4) for prediction in found}) == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_told_when_each_frame_of_a_video_is_shown(family, scorers, tmp_path):
    """9 frames at 4 a second, four seen: every 2.67 frames; a time step spans two of them."""
    path = write_video(tmp_path / "clip.mp4", 9)
    processor = scorers[family].processor
    factor = scorers[family]._factor
    sample = read_sample(path, "How good?", MEDIA, factor)
    frames = read_frames(path, FrameOptions.of(MEDIA, factor))
    made = batch_of(processor, [sample], NO_THINK_TEMPLATE, video_as="video")
    assert made["video_grid_thw"][0, 0] == 2
    text = processor.tokenizer.decode(made["input_ids"][0])
    assert fill(NO_THINK_TEMPLATE, "How good?") in text
    if family == "qwen2_5_vl":
        assert float(made["second_per_grid_ts"][0]) == pytest.approx(2 / frames.sample_fps)
    else:
        for first in (0, 2):
            middle = (frames.times_s[first] + frames.times_s[first + 1]) / 2
            assert f"<{middle:.1f} seconds>" in text


def test_a_video_is_images_after_their_times_as_in_training(scorer, tmp_path):
    path = write_video(tmp_path / "clip.mp4", 9)
    sample = read_sample(path, "How good?", MEDIA, 28)
    made = scorer._inputs([sample], NO_THINK_TEMPLATE)
    assert len(made["image_grid_thw"]) == 4
    assert "video_grid_thw" not in made
    text = scorer.processor.tokenizer.decode(made["input_ids"][0])
    assert all(f"{time_s:.1f} s<|vision_start|>" in text for time_s in sample.media.times_s)


def test_pictures_are_resized_once(scorer):
    """The processor's own bounds (12 544 pixels) do not bind beside ours."""
    sample = read_sample(Image.new("RGB", (500, 500)), None, MediaSettings(), 28)
    made = batch_of(scorer.processor, [sample], NO_THINK_TEMPLATE)
    assert made["image_grid_thw"].tolist() == [[1, 364 // 14, 364 // 14]]
