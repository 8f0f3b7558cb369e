"""A model as a folder or a hub repository: weights, settings, card.

    model.safetensors    the weights
    config.json          {"format": 1, "package": "abaw_va", "class": "VaModel", "config": {...},
                          "weights": {"sha256": ..., "bytes": ...}}
    README.md            the model card

`config.json` is written last and names the weights' hash: a folder that was left half-written, or
damaged since, is found out before a tensor is used.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self, cast

import torch
from torch import nn

from shared_core.checkpoints.hub import push_to_hub
from shared_core.checkpoints.manifest import sha256_of
from shared_core.checkpoints.weights import load_into, load_weights, save_weights
from shared_core.config import from_dict, to_dict
from shared_core.errors import CheckpointError, UsageError, first_line
from shared_core.extras import require
from shared_core.files import replace_file, sync_file, sync_folder
from shared_core.reporting.card import model_card

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_FORMAT = 1
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

_log = logging.getLogger(__name__)


class Pretrained:
    """Mixin of a module that is built from its config alone: `Model(config)`, then `model.config`.

    A subclass names its `config_class`; one whose config is not a single dataclass overrides
    `load_config`, and one that has more to say than its name overrides `card`.
    """

    config_class: ClassVar[type[Any]]
    config: Any

    @classmethod
    def load_config(cls, tree: Mapping[str, Any], *, where: str = "") -> Any:
        """The config that `config.json` holds.

        Raises:
            UsageError: a setting is unknown, missing or of the wrong type.
        """
        return from_dict(cls.config_class, tree, where=where)

    def card(self) -> str:
        """The model card that is written where none is given."""
        name, package = type(self).__name__, _package(type(self)).replace("_", "-")
        return model_card(
            title=name,
            summary=f"A {name} of {package}.",
            package=package,
            usage=f"from {_package(type(self))} import {name}\n\n"
            f'model = {name}.from_pretrained("path or hub id")',
        )

    def save_pretrained(self, folder: Path | str, card: str | None = None) -> None:
        """Write the model into a folder, each file whole or not at all.

        Args:
            folder: made if it is absent; other files in it are left alone.
            card: Markdown of the model card; by default what `card` writes.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{WEIGHTS}.writing"
            save_weights(temporary, cast("nn.Module", self).state_dict(), {"format": "pt"})
            sync_file(temporary)
            about = {
                "format": _FORMAT,
                "package": _package(type(self)),
                "class": type(self).__name__,
                "config": to_dict(self.config),
                "weights": {"sha256": sha256_of(temporary), "bytes": temporary.stat().st_size},
            }
            replace_file(folder / CARD, self.card() if card is None else card)
            temporary.replace(folder / WEIGHTS)
            sync_folder(folder)
            replace_file(folder / CONFIG, json.dumps(about, indent=2) + "\n")
        except OSError as error:
            with suppress(OSError):
                (folder / f".{WEIGHTS}.writing").unlink()
            raise CheckpointError(
                folder,
                f"the model cannot be written ({error.strerror or error})",
                remedy="Choose a folder that you may write to, on a disk with free space.",
            ) from error

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: Path | str,
        *,
        revision: str | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Load a model, ready to predict (in evaluation mode).

        Args:
            path_or_hub_id: a folder that `save_pretrained` wrote, a run folder (its `model/` is
                taken), or a repository of the Hugging Face hub (`owner/name`); what exists on this
                machine is a folder.
            revision: commit, tag or branch on the hub; a commit gives the same bytes always.
            device: where to put it; by default the CPU.

        Raises:
            CheckpointError: nothing is there, it is damaged, or it holds another model.
            UsageError: a setting in it is not one of this version.
            MissingExtraError: a hub id is given and the extra `hub` is not installed.
        """
        folder = _found(path_or_hub_id, revision)
        about = _read_about(folder / CONFIG)
        held, wanted = (about["package"], about["class"]), (_package(cls), cls.__name__)
        if held != wanted:
            raise CheckpointError(
                folder,
                f"{'.'.join(held)}",
                expected=f"a model of the class {'.'.join(wanted)}",
                remedy=f"Load it with {held[0].replace('_', '-')}.",
            )
        weights = folder / WEIGHTS
        _verify_weights(weights, about["weights"])
        config = cls.load_config(about["config"], where=str(folder / CONFIG))
        with torch.random.fork_rng(devices=[]):  # loading must not move anyone's random numbers
            model = cast("nn.Module", cls(config))  # type: ignore[call-arg]
        load_into(model, load_weights(weights), path=weights)
        return cast("Self", model.eval().to(device or "cpu"))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: str | None = None,
        private: bool = False,
        revision: str | None = None,
        message: str = "Upload model",
    ) -> str:
        """Upload the model with its card to the Hugging Face hub, making the repository if needed.

        Args:
            repo_id: `owner/name`.
            card: Markdown of the model card; by default what `card` writes.
            private: for a repository that is new.
            revision: branch to upload to; made if it is absent.
            message: of the commit.

        Returns:
            The commit, to be used as `revision` of `from_pretrained`.

        Raises:
            CheckpointError: the hub cannot be reached or refuses; holds its reason.
            MissingExtraError: the extra `hub` is not installed.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, card)
            return push_to_hub(folder, repo_id, private=private, revision=revision, message=message)


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _found(path_or_hub_id: Path | str, revision: str | None) -> Path:
    path = Path(path_or_hub_id)
    if path.exists():
        if revision is not None:
            raise UsageError(f"{path} is a folder here; a revision is for models on the hub.")
        exported = path / "model"
        return exported if exported.is_dir() and not (path / CONFIG).exists() else path
    if isinstance(path_or_hub_id, Path) or not _HUB_ID.fullmatch(path_or_hub_id):
        raise CheckpointError(path, "no such folder, and not a hub id of the form owner/name")
    return _downloaded(path_or_hub_id, revision)


