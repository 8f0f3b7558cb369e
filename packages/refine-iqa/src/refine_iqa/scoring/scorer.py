"""`QualityScorer`: a vision-language model that rates images and videos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from refine_iqa.config import MediaSettings, Mode, VideoAs
from refine_iqa.data.prompts import ANSWER_OPENING, Templates
from refine_iqa.model.loading import load_model, padded_left
from refine_iqa.model.rope import Rope, set_rope
from refine_iqa.scoring.continuations import Continuations, token_log_probs
from refine_iqa.scoring.digits import Belief, belief, score_continuations
from refine_iqa.scoring.inputs import Sample, Source, batch_of, path_of, read_sample
from refine_iqa.scoring.levels import (
    LEVEL_TEMPLATE,
    OPENING,
    level_belief,
    level_continuations,
)
from refine_iqa.scoring.prediction import Prediction
from refine_iqa.scoring.reasoning import reading, write
from shared_core.data.loader import generator
from shared_core.errors import UsageError, UserError
from shared_core.launch.devices import chosen_device

OnError = Literal["raise", "record"]

_WINDOW = 8
"""Batches that are read before the first of them is scored, so that alike ones can be put together."""
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class _Job:
    """A sample, its place among the sources, and the seconds that reading it took."""

    place: int
    path: Path | None
    sample: Sample
    seconds: float


class QualityScorer:
    """Rates images and videos from 1 (bad) to 5 (excellent).

    Args:
        model: Qwen2.5-VL or Qwen3-VL, bare or with adapters. It is put into evaluation mode while it
            scores, and left as it was.
        processor: its processor; it is made to pad on the left.
        media: sizes of pictures, frames of videos, and the wording around the question.
        video_as: how videos are shown: as images after their times, as in training here, or by the model's
            own video input, as the released models were trained.
        rope: with `video_as` video, positions of the text after it.

    Raises:
        CheckpointError: the processor cannot pad on the left.
        ConfigError: a template cannot be read.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        media: MediaSettings | None = None,
        video_as: VideoAs = "frames",
        rope: Rope = "library",
    ) -> None:
        self.model = model
        self.processor = padded_left(processor)
        self.media = media or MediaSettings()
        self._video_as = video_as
        set_rope(model, rope)
        self._templates = Templates.of(self.media)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: Path | str,
        *,
        device: str = "auto",
        precision: Literal["fp32", "bf16"] = "fp32",
        media: MediaSettings | None = None,
        video_as: VideoAs = "frames",
        rope: Rope = "library",
    ) -> Self:
        """Load a model, ready to score.

        Args:
            path_or_hub_id: a model folder, a run folder, a folder of LoRA adapters, or a repository of
                the Hugging Face hub (`owner/name`).
            device: `cpu`, `cuda`, or `auto`: a GPU if there is one.
            precision: number format of weights and sums.
            media: as the class.
            video_as: as the class.
            rope: as the class.

        Raises:
            CheckpointError: nothing is there, it is damaged, or of another family.
            UsageError: there is no such device.
        """
        dtype = _PRECISIONS[precision]
        loaded = load_model(path_or_hub_id, device=chosen_device(device), dtype=dtype)
        return cls(loaded.model, loaded.processor, media=media, video_as=video_as, rope=rope)

    def predict(self, sources: Sequence[Source], **options: Any) -> list[Prediction]:
        """Score images and videos; see `stream` for the options and what is raised.

        Returns:
            One for each source, in their order.
        """
        return list(self.stream(sources, **options))

    def stream(
        self,
        sources: Sequence[Source],
        *,
        mode: Mode = "direct",
        question: str | Sequence[str] | None = None,
        batch_size: int = 8,
        samples: int = 1,
        max_new_tokens: int = 512,
        seed: int = 0,
        on_error: OnError = "raise",
    ) -> Iterator[Prediction]:
        """Score images and videos, and give each prediction as soon as those before it are there.

        In fp32 a score does not depend on what else is in its batch (1e-4). Modes:

        - `direct`: expected value of the score under the probabilities of its digits; deterministic.
        - `reasoned`: the score that the model writes after reasoning. Without a score in any answer, the
          direct one, with `parsed` False.
        - `levels`: expected value under the probabilities of five words.

        Args:
            sources: files and pictures, see `inputs.Source`.
            mode: how the score is found.
            question: what is asked about all, or about each; None: the overall quality.
            batch_size: sources that are scored at the same time.
            samples: mode reasoned: answers whose mean is the score; 1: the likeliest one. Several are
                drawn, each source's from generators of its own.
            max_new_tokens: mode reasoned: most tokens of an answer.
            seed: key of the draws.
            on_error: what a file does that cannot be used: raise, or become a prediction with `error`.

        Raises:
            DataError: a file cannot be used (`on_error` raise).
            CheckpointError: the tokenizer has no token for each digit.
            UsageError: there is not one question for each source.
        """
        questions = _questions(question, len(sources))
        for start in range(0, len(sources), _WINDOW * batch_size):
            places = range(start, min(start + _WINDOW * batch_size, len(sources)))
            done: dict[int, Prediction] = {}
            jobs: list[_Job] = []
            for place in places:
                read = self._read(place, sources[place], questions[place], on_error)
                if isinstance(read, _Job):
                    jobs.append(read)
                else:
                    done[place] = read
            jobs.sort(key=lambda job: job.sample.pixels)
            for first in range(0, len(jobs), batch_size):
                batch = jobs[first : first + batch_size]
                done |= self._timed(batch, mode, samples, max_new_tokens, seed)
            yield from (done[place] for place in places)

    def _read(
        self, place: int, source: Source, question: str | None, on_error: OnError
    ) -> _Job | Prediction:
        begin = time.perf_counter()
        path = path_of(source)
        try:
            sample = read_sample(source, question, self.media, self._factor)
        except UserError as error:
            if on_error == "raise":
                raise
            return Prediction(path=path, seconds=time.perf_counter() - begin, error=str(error))
        return _Job(place, path, sample, time.perf_counter() - begin)

    def _timed(
        self, jobs: Sequence[_Job], mode: Mode, samples: int, max_new_tokens: int, seed: int
    ) -> dict[int, Prediction]:
        begin = time.perf_counter()
        with evaluating(self.model):
            if mode == "reasoned":
                found = self._reasoned(jobs, samples, max_new_tokens, seed)
            else:
                asked = [job.sample for job in jobs]
                found = _predictions(
                    self._direct(asked) if mode == "direct" else self._levels(asked)
                )
        share = (time.perf_counter() - begin) / len(jobs)
        return {
            job.place: replace(prediction, path=job.path, seconds=job.seconds + share)
            for job, prediction in zip(jobs, found, strict=True)
        }

    def _direct(self, samples: Sequence[Sample]) -> Belief:
        inputs = self._inputs(samples, self._templates.no_think, ANSWER_OPENING)
        return belief(token_log_probs(self.model, inputs, self._scores))

    def _levels(self, samples: Sequence[Sample]) -> Belief:
        inputs = self._inputs(samples, LEVEL_TEMPLATE, OPENING)
        return level_belief(token_log_probs(self.model, inputs, self._words))

    def _reasoned(
        self, jobs: Sequence[_Job], samples: int, max_new_tokens: int, seed: int
    ) -> list[Prediction]:
        inputs = self._inputs([job.sample for job in jobs], self._templates.think)
        rounds = []
        for sample in range(samples):
            draws = [generator(seed, job.place, sample) for job in jobs] if samples > 1 else ()
            rounds.append(
                write(
                    self.model,
                    self.processor,
                    inputs,
                    max_new_tokens=max_new_tokens,
                    generators=draws,
                )
            )
        found = [reading(answers) for answers in zip(*rounds, strict=True)]
        silent = [i for i, prediction in enumerate(found) if not prediction.parsed]
        if silent:
            beliefs = _predictions(self._direct([jobs[i].sample for i in silent]))
            for i, direct in zip(silent, beliefs, strict=True):
                found[i] = replace(found[i], score=direct.score, std=direct.std)
        return found

    def _inputs(
        self, samples: Sequence[Sample], template: str, opening: str = ""
    ) -> dict[str, Tensor]:
        made = batch_of(self.processor, samples, template, opening=opening, video_as=self._video_as)
        device = next(self.model.parameters()).device
        return {name: torch.as_tensor(value).to(device) for name, value in made.items()}

    @property
    def _factor(self) -> int:
        pictures = self.processor.image_processor
        return int(pictures.patch_size * pictures.merge_size)

    @cached_property
    def _scores(self) -> Continuations:
        return score_continuations(self.processor.tokenizer)

    @cached_property
    def _words(self) -> Continuations:
        return level_continuations(self.processor.tokenizer)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, and the mode it had before at the end."""
    if not model.training:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def _questions(question: str | Sequence[str] | None, count: int) -> Sequence[str | None]:
    if question is None or isinstance(question, str):
        return [question] * count
    if len(question) != count:
        raise UsageError(f"expected a question for each of {count} sources, found {len(question)}.")
    return question


def _predictions(found: Belief) -> list[Prediction]:
    return [
        Prediction(score=score, std=std)
        for score, std in zip(found.score.tolist(), found.std.tolist(), strict=True)
    ]
