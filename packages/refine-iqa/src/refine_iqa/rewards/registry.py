"""The rewards by their names, as trl calls them: each knows the tasks that it judges.

A reward takes the completions of a batch and the columns of their rows as lists, and returns a number for
each, or None for a row of another task. trl leaves None out.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch.distributed as dist

from refine_iqa.rewards import perception, scoring
from refine_iqa.rewards.text import strict_score
from shared_core.launch.collectives import is_connected

_log = logging.getLogger(__name__)

SCORING = "scoring"
PERCEPTION = ("type", "severity", "grounding", "joint")
TASKS = (SCORING, *PERCEPTION)

NAMES: Mapping[str, tuple[str, ...]] = {
    "format": TASKS,
    "answer": (SCORING,),
    "answer_soft": (SCORING,),
    "range": (SCORING,),
    "rank": (SCORING,),
    "type": ("type",),
    "severity": ("severity",),
    "grounding": ("grounding",),
    "joint": ("joint",),
}
"""Rewards, and the tasks of the rows that each judges."""

Judge = Callable[[str, str, Any], float]
"""The reward of a completion's text, from its row's task and solution."""


class Reward:
    """A reward function of trl over single completions.

    What goes wrong in one row does not end a run of days: the row has no reward, and is counted.

    Attributes:
        tasks: of the rows that it judges.
        failures: rows so far that could not be judged.
    """

    def __init__(self, name: str, judge: Judge) -> None:
        self.__name__ = name  # trl's records call a reward by it
        self.tasks: Collection[str] = NAMES[name]
        self.failures = 0
        self._judge = judge

    def __call__(
        self,
        completions: Sequence[Any],
        task: Sequence[str],
        solution: Sequence[Any],
        **_columns: Any,
    ) -> list[float | None]:
        """The reward of each completion; None for a row of another task, or one that failed.

        Args:
            completions: each a text, or a list of messages `{"role", "content"}`.
            task: of each completion's row.
            solution: of each completion's row: a MOS, or an object with type, severity and box, which
                may be JSON text.
        """
        return self._judged(completions, task, solution)

    def _judged(
        self, completions: Sequence[Any], task: Sequence[str], solution: Sequence[Any]
    ) -> list[Any]:
        return [
            self._attempt(completion, asked, truth) if asked in self.tasks else None
            for completion, asked, truth in zip(completions, task, solution, strict=True)
        ]

    def _attempt(self, completion: Any, asked: str, truth: Any) -> Any:
        try:
            return self._judge(text_of(completion), asked, truth)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on, and says so
            self.failures += 1
            _log.warning("reward %s: no value for a row of %r: %r", self.__name__, asked, error)
            return None


class RankReward(Reward):
    """How well each score ranks its image among the others of the batch (`fidelities`).

    The batch is that of all connected processes: each calls the reward, and gets its own part.
    """

    def __init__(self) -> None:
        super().__init__("rank", _scored)

    def __call__(
        self,
        completions: Sequence[Any],
        task: Sequence[str],
        solution: Sequence[Any],
        *,
        row: Sequence[Hashable] = (),
        **_columns: Any,
    ) -> list[float | None]:
        """As `Reward`; `row` tells the completions of one row, which are never set against each other.

        Without it, rows of one MOS count as one.
        """
        found = self._judged(completions, task, solution)
        scored = [
            None if pair is None else (*pair, row[place] if row else pair[1])
            for place, pair in enumerate(found)
        ]
        everywhere, first = _gathered(scored)
        return _ranks(everywhere)[first : first + len(scored)]


def build(
    names: Iterable[str],
    *,
    score_threshold: float = 0.5,
    soft_width: float = 1.0,
    soft_shape: scoring.Shape = "linear",
    severity_needs_type: bool = True,
) -> list[Reward]:
    """Reward functions by their names, in this order.

    Args:
        names: of `NAMES`.
        score_threshold: largest error of a right score (answer).
        soft_width: error at which answer_soft has fallen to 0, or to 1/e.
        soft_shape: how answer_soft falls with the error.
        severity_needs_type: severity earns only where the type is right (joint).

    Raises:
        KeyError: there is no reward of a name.
    """
    soft = partial(scoring.soft_answer_reward, width=soft_width, shape=soft_shape)
    judges: dict[str, Judge] = {
        "format": _format,
        "answer": partial(_of_score, partial(scoring.answer_reward, threshold=score_threshold)),
        "answer_soft": partial(_of_score, soft),
        "range": _range,
        "type": partial(_of_answer, perception.type_reward),
        "severity": partial(_of_answer, perception.severity_reward),
        "grounding": partial(_of_answer, perception.grounding_reward),
        "joint": partial(
            _of_answer,
            partial(perception.joint_reward, severity_needs_type=severity_needs_type),
        ),
    }
    return [RankReward() if name == "rank" else Reward(name, judges[name]) for name in names]


def covers(task: str) -> tuple[str, ...]:
    """The rewards that judge what a completion of a task says.

    `format` is among them for scores only: a perception row that is judged by its form alone would teach
    nothing about the picture.
    """
    return tuple(
        name
        for name, tasks in NAMES.items()
        if task in tasks and (name != "format" or task == SCORING)
    )


def text_of(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion: as it is, or the contents of its messages."""
    if isinstance(completion, str):
        return completion
    return "".join(_content(message["content"]) for message in completion)


_Scored = tuple[float | None, float, Hashable]
"""The score of a completion, if it has one, its row's MOS, and the row."""


def _gathered(mine: list[_Scored | None]) -> tuple[list[_Scored | None], int]:
    """What all processes have, in their order, and where this one's begins."""
    if not is_connected():
        return mine, 0
    parts: list[list[_Scored | None]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, mine)
    before = sum(map(len, parts[: dist.get_rank()]))
    return [scored for part in parts for scored in part], before


def _ranks(batch: Sequence[_Scored | None]) -> list[float | None]:
    """`fidelities` of those that have something to rank; None for the others."""
    judged = [scored for scored in batch if scored is not None]
    ranks = iter(
        scoring.fidelities(
            [score for score, _, _ in judged],
            [mos for _, mos, _ in judged],
            [row for _, _, row in judged],
        )
    )
    return [None if scored is None else next(ranks) for scored in batch]


def _content(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _format(text: str, task: str, _truth: Any) -> float:
    of_form = scoring.format_reward if task == SCORING else perception.json_format_reward
    return of_form(text)


def _range(text: str, _task: str, _truth: Any) -> float:
    return scoring.range_reward(text)


def _of_score(reward: Callable[[str, float], float], text: str, _task: str, truth: Any) -> float:
    return reward(text, _mos(truth))


def _of_answer(
    reward: Callable[[str, Mapping[str, Any]], float], text: str, _task: str, truth: Any
) -> float:
    return reward(text, json.loads(truth) if isinstance(truth, str) else truth)


def _scored(text: str, _task: str, truth: Any) -> Any:
    """What the rank of a completion needs: its score, if it has one, and the MOS."""
    return strict_score(text), _mos(truth)


def _mos(truth: Any) -> float:
    """The binary64 value of the shortest text of a number: 3.46 for the float32 nearest to it."""
    mos = float(str(truth))
    if not math.isfinite(mos):
        raise ValueError(f"{truth!r} is no MOS")
    return mos
