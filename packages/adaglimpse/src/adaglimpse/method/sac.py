"""Soft Actor-Critic (Haarnoja et al., 2018), by torchrl's loss, for the policy that chooses glimpses.

Two critics with slow copies of themselves, a live actor, and a temperature that is tuned to a target
entropy. The critics' parameters are held side by side, with a leading axis of 2, as torchrl holds them
and as the released weights are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded
from torchrl.modules import ProbabilisticActor, TanhNormal
from torchrl.objectives import SACLoss, SoftUpdate

from adaglimpse.model.policy import ACTION, Actor, Critic, Observation
from shared_core.checkpoints.weights import load_into, load_weights, save_weights

Distance = Literal["l2", "l1", "smooth_l1"]

GAMMA = 0.99
"""Discount of a reward one glimpse later."""

KEEP = 0.995
"""Share of the slow critics that an update keeps."""

CRITICS = 2

FILE = "sac.safetensors"
"""Critics, their slow copies and the temperature, beside a model's weights: to go on training from."""

_SEEN = list(Observation._fields)


class Sac(nn.Module):
    """What SAC learns beside the actor: the critics, their slow copies, the temperature.

    Args:
        actor: the policy's network, which it shares.
        critic: a template. Each of the two critics is drawn anew, every tensor uniformly between the
            template's smallest and largest value, from torch's global generator; so constants stay.
        distance: of the critics from their target.
        target_entropy: that the temperature aims at; None: -3, of the action in [0, 1].
        alpha_init: initial temperature.
    """

    log_alpha: nn.Parameter

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        *,
        distance: Distance = "l2",
        target_entropy: float | None = None,
        alpha_init: float | int = 1.0,
    ) -> None:
        super().__init__()
        policy = ProbabilisticActor(
            TensorDictModule(actor, in_keys=_SEEN, out_keys=["loc", "scale"]),
            in_keys=["loc", "scale"],
            spec=Bounded(0.0, 1.0, (ACTION,)),
            distribution_class=TanhNormal,
            distribution_kwargs={"low": 0.0, "high": 1.0},
            return_log_prob=True,
        )
        value = TensorDictModule(
            copy.deepcopy(critic), in_keys=[*_SEEN, "action"], out_keys=["state_action_value"]
        )
        loss = SACLoss(
            policy,
            value,
            num_qvalue_nets=CRITICS,
            loss_function=distance,
            alpha_init=float(alpha_init),
            target_entropy="auto" if target_entropy is None else target_entropy,
            action_spec=Bounded(0.0, 1.0, (ACTION,)),
        )
        loss.make_value_estimator(gamma=GAMMA)
        # Not a part of this module: the actor is the model's, and its names are its own.
        self.__dict__["loss"] = loss
        self.__dict__["soft_update"] = SoftUpdate(loss, eps=KEEP)
        self.critics = loss.qvalue_network_params
        self.targets = loss.target_qvalue_network_params
        self.log_alpha = loss.log_alpha

    def to_device(self, device: torch.device) -> None:
        """Move everything, the actor and what torchrl keeps beside the parameters included."""
        self.__dict__["loss"].to(device)
        self.log_alpha = self.__dict__["loss"].log_alpha

    def losses(self, batch: Transitions) -> dict[str, Float[Tensor, ""]]:
        """Losses of actor, critics and temperature, and what is watched beside them.

        y = r + gamma (1 - done) min_i [Q'_i(s', a') - alpha log pi(a'|s')]
        L_Q = mean sum_i d(Q_i(s, a), y)
        L_pi = mean [alpha log pi(a|s) - min_i Q_i(s, a)], a drawn anew
        L_alpha = mean [-log_alpha (log pi(a|s) + target entropy)]

        Draws from torch's global generator: the next action, then the action.
        """
        found = self.__dict__["loss"](batch.as_tensordict())
        names = ("loss_actor", "loss_qvalue", "loss_alpha", "alpha", "entropy")
        return {name: found[name] for name in names}

    def update_targets(self) -> None:
        """The slow critics move towards the critics, statistics of batch norms included."""
        slow, fast = dict(self.targets.named_buffers()), dict(self.critics.named_buffers())
        moving = {name: slow[name].lerp(fast[name], 1 - KEEP) for name in fast if "running" in name}
        self.__dict__["soft_update"].step()
        for name, value in moving.items():  # torchrl moves what has gradients alone
            slow[name].copy_(value)

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """Those that the critics' loss teaches."""
        return iter([p for p in self.critics.parameters() if p.requires_grad])


class Transitions:
    """A batch of glimpses: what was known before and after, the action between, its reward.

    Args:
        before: n observations.
        action: in [0, 1].
        reward: of the action.
        after: n observations.
        done: the episode ended with this glimpse.
    """

    def __init__(
        self,
        before: Observation,
        action: Float[Tensor, "n 3"],
        reward: Float[Tensor, " n"],
        after: Observation,
        done: Bool[Tensor, " n"],
    ) -> None:
        self.before = before
        self.action = action
        self.reward = reward
        self.after = after
        self.done = done

    def __len__(self) -> int:
        return len(self.action)

    def as_tensordict(self) -> TensorDict:
        """As torchrl's losses read it."""
        ended = self.done.unsqueeze(-1)
        size = [len(self)]
        return TensorDict(
            {
                **self.before._asdict(),
                "action": self.action,
                "next": TensorDict(
                    {
                        **self.after._asdict(),
                        "reward": self.reward.unsqueeze(-1),
                        "done": ended,
                        "terminated": ended,
                    },
                    size,
                ),
            },
            size,
        )


def save_sac(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write what `Sac.state_dict` gives, into a model's folder.

    Raises:
        OSError: the file cannot be written.
    """
    save_weights(folder / FILE, state)


def model_folder(path: Path) -> Path:
    """The model's folder of a run folder, or the folder itself."""
    inside = path / "model"
    return inside if inside.is_dir() else path


def load_sac(folder: Path, sac: Sac) -> bool:
    """Fill critics, slow critics and temperature from a model's folder; False where it has none.

    Raises:
        CheckpointError: the file is damaged or of another model.
    """
    path = folder / FILE
    if not path.is_file():
        return False
    load_into(sac, load_weights(path), path=path)
    return True
