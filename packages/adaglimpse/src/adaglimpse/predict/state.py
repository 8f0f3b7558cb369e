"""The mean of what a policy sees, and showing it the mean instead: an ablation of its inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from adaglimpse.config import SIZES, GlimpseModelConfig
from adaglimpse.model.policy import Observation
from shared_core.checkpoints.weights import load_metadata, load_weights, save_weights
from shared_core.data.atomic import replacing
from shared_core.errors import CheckpointError, UsageError

PARTS = {
    "patches": "patches",
    "coords": "coords",
    "importance": "attention",
    "latent": "observation",
}
"""Parts of the state as the command line calls them, and what each is of an `Observation`."""


class AverageState:
    """Adds up what a policy sees, and leaves that as it is: a `policies.Replace`.

    The means go over all images and all times that the policy looked, and over the places that held a
    patch. Patches, boxes and importance have a mean for each place; latents have one for each feature.
    The policy never sees the places of the last glimpse, so that these have none.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts = torch.zeros(0, dtype=torch.int64)

    def __call__(self, seen: Observation) -> Observation:
        """Count what is seen."""
        there = ~seen.mask[..., 0]
        self._counts = _added(self._counts, there.sum(dim=0).cpu())
        for name, part in PARTS.items():
            values = getattr(seen, part)
            total = (values.double() * _beside(there, values)).sum(dim=0).cpu()
            self._sums[name] = _added(self._sums.get(name, total[:0]), total)
        return seen

    def means(self) -> dict[str, Float64[Tensor, "..."]]:
        """The mean of each part, for the P places that ever held a patch.

        They are `patches` [P, 3, 16, 16], `coords` [P, 4], `importance` [P, 1] and `latent` [D].

        Raises:
            UsageError: none did.
        """
        places = int((self._counts > 0).sum())  # the first ones: they are filled in order
        if places == 0:
            raise UsageError(
                "there is no mean of what the policy saw: it chose no glimpse after the first. Look at one "
                "image or more, with two glimpses or more."
            )
        counts = self._counts[:places]
        found = {
            name: total[:places] / _beside(counts, total)
            for name, total in self._sums.items()
            if name != "latent"
        }
        return found | {"latent": self._sums["latent"].sum(dim=0) / counts.sum()}

    def save(self, path: Path, config: GlimpseModelConfig) -> None:
        """Write the means.

        Args:
            path: the file, safetensors.
            config: of the model that looked.

        Raises:
            DataError: it cannot be written.
            UsageError: as `means`.
        """
        means = {name: mean.float() for name, mean in self.means().items()}
        with replacing(path) as partial:
            save_weights(partial, means, _kind(config))


class Replaced:
    """Shows a policy means instead of some parts of what it would see: a `policies.Replace`.

    Places without a patch stay as they are.

    Args:
        means: as `AverageState.means` has them.
        names: of the parts.
    """

    def __init__(self, means: Mapping[str, Tensor], names: Collection[str]) -> None:
        self._means = {name: means[name] for name in names}

    @classmethod
    def read(
        cls, path: Path, names: Collection[str], config: GlimpseModelConfig, glimpses: int
    ) -> Replaced:
        """With the means of a file.

        Args:
            path: as `AverageState.save` writes it.
            names: of the parts.
            config: of the model that will look.
            glimpses: of an episode.

        Raises:
            CheckpointError: it is no such file, its model was of another kind, or it has too few places.
        """
        means, kind = load_weights(path), load_metadata(path)
        if not means.keys() >= PARTS.keys():
            raise CheckpointError(
                path, ", ".join(sorted(means)), expected=f"the tensors {', '.join(PARTS)}"
            )
        for name, value in _kind(config).items():
            if kind.get(name) != value:
                raise CheckpointError(path, str(kind.get(name)), where=name, expected=value)
        needed = (glimpses - 1) * config.glimpse_grid_size**2
        if len(means["patches"]) < needed:
            raise CheckpointError(
                path,
                str(len(means["patches"])),
                expected=f"means of {needed} places of patches or more, for {glimpses} glimpses",
                remedy="Write it again with as many glimpses.",
            )
        return cls(means, names)

    def __call__(self, seen: Observation) -> Observation:
        """The same observations with means in them."""
        changed = {}
        for name, mean in self._means.items():
            values = getattr(seen, PARTS[name])
            shown = mean.to(values) if name == "latent" else mean[: values.shape[1]].to(values)
            changed[PARTS[name]] = torch.where(_beside(seen.mask[..., 0], values), values, shown)
        return seen._replace(**changed)


def _kind(config: GlimpseModelConfig) -> dict[str, str]:
    """What the means depend on."""
    height, width = config.image_size
    return {
        "image_size": f"{height}x{width}",
        "glimpse_grid_size": str(config.glimpse_grid_size),
        "latent_width": str(SIZES[config.backbone_size].width),
    }


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """Numbers of places, with axes for the rest of the values that stand at these places."""
    return rows.reshape(*rows.shape, *[1] * (values.dim() - rows.dim()))


def _added(sums: Tensor, more: Tensor) -> Tensor:
    """The sum of two, of which one may have fewer rows."""
    shorter, longer = sorted((sums, more), key=len)
    total = longer.clone()
    total[: len(shorter)] += shorter
    return total
