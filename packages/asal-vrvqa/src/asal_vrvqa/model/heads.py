"""What stands on the features: regressors from features to scores, and the score-alignment adapter."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from asal_vrvqa.config import Network


class FrameScores(NamedTuple):
    """Scores of the frames of clips.

    Attributes:
        score: of each frame, in the scale of the labels; drawn around the mean where noise was given.
        mean: of each frame.
        log_variance: of each frame; None where the regressor has none.
    """

    score: Float[Tensor, "B T"]
    mean: Float[Tensor, "B T"]
    log_variance: Float[Tensor, "B T"] | None


class GaussianRegressor(nn.Module):
    """A mean and a variance for each frame; training draws from them, which smooths the scores.

    Args:
        features: width of the input.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, features // 2)
        self.fch = nn.Linear(features // 2, features // 4)
        self.fc2_mean = nn.Linear(features // 4, 1)
        self.fc2_logvar = nn.Linear(features // 4, 1)

    def forward(
        self, features: Float[Tensor, "B T C"], noise: Float[Tensor, "B T"] | None = None
    ) -> FrameScores:
        """Scores of frames: mean + exp(log variance / 2) x noise, or the mean without noise."""
        hidden = functional.relu(self.fch(functional.relu(self.fc1(features))))
        mean, log_variance = self.fc2_mean(hidden)[..., 0], self.fc2_logvar(hidden)[..., 0]
        score = mean if noise is None else mean + torch.exp(log_variance / 2) * noise
        return FrameScores(score, mean, log_variance)


class MlpRegressor(nn.Module):
    """Two linear layers without anything between them.

    Args:
        features: width of the input.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mlp1 = nn.Linear(features, features // 4)
        self.mlp2 = nn.Linear(features // 4, 1)

    def forward(
        self,
        features: Float[Tensor, "B T C"],
        noise: Float[Tensor, "B T"] | None = None,  # noqa: ARG002
    ) -> FrameScores:
        """Scores of frames; it knows no noise."""
        score = self.mlp2(self.mlp1(features))[..., 0]
        return FrameScores(score, score, None)


class Adapter(nn.Module):
    """From the features of a few key frames to those of all frames: each a mixture of the few.

    Args:
        key_frames: frames that come in.
        frames: frames that go out.
    """

    def __init__(self, key_frames: int, frames: int) -> None:
        super().__init__()
        self.T = nn.Parameter(torch.ones(key_frames, frames))

    def forward(self, features: Float[Tensor, "B k C"]) -> Float[Tensor, "B T C"]:
        """y[b, e] = sum over c of x[b, c] softmax(T)[c, e], the softmax over the key frames."""
        return torch.einsum("bkc,kt->btc", features, self.T.softmax(dim=0).to(features.dtype))


class Projector(nn.Module):
    """From features of an older network to those of a newer one, beside an identity.

    Args:
        features: width.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, features // 2)
        self.fc2 = nn.Linear(features // 2, features)

    def forward(self, features: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """relu(fc2(relu(fc1(x)))) + x."""
        return functional.relu(self.fc2(functional.relu(self.fc1(features)))) + features


def regressor(network: Network, features: int) -> nn.Module:
    """The regressor that the settings ask for."""
    kinds = {"gaussian": GaussianRegressor, "mlp": MlpRegressor}
    return kinds[network.regressor](features)
