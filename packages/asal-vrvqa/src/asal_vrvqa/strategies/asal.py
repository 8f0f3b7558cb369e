"""ASAL: key frames of clips spread over the scores, and an adapter that makes whole clips of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from asal_vrvqa.data.items import ClipBatch, normalised
from asal_vrvqa.method.memory import Memory, key_frames, spread
from asal_vrvqa.model.network import Output
from asal_vrvqa.strategies.base import Strategy, outcome_of
from shared_core.training.learner import Outcome

if TYPE_CHECKING:
    from asal_vrvqa.learner import StreamLearner
    from shared_core.training.hands import Hands


class Asal(Strategy):
    """Adaptive score alignment learning.

    On current clips, the adapter learns to make the features of all frames out of those of a few. After
    each task, a few frames of clips that cover the range of scores go into the memory, whose clips are
    then replayed through the adapter, in a step of their own.
    """

    paper = (
        "Zhou et al., Adaptive Score Alignment Learning for Continual Perceptual Quality Assessment of "
        "360-Degree Videos in Virtual Reality, IEEE VR / TVCG 2025, arXiv:2502.19644"
    )

    memory: Memory

    def __init__(self, learner: StreamLearner) -> None:
        super().__init__(learner)
        self.memory = Memory(self.settings.buffer_size)
        self._selector: nn.Module | None = None

    def current_output(self, current: ClipBatch) -> Output:
        """Scores of the current clips, and what the adapter makes of some of their frames."""
        draws, frames = self.learner.draws(), current.frames.shape[1]
        return self.learner.look(
            current.frames,
            draws.noise(current.index.tolist(), frames),
            key_frames=draws.key_frames(frames, self.learner.config.network.key_frames),
        )

    def loss(self, batch: ClipBatch) -> Outcome:
        """Score loss and adapter loss of the current clips; with `joint_step`, over stored ones too."""
        if not self.settings.joint_step or not self._replays:
            return super().loss(batch)
        current = batch.that_count()
        output = self.current_output(current)
        replayed, mine, places = self._replayed()
        scores = torch.cat([output.score, replayed.score])
        stored = self.memory["score"][mine].to(scores.device)
        labels = torch.cat([current.score.to(scores.device), stored])
        both = self.learner.score_loss(scores, labels, len(batch.valid) + places)
        terms = {"score_loss": both} | self.of_variance(output) | self.further(output, current)
        return outcome_of(terms, skipped=False)

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """The adapter's error, whose gradient also goes into the features that it aims at."""
        assert output.adapted is not None  # noqa: S101 - `current_output` asks for it
        aim = output.features.detach() if self.settings.adapter_detach else output.features
        error = self.learner.mean_everywhere((output.adapted - aim) ** 2)
        return {"adapter_loss": self.settings.beta * error}

    def update(self, micro_batches: Sequence[ClipBatch], hands: Hands) -> Outcome:
        """One step on the current clips, then one on stored ones."""
        outcome = super().update(micro_batches, hands)
        if self.settings.joint_step or not self._replays:
            return outcome
        learner = self.learner
        with hands.autocast():
            replayed, mine, places = self._replayed()
            labels = self.memory["score"][mine].to(replayed.score.device)
            loss = learner.score_loss(replayed.score, labels, places)
        # `hands` take the mean over micro-batches, and this is the only one.
        hands.backward(loss * learner.config.accumulate)
        hands.step(learner.optimizer, learner.clip_groups())
        logs = {**outcome.logs, "replay_loss": loss.detach()}
        return Outcome(loss=outcome.loss, logs=logs, skipped=outcome.skipped)

    @property
    def _replays(self) -> bool:
        return self.learner.task > 0 and len(self.memory) > 0

    def _replayed(self) -> tuple[Output, list[int], int]:
        learner, memory = self.learner, self.memory
        slots = learner.draws().slots(memory, self.settings.minibatch)
        mine, places = self.share(slots)
        noise = learner.draws().replay_noise(mine, learner.config.network.frames)
        output = learner.look(memory["frames"][mine], noise, from_key_frames=True)
        return output, mine, places

    def end(self, task: int) -> None:
        """Choose clips of the task by their labels, and key frames of each by their features."""
        learner = self.learner
        items = learner.items_of(task)
        scores = np.array([learner.train_clips[item].score for item in items])
        for place in spread(scores, self.memory.capacity // len(learner.stream.stages)):
            clip = learner.plain(items[place])
            if clip is None:
                continue
            chosen = key_frames(
                self._features(clip),
                learner.config.network.key_frames,
                learner.config.seed,
                in_time=not learner.config.compat.key_frame_order,
            )
            self.memory.append(
                frames=clip.frames[0, chosen], score=clip.score[0], task=torch.tensor(task)
            )

    @torch.no_grad()
    def _features(self, clip: ClipBatch) -> np.ndarray:
        """Features of a clip's frames, of the network itself or of the ResNet that was asked for."""
        network = self.learner.network
        device = next(network.parameters()).device
        frames = normalised(clip.frames[0].to(device))
        network.eval()
        found: Tensor = self._extractor()(frames)
        network.train()
        return found.float().cpu().numpy()

    def _extractor(self) -> nn.Module:
        weights = self.settings.key_frame_weights
        if weights is None:
            return self.learner.network.feature_extractor.backbone
        if self._selector is None:
            from asal_vrvqa.weights import imagenet_backbone  # reads files

            device = next(self.learner.network.parameters()).device
            self._selector = imagenet_backbone(weights).to(device)
        return self._selector
