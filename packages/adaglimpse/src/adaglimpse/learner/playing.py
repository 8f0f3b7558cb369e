"""Updates that play a batch of episodes, and teach policy and backbone in their phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from adaglimpse.config import TrainConfig
from adaglimpse.data.items import ImageBatch
from adaglimpse.data.layouts import ImageSet
from adaglimpse.game import Game, drawn
from adaglimpse.learner.base import GlimpseLearner
from adaglimpse.method.actions import sample
from adaglimpse.method.sac import Transitions
from adaglimpse.model.mae import Encoded
from adaglimpse.replay import Replay, Rewards
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.data.quarantine import Quarantine
from shared_core.errors import UsageError
from shared_core.launch.collectives import any_rank, average
from shared_core.training.learner import Outcome

if TYPE_CHECKING:
    from accelerate import Accelerator

    from shared_core.training.hands import Hands

_ACTIONS, _REPLAY = 1, 2  # purposes of draws


class PlayingLearner(GlimpseLearner):
    """Plays episodes, and teaches policy and backbone in their phases; made as `GlimpseLearner` is."""

    def __init__(
        self,
        config: TrainConfig,
        images: Mapping[str, ImageSet],
        device: torch.device | str = "cpu",
        quarantine: Quarantine | None = None,
    ) -> None:
        super().__init__(config, images, device, quarantine)
        self.states = config.num_glimpses + 1  # as many as an episode has
        if config.teaches_policy:
            self.replay = Replay(config.replay_buffer_size, self.network.config, self.device)
        self.rewards = Rewards(
            kind=config.reward_type,
            penalty=config.glimpse_size_penalty,
            of_next_action=config.compat.penalty_of_next_action,
        )

    def prepare(self, accelerator: Accelerator) -> None:
        """Put the optimisers under the processes' wrappers.

        Raises:
            UsageError: as every learner; or batches that accumulate, which cannot be played together.
        """
        if self.replay is not None and self.config.accumulate > 1:
            raise UsageError(
                "--accumulate: the episodes of a batch are played together; leave it at 1."
            )
        super().prepare(accelerator)

    def phase(self, epoch: int) -> tuple[bool, bool]:
        """Whether the policy learns in an epoch, and whether the backbone does."""
        kind = self.config.backbone_training_type
        if kind == "backbone-only":
            return False, True
        if kind == "disabled" or epoch < self.config.freeze_backbone_epochs:
            return True, False
        if kind == "constant":
            return True, True
        return epoch % 2 == 0, epoch % 2 == 1

    # One update

    def _learn(self, batches: Sequence[ImageBatch], hands: Hands) -> Outcome:
        (batch,) = batches
        epoch = 0 if self.progress is None else self.progress.epoch
        teaches_policy, teaches_backbone = self.phase(epoch)
        if self.replay is not None and teaches_policy and self._turn_begins():
            self.replay.clear()
        with hands.autocast():
            game = self._begin(batch, keeps=teaches_policy)
        logs: list[Mapping[str, float | Tensor]] = []
        prediction = score = None
        for state in range(self.states):
            self._set_rates(state)
            final = state == self.states - 1
            judged = final or teaches_policy or self._stops_early
            acts = not final and not self._is_random(state)
            learns = final and teaches_backbone
            with torch.set_grad_enabled(learns), hands.autocast():
                encoded, prediction = self._think(game, judged, acts or teaches_policy)
            score = self._score(prediction, game)
            action = None if final else self._action(game, encoded)
            done = self._stop(game, score) if self._stops_early and not final else None
            if game.episodes is not None and encoded is not None and score is not None:
                self._remember(game, encoded, score, action, done)
                logs += self._teach_policy(state, hands)
            if done is not None:
                game.stopped = game.stopped | done
            if action is not None:
                game.views.look(action, game.stopped if self._stops_early else None)
        if teaches_backbone and prediction is not None:
            logs.append(self._teach_backbone(prediction, game, hands))
        elif not logs:
            hands.step(self.policy_optimizer, [], skip=True)  # the processes agree at every update
        average(_statistics(self.network.actor))  # each has acted on images of its own
        return _outcome(logs, score)

    def _turn_begins(self) -> bool:
        """Whether the policy's turn comes again with this update."""
        if not self.config.flush_replay or self.progress is None or self.progress.batch:
            return False
        return self.progress.epoch > 0 and not self.phase(self.progress.epoch - 1)[0]

    def _begin(self, batch: ImageBatch, *, keeps: bool) -> Game:
        config = self.config
        place = (0, 0) if self.progress is None else (self.progress.epoch, self.progress.batch)
        keys = [(config.seed, *place, item, _ACTIONS) for item in batch.indices.tolist()]
        uniform, normal = drawn(keys, config.num_glimpses)
        target = self._target(batch)
        return Game(
            views=self.network.views(target.images),
            target=target,
            uniform=uniform.to(self.device),
            normal=normal.to(self.device),
            episodes=self.replay.begin(len(batch)) if keeps and self.replay is not None else None,
            stopped=torch.zeros(len(uniform), dtype=torch.bool, device=self.device),
        )

    @property
    def _stops_early(self) -> bool:
        return self.config.train_early_stop_threshold is not None

    def _is_random(self, state: int) -> bool:
        """Whether the glimpse after a state is one of the run's first, random ones."""
        step = 0 if self.progress is None else self.progress.step
        return step * self.states + state + 1 < self.config.init_random_batches

    def _think(
        self, game: Game, judged: bool, for_policy: bool
    ) -> tuple[Encoded | None, Tensor | None]:
        """What the backbone makes of the views, as far as it is needed."""
        if not (judged or for_policy):
            return None, None
        encoded = self.network.encode(game.views, for_policy=for_policy)
        if not judged:
            return encoded, None
        valid = self.network.decoder_valid(game.views)
        return encoded, self.head.predict(self.network.mae, encoded.tokens, valid)

    @torch.no_grad()
    def _score(self, prediction: Tensor | None, game: Game) -> Tensor | None:
        if prediction is None:
            return None
        return self.head.score(prediction.detach(), game.target, training=True)

    def _stop(self, game: Game, score: Tensor | None) -> Bool[Tensor, " B"] | None:
        """Images that stop with this state, of those that were still looked at."""
        threshold = self.config.train_early_stop_threshold
        if threshold is None or score is None:
            return None
        return (score > threshold) & ~game.stopped

    @torch.no_grad()
    def _action(self, game: Game, encoded: Encoded | None) -> Float[Tensor, "B 3"]:
        """The next glimpse: random in the run's first, then drawn from the policy."""
        step = game.views.step
        if self._is_random(step) or encoded is None:
            return self.network.scaled(game.uniform[:, step])
        places = self.network.config.max_patches
        loc, scale = self.network.policy(self.network.observation(game.views, encoded, places))
        return self.network.scaled(sample(loc, scale, game.normal[:, step]))

    def _remember(
        self,
        game: Game,
        encoded: Encoded,
        score: Tensor,
        action: Tensor | None,
        done: Tensor | None,
    ) -> None:
        if self.replay is None or game.episodes is None:
            return
        playing = ~game.stopped if self._stops_early else None
        self.replay.write(
            game.episodes, game.views, encoded, score, action, playing=playing, done=done
        )

    # What is learnt

    def _teach_policy(self, state: int, hands: Hands) -> list[Mapping[str, float | Tensor]]:
        """Updates of the policy after a glimpse; none until every process's buffer holds a batch."""
        config, replay = self.config, self.replay
        if replay is None or any_rank([len(replay) < config.rl_batch_size])[0]:
            return []
        step = 0 if self.progress is None else self.progress.step
        logs = []
        for turn in range(config.rl_iters_per_step):
            draw = generator(config.seed, step, state, turn, self.rank, _REPLAY)
            batch = replay.sample(config.rl_batch_size, draw, self.rewards)
            logs.append(self._teach_policy_once(batch, hands))
        return logs

    def _teach_policy_once(self, batch: Transitions, hands: Hands) -> Mapping[str, float | Tensor]:
        """One update of actor, critics and temperature, then of the slow critics."""
        found = self.sac.losses(batch)
        hands.backward(found["loss_actor"] + found["loss_qvalue"] + found["loss_alpha"])
        clipped = [self.network.actor, self.sac.critics]
        norm = self._step(self.policy_optimizer, clipped, hands)
        average(_statistics(self.network.actor, self.sac.critics, self.sac.targets))
        self.sac.update_targets()
        return {
            "actor_loss": found["loss_actor"].detach(),
            "critic_loss": found["loss_qvalue"].detach(),
            "alpha_loss": found["loss_alpha"].detach(),
            "alpha": found["alpha"].detach(),
            "entropy": found["entropy"].detach(),
            "reward": batch.reward.mean(),
            "policy_gradient_norm": norm,
        }

    def _teach_backbone(
        self, prediction: Tensor, game: Game, hands: Hands
    ) -> Mapping[str, float | Tensor]:
        loss = self._global(self.head.loss(prediction, game.target))
        hands.backward(loss)
        norm = self._step(self.backbone_optimizer, [self.network.mae], hands)
        return {"backbone_loss": loss.detach(), "gradient_norm": norm}

    # What survives a restart

    def own_state(self) -> Mapping[str, Any]:
        """The replay buffer of this process."""
        if self.replay is None or not self.config.save_replay:
            return {}
        return {"replay": self.replay.state()}

    def load_own_state(self, state: Mapping[str, Any] | None) -> None:
        """Take the replay buffer back; without one, say that it is filled anew."""
        if self.replay is None:
            return
        if state is None:
            say("NOTE: the checkpoint holds no replay buffer for this process: it is filled anew.")
        else:
            self.replay.load_state(state["replay"])


def _statistics(*modules: nn.Module) -> list[Tensor]:
    """Running statistics of the batch norms inside."""
    return [
        buffer
        for module in modules
        for name, buffer in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]


def _outcome(logs: Sequence[Mapping[str, float | Tensor]], score: Tensor | None) -> Outcome:
    """Means of what was watched in an update; its loss is the sum of those that were minimised."""
    named: dict[str, list[Tensor]] = {}
    for found in logs:
        for name, value in found.items():
            named.setdefault(name, []).append(torch.as_tensor(value, dtype=torch.float32))
    means: dict[str, float | Tensor] = {
        name: torch.stack([value.cpu() for value in values]).mean()
        for name, values in named.items()
    }
    losses = [v for n, v in means.items() if n in ("actor_loss", "critic_loss", "backbone_loss")]
    if score is not None:
        means["final_score"] = score.mean().cpu()
    return Outcome(loss=torch.as_tensor(sum(losses)), logs=means, skipped=not losses)
