"""The card of a model: what it was tuned on and how well it does, what it is for, and what it cannot do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from refine_iqa.config import MediaSettings, Stage, TrainConfig
from shared_core.metrics import Measure
from shared_core.reporting.card import Result, model_card
from shared_core.reporting.events import read

PACKAGE = "refine-iqa"

LIMITS = (
    "A score is a guess at the mean opinion of those who rated its training pictures. Other people, "
    "screens and kinds of pictures give other opinions; it is no measurement of fidelity or bit rate.",
    "What it writes as its reasoning was rewarded for the score that follows. It may name faults that are "
    "not there, and miss some that are.",
    "It sees large pictures reduced, as in its training: fine noise and grain may be lost.",
    "Scores depend on the sizes of pictures, the frames of a video and the wording of the question: keep "
    "to those of its training.",
)

CITATION = """
@inproceedings{jia2026refineiqa,
  title     = {Refine-IQA: Multi-Stage Reinforcement Finetuning for Perceptual Image Quality Assessment},
  author    = {Jia, Ziheng and Qian, Jiaying and Zhang, Zicheng and Chen, Zijian and Min, Xiongkuo},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume    = {40},
  number    = {27},
  pages     = {22301--22309},
  eprint    = {2508.03763},
  archivePrefix = {arXiv},
  year      = {2026}
}
"""

_SUMMARIES: dict[Stage, str] = {
    "scoring": "Rates images and videos from 1 (bad) to 5 (excellent): higher is better. It can reason "
    "before it gives a score.",
    "perception": "Names the distortion of an image, its severity and its place. It was not taught to rate: "
    "its scores, from 1 (bad) to 5 (excellent), higher is better, are those of a model on the way there.",
}
_UNKNOWN = "It came without a card of this package: whether it was tuned to rate quality is not known here."
_SIZES = ("min_pixels", "max_pixels", "nframes", "fps", "min_frames", "max_frames")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def run_card(config: TrainConfig, step: int) -> str:
    """Markdown of the card of a run's model.

    Args:
        config: of the run, whose record is read for what was measured.
        step: updates made before the model was saved.
    """
    base = _name(config.model)
    return _card(
        base,
        _SUMMARIES[config.stage],
        training_data=_training(config, base, step),
        results=_results(config, step),
        media=config,
    )


def plain_card(model: str) -> str:
    """Markdown of the card of a model that nothing but its folder or hub id is known of."""
    return _card(_name(model), _SUMMARIES["scoring"], unknown=(_UNKNOWN,))


def _card(
    base: str,
    summary: str,
    *,
    unknown: Sequence[str] = (),
    training_data: str = "",
    results: Sequence[Result] = (),
    media: MediaSettings | None = None,
) -> str:
    licence = (
        f"Its weights are under the licence of the model that it was made from ({base}), and what it was "
        "trained on may have terms of its own: read both before you pass it on."
    )
    return model_card(
        title="Image and video quality",
        summary=f"{summary} Made from {base}.",
        package=PACKAGE,
        licence="other",
        tags=("image-quality-assessment", "video-quality-assessment", "grpo"),
        intended_use="Research on perceived quality, and a first sorting of many images or videos that a "
        "person looks at afterwards.",
        limits=(*unknown, *LIMITS, licence),
        training_data=training_data,
        results=results,
        usage=_usage(media or MediaSettings()),
        citation=CITATION,
    )


def _name(model: str) -> str:
    """A hub id, or a folder's name without the way to it, which is of no use elsewhere."""
    path = Path(model)
    return model if _HUB_ID.fullmatch(model) and not path.exists() else path.name


def _training(config: TrainConfig, base: str, step: int) -> str:
    how = "GRPO with the refine strategy" if config.strategy == "refine" else "GRPO"
    learnt = "all weights but the vision tower's" if config.freeze_vision else "all weights"
    if config.lora.rank:
        learnt = f"adapters of rank {config.lora.rank}"
    frames = f"{config.min_frames} to {config.max_frames} frames at {config.fps:g} Hz"
    if config.nframes is not None:
        frames = f"{config.nframes} frames"
    sentences = [
        f"Tuned from {base} by {how} on {', '.join(table.name for table in config.data)}. Updates: {step}, "
        f"each of {config.batch_size * config.num_generations} completions, {config.num_generations} of a "
        f"prompt. Rewards: {', '.join(config.reward_names)}. What learnt: {learnt}.",
        f"Pictures had {config.min_pixels} to {config.max_pixels} pixels; of a video, {frames} were shown "
        "as images after their times.",
    ]
    if config.think_template or config.no_think_template:
        sentences.append("Questions were put in words of the user's own (think_template).")
    return " ".join(sentences)


def _results(config: TrainConfig, step: int) -> list[Result]:
    """What was measured on the validation rows when the model was saved."""
    judged = [
        event for event in read(config.run) if event["kind"] == "evaluate" and event["step"] == step
    ]
    if not judged or config.eval_data is None:
        return []
    dataset = f"{config.eval_data.name}, which also chose the step"
    named = {"parsed": "parse rate"}
    return [
        Result(
            dataset=dataset, metric=named.get(kind, kind.upper()), measure=Measure.from_json(fields)
        )
        for kind, fields in judged[-1]["measures"].items()
    ]


def _usage(media: MediaSettings) -> str:
    """Python that loads the model, with the sizes that it knows."""
    usual = MediaSettings()
    own = [
        f"{name}={getattr(media, name)!r}"
        for name in _SIZES
        if getattr(media, name) != getattr(usual, name)
    ]
    imported = "from refine_iqa.config import MediaSettings\n" if own else ""
    given = f", media=MediaSettings({', '.join(own)})" if own else ""
    return (
        f"from refine_iqa import QualityScorer\n{imported}\n"
        f'scorer = QualityScorer.from_pretrained("path or hub id"{given})\n'
        'scorer.predict(["photo.jpg"])[0].score\n'
    )
