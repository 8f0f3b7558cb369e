"""The replay buffer: glimpses of past episodes, each thing kept once, in half precision.

An observation holds those before it, and the one before a glimpse is that after the last: so the
buffer keeps episodes, and a transition is the number of an episode and of a glimpse in it. Of the
latents, which change with every glimpse, only rows of real patches are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from adaglimpse.config import SIZES, GlimpseModelConfig
from adaglimpse.method.rewards import RewardType, normalised, reward
from adaglimpse.method.sac import Transitions
from adaglimpse.model.mae import Encoded
from adaglimpse.model.network import Views
from adaglimpse.model.policy import ACTION, Observation

_KEPT = torch.float16


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """How scores become rewards.

    Attributes:
        kind: `diff`, `simple` or `autonorm`.
        penalty: of a glimpse's scale.
        of_next_action: the penalty counts the next glimpse's scale, and none at the last step.
    """

    kind: RewardType = "diff"
    penalty: float = 0.0
    of_next_action: bool = False


class Drawn(NamedTuple):
    """Transitions as they are stored: rows of real patches only, one transition after another.

    Attributes:
        patches: of the episodes [n, P, 3, 16, 16], or [n, P, 0] where the policy sees none.
        boxes: [n, P, 4].
        latents: rows of the states before the glimpses, then of those after [rows, D].
        importance: of the same rows.
        places: where each of the rows belongs, among 2 n P.
        counts: patches of the states before [n], and after [n].
        actions: [n, 3].
        scores: before and after [n, 2].
        next_scale: z of the next glimpse, 0 where there is none [n].
        done: [n].
    """

    patches: Tensor
    boxes: Tensor
    latents: Tensor
    importance: Tensor
    places: Tensor
    counts: tuple[Tensor, Tensor]
    actions: Tensor
    scores: Tensor
    next_scale: Tensor
    done: Tensor


class Replay:
    """A ring of episodes; a new batch of them takes the place of the oldest.

    Args:
        transitions: room, in glimpses; whole episodes of full length are kept, so it is rounded down.
        config: of the model that plays.
        device: where it lies.
    """

    def __init__(
        self, transitions: int, config: GlimpseModelConfig, device: torch.device | str = "cpu"
    ) -> None:
        glimpses, self.per_glimpse = config.num_glimpses, config.glimpse_grid_size**2
        self.glimpses = glimpses
        self.places = config.max_patches
        self.episodes = transitions // glimpses
        self.rows = self.per_glimpse * glimpses * (glimpses + 1) // 2
        """Rows of latents of an episode: of 1, 2, ..., G glimpses."""
        shows = (3, 16, 16) if "patches" in config.rl_inputs else (0,)
        width = SIZES[config.backbone_size].width if "observation" in config.rl_inputs else 0
        some = self.episodes

        def empty(*shape: int, dtype: torch.dtype = _KEPT) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.kept = {
            "patches": empty(some, self.places, *shows),
            "boxes": empty(some, self.places, 4, dtype=torch.int16),
            "latents": empty(some * self.rows, width),
            "importance": empty(some * self.rows),
            "actions": empty(some, glimpses, ACTION, dtype=torch.float32),
            "scores": empty(some, glimpses + 1, dtype=torch.float32),
            "done": empty(some, glimpses, dtype=torch.bool),
        }
        self.lengths = torch.zeros(some, dtype=torch.int64)  # on the CPU: it decides what is drawn
        self.next = 0

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return int(self.lengths.sum())

    @property
    def bytes(self) -> int:
        """Memory of the buffer."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.kept.values())

    def clear(self) -> None:
        """Forget everything."""
        self.lengths.zero_()
        self.next = 0

    # Writing

    def begin(self, episodes: int) -> Int64[Tensor, " B"]:
        """Make room for a batch of episodes; returns their numbers.

        Raises:
            ValueError: they are more than the buffer holds.
        """
        if episodes > self.episodes:
            raise ValueError(f"{episodes} episodes at once into a buffer of {self.episodes}")
        numbers = (self.next + torch.arange(episodes)) % self.episodes
        self.lengths[numbers] = 0
        self.next = (self.next + episodes) % self.episodes
        return numbers

    def write(
        self,
        numbers: Int64[Tensor, " B"],
        views: Views,
        encoded: Encoded,
        score: Float[Tensor, " B"],
        action: Float[Tensor, "B 3"] | None,
        *,
        playing: Bool[Tensor, " B"] | None = None,
        done: Bool[Tensor, " B"] | None = None,
    ) -> None:
        """Add what was known after the latest glimpse; with it the glimpse becomes a transition.

        Args:
            numbers: of the episodes.
            views: what was seen.
            encoded: of these views.
            score: of the prediction from them.
            action: the next glimpse; None after the last.
            playing: images that had not stopped before the glimpse; None: all.
            done: images whose episode ends with this state; None: none.
        """
        step = views.step
        device = self.kept["scores"].device
        rows: slice | Tensor = slice(None)
        if playing is not None and not bool(playing.all()):
            rows = playing.nonzero()[:, 0]
            numbers = numbers[rows.cpu()]
        at = numbers.to(device)
        self.kept["scores"][at, step] = score[rows].float()
        if action is not None:
            self.kept["actions"][at, step] = action[rows].float()
        if step == 0:
            return
        here = slice(views.count - self.per_glimpse, views.count)
        if self.kept["patches"].dim() > 3:
            self.kept["patches"][at, here] = views.patches[rows, here].to(_KEPT)
        self.kept["boxes"][at, here] = views.boxes[rows, here].to(torch.int16)
        index = (at * self.rows + self._first_row(step)).unsqueeze(1) + torch.arange(
            views.count, device=device
        )
        if self.kept["latents"].shape[1]:
            self.kept["latents"][index] = encoded.latents[rows, 1:].detach().to(_KEPT)
        if encoded.importance is not None:
            self.kept["importance"][index] = encoded.importance[rows, :, 0].to(_KEPT)
        ended = torch.full_like(at, step == self.glimpses, dtype=torch.bool)
        self.kept["done"][at, step - 1] = ended if done is None else ended | done[rows]
        self.lengths[numbers] = step

    def _first_row(self, step: int | Tensor) -> Any:
        """Where the latents after `step` glimpses begin among those of an episode."""
        return self.per_glimpse * step * (step - 1) // 2

    # Drawing

    def sample(self, count: int, generator: torch.Generator, rewards: Rewards) -> Transitions:
        """Draw transitions, each as likely as any other, with replacement.

        Args:
            count: how many.
            generator: a CPU generator.
            rewards: how scores become rewards.
        """
        episode, step = self.draw(count, generator)
        return self.padded(self.gather(episode, step), rewards)

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
        """Numbers of drawn transitions: of the episode, and of the glimpse in it, from 0."""
        ends = self.lengths.cumsum(0)
        place = torch.randint(int(ends[-1]), (count,), generator=generator)
        episode = torch.searchsorted(ends, place, right=True)
        return episode, place - (ends[episode] - self.lengths[episode])

    def gather(self, episode: Int64[Tensor, " n"], step: Int64[Tensor, " n"]) -> Drawn:
        """Copy transitions out of the buffer, as they are stored."""
        kept, device = self.kept, self.kept["scores"].device
        steps = torch.cat((step, step + 1))
        counts = steps * self.per_glimpse
        first = torch.cat((episode, episode)) * self.rows + self._first_row(steps)
        ends = counts.cumsum(0)
        within = torch.arange(int(ends[-1])) - (ends - counts).repeat_interleave(counts)
        rows = (first.repeat_interleave(counts) + within).to(device)
        places = torch.arange(len(steps)).repeat_interleave(counts) * self.places + within
        e, s = episode.to(device), step.to(device)
        last = (s + 1).clamp(max=self.glimpses - 1)
        done = kept["done"][e, s]
        goes_on = (s + 1 < self.glimpses) & ~done
        return Drawn(
            patches=kept["patches"].index_select(0, e),
            boxes=kept["boxes"].index_select(0, e),
            latents=kept["latents"].index_select(0, rows),
            importance=kept["importance"].index_select(0, rows),
            places=places.to(device),
            counts=(s * self.per_glimpse, (s + 1) * self.per_glimpse),
            actions=kept["actions"][e, s],
            scores=kept["scores"][e.unsqueeze(1), torch.stack((s, s + 1), dim=1)],
            next_scale=kept["actions"][e, last, 2] * goes_on,
            done=done,
        )

    def padded(self, drawn: Drawn, rewards: Rewards) -> Transitions:
        """Transitions as the networks read them: every state filled up to P places, in float32."""
        count = len(drawn.actions)
        width = drawn.latents.shape[1]
        latents = drawn.latents.new_zeros(2 * count * self.places, width)
        latents = latents.index_copy_(0, drawn.places, drawn.latents).float()
        importance = drawn.importance.new_zeros(2 * count * self.places)
        importance = importance.index_copy_(0, drawn.places, drawn.importance).float()
        place = torch.arange(self.places, device=latents.device)
        patches, boxes = drawn.patches.float(), drawn.boxes.float()
        states = []
        for of, filled in enumerate(drawn.counts):
            here = slice(of * count * self.places, (of + 1) * count * self.places)
            mask = place >= filled.unsqueeze(1)
            states.append(
                Observation(
                    patches=patches * _there(mask, patches),
                    attention=importance[here].view(count, self.places, 1),
                    coords=boxes * _there(mask, boxes),
                    observation=latents[here].view(count, self.places, width),
                    mask=mask.unsqueeze(-1),
                )
            )
        scale = drawn.next_scale if rewards.of_next_action else drawn.actions[:, 2]
        before, after = drawn.scores.unbind(dim=1)
        found = reward(before, after, rewards.kind, scale, rewards.penalty)
        return Transitions(
            before=states[0],
            action=drawn.actions,
            reward=normalised(found) if rewards.kind == "autonorm" else found,
            after=states[1],
            done=drawn.done,
        )

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """Everything, as a tree for a checkpoint."""
        return {"kept": self.kept, "lengths": self.lengths, "next": self.next}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        for name, tensor in self.kept.items():
            tensor.copy_(state["kept"][name])
        self.lengths.copy_(state["lengths"])
        self.next = state["next"]


def _there(mask: Tensor, other: Tensor) -> Tensor:
    """0 where the mask is set and 1 elsewhere: a product with floats is three times as fast as a fill."""
    return (~mask).to(other).view(*mask.shape, *[1] * (other.dim() - mask.dim()))