def _downloaded(hub_id: str, revision: str | None) -> Path:
    hub = require("huggingface_hub", "hub")
    try:
        folder = Path(
            hub.snapshot_download(hub_id, revision=revision, allow_patterns=[WEIGHTS, CONFIG, CARD])
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            hub_id,
            f"there is no such folder, and the hub does not give it ({first_line(error)})",
            remedy="Check the name and the revision. Without a network, give a local folder, or "
            "download it once on a machine that has one.",
        ) from error
    if revision is None:
        _log.info(
            '%s: took revision="%s"; name it to get the same bytes again.', hub_id, folder.name
        )
    return folder


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_bytes())
        names = {"format": int, "package": str, "class": str, "config": dict, "weights": dict}
        whole = all(isinstance(about[name], kind) for name, kind in names.items())
    except OSError as error:
        raise CheckpointError(
            path,
            f"it cannot be read ({error.strerror})",
            remedy="A model folder holds model.safetensors and config.json; a .pth file must be "
            "converted first (see the command `convert`).",
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise CheckpointError(path, "something else", expected="what save_pretrained writes")
    if about["format"] != _FORMAT:
        raise CheckpointError(path, f"{about['format']}", expected=f"format {_FORMAT}")
    return cast("dict[str, Any]", about)


def _verify_weights(path: Path, expected: Mapping[str, Any]) -> None:
    remedy = "Get the folder again from its source, or export it again."
    try:
        size = path.stat().st_size
        if size != expected.get("bytes"):
            raise CheckpointError(
                path, f"{size}", expected=f"{expected.get('bytes')} bytes", remedy=remedy
            )
        intact = sha256_of(path) == expected.get("sha256")
    except OSError as error:
        raise CheckpointError(
            path, f"it cannot be read ({error.strerror})", remedy=remedy
        ) from error
    if not intact:
        raise CheckpointError(path, "its sha256 is not the one in config.json", remedy=remedy)
