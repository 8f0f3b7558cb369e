"""Weights of others: the authors' checkpoints, Chong's (2020) spatial model, torchvision's ResNet-50.

Whatever the file, its names become ours and are laid over a network; what the file
lacks keeps its initial value, and is said. Names that nobody knows are an error.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaze_da.config import ConvertConfig, GazeModelConfig, Network
from gaze_da.model.initial import initialise
from gaze_da.model.network import BRANCHES, GazeModel
from shared_core.checkpoints.weights import load_into, load_weights, read_legacy, weights_in
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.errors import CheckpointError, ConfigError

LOSSES = (nn.MSELoss, nn.BCEWithLogitsLoss, nn.NLLLoss)
"""Modules without weights that the authors save beside them."""

ADAPTATION = {"adv_da": "domain classifier", "multimodal_da": "reconstruction"}
"""Parts that only adapt, and what they are."""

UNTRAINED = "the in/out head is untrained: no probability of being inside is predicted"

_COUNTER = ".num_batches_tracked"  # which files of old versions of torch lack

_CHONG = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"(conv1|bn1|layer\d)_(scene|face)\.", r"\2_backbone.\1."),
        (r"compress_(conv\d|bn\d)_inout\.", r"inout_decoder.\1."),
        (r"compress_(conv\d|bn\d)\.", r"scene_encoder.\1."),
        (r"fc_inout\.", r"inout_decoder.fc."),
        (r"deconv_bn(\d)\.", r"decoder.bn\1."),
        (r"(deconv\d|conv4)\.", r"decoder.\1."),
    )
)
"""Beginnings of names in Chong's files, and of ours."""

_log = logging.getLogger(__name__)


def from_upstream(path: Path, network: Network | None = None) -> GazeModel:
    """The network whose weights somebody else's file holds, in evaluation mode.

    The adaptation's parts are kept where the file has them. What it lacks, and a head for in/out
    that never learnt (`config.inout_trained` is then False), is logged as a warning.

    Args:
        path: `.pth` or safetensors file: the authors', Chong's (2020), or torchvision's ResNet-50.
        network: sizes; None: as the shapes in the file say.

    Raises:
        CheckpointError: the file is unsafe or damaged, holds names that no such network has (lists
            them), or weights of other shapes.
    """
    model, notes = _converted(path, network)
    for note in notes:
        _log.warning("%s: %s", path, note)
    return model


def load_initial(model: GazeModel, path: Path) -> list[str]:
    """Start a network from a file or from a model folder; what is not in it stays as it is.

    Args:
        model: changed in place.
        path: as in `from_upstream`, or the folder of a model or a run.

    Returns:
        What the user has to know, a clause each: parts left as they were, and parts not taken.

    Raises:
        CheckpointError: as in `from_upstream`; the network is then unchanged.
    """
    state, notes = _read(path)
    return notes + _lay_over(model, state, path)


def to_upstream(model: GazeModel, path: Path) -> None:
    """Write a network as the authors' code reads it; of other sizes than the paper's it cannot.

    Raises:
        DataError: the file cannot be written.
    """
    with replacing(path) as temporary:
        torch.save({"model": model.state_dict()}, temporary)


def _converted(path: Path, network: Network | None = None) -> tuple[GazeModel, list[str]]:
    state, notes = _read(path)
    trained = _inout_is_trained(state)
    config = GazeModelConfig(
        network=network or _network(state, path),
        head_da=any(name.startswith("adv_da.") for name in state),
        rgb_depth_da=any(name.startswith("multimodal_da.") for name in state),
        inout_trained=trained,
    )
    with torch.device("meta"):
        model = GazeModel(config)
    model.to_empty(device="cpu")
    initialise(model, torch.Generator().manual_seed(0))
    notes += _lay_over(model, state, path)
    return model.eval(), notes if trained else [*notes, UNTRAINED]


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Weights by our names, and notes about what else is in the file."""
    if path.is_dir():
        return GazeModel.from_pretrained(path).state_dict(), []
    notes = []
    if path.suffix == ".safetensors":
        state = load_weights(path)
    else:
        content = read_legacy(path, classes=LOSSES)
        state = weights_in(content, path)
        if "optimizer" in content and "optimizer" not in state:
            notes.append("the state of its optimiser is not taken: training would start a new one")
    if not state:
        raise CheckpointError(path, "none", expected="weights")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return _in_our_names(state), notes


def _in_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names that are in no table stay as they are."""
    if "conv1_scene.weight" in state:
        return {_from_chong(name): value for name, value in state.items()}
    if "layer1.0.conv1.weight" in state:
        return _from_torchvision(state)
    return dict(state)


def _from_chong(name: str) -> str:
    for pattern, ours in _CHONG:
        if found := pattern.match(name):
            return found.expand(ours) + name[found.end() :]
    return name


def _from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One ResNet-50 for all three branches; the head mask, a fourth channel, starts without effect."""
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        if re.match(r"(conv1|bn1|layer[1-4])\.", name):
            ours |= {f"{branch}.{name}": value for branch in BRANCHES}
        elif not name.startswith("fc."):
            ours[name] = value
    stem = state.get("conv1.weight")
    if stem is not None and stem.dim() == 4:
        with_mask = functional.pad(stem, (0, 0, 0, 0, 0, 1))
        ours |= {f"{branch}.conv1.weight": with_mask for branch in BRANCHES[:2]}
    return ours


def _inout_is_trained(state: Mapping[str, Tensor]) -> bool:
    """Whether the in/out head is there and has moved.

    By default the authors give its loss the weight 0. Their Adam has no decay, so that its batch norm
    then still is the identity, to the bit.
    """
    scale, shift = (state.get(f"inout_decoder.bn1.{part}") for part in ("weight", "bias"))
    return (
        scale is not None
        and shift is not None
        and not bool((scale == 1).all() & (shift == 0).all())
    )


def _network(state: Mapping[str, Tensor], path: Path) -> Network:
    """Sizes that follow from names and shapes; the paper's where nothing does."""
    usual = Network()
    stem, attention = (state.get(f"{name}.weight") for name in ("scene_backbone.conv1", "attn"))
    width = stem.shape[0] if stem is not None and stem.dim() == 4 else usual.width
    inputs = usual.input_size
    if attention is not None and attention.dim() == 2:
        inputs = 32 * math.isqrt(attention.shape[0])
    scene, depth, face = (_layers(state, branch) for branch in BRANCHES)
    try:
        return Network(
            width=width,
            scene_layers=scene or usual.scene_layers,
            depth_layers=depth or scene or usual.depth_layers,
            face_layers=face or scene or usual.face_layers,
            input_size=inputs,
            output_size=inputs // 4 + 8,
        )
    except ConfigError as error:
        raise CheckpointError(path, f"sizes of no network that can be ({error})") from error


def _layers(state: Mapping[str, Tensor], branch: str) -> tuple[int, ...]:
    """Blocks in each stage of a branch; the paper's in stages that the file lacks, () without any."""
    blocks = re.compile(rf"{branch}\.layer([1-5])\.(\d+)\.")
    found = {match.groups() for name in state if (match := blocks.match(name))}
    counts = [sum(stage == str(number) for stage, _ in found) for number in range(1, 6)]
    usual = Network().scene_layers
    return tuple(n or u for n, u in zip(counts, usual, strict=True)) if found else ()


def _lay_over(model: GazeModel, state: Mapping[str, Tensor], path: Path) -> list[str]:
    """Put weights into a network that may have more parts, or lack those that only adapt."""
    own = model.state_dict()
    parts = {name.partition(".")[0] for name in state}
    spare = {part for part in ADAPTATION if part in parts and getattr(model, part) is None}
    kept = {name: value for name, value in state.items() if name.partition(".")[0] not in spare}
    load_into(model, own | kept, path=path)
    notes = [
        f"its {what} ({part}) is not taken: the network has none"
        for part, what in ADAPTATION.items()
        if part in spare
    ]
    missing = [name for name in own if name not in kept and not name.endswith(_COUNTER)]
    if missing:
        notes.append(f"not in it, left as they were: {', '.join(_parts(missing, kept))}")
    return notes


def _parts(missing: Iterable[str], present: Iterable[str]) -> list[str]:
    """The largest parts that are missing as a whole, each once."""
    there = {part for name in present for part in _ancestry(name)}
    return list(
        dict.fromkeys(next(p for p in _ancestry(name) if p not in there) for name in missing)
    )


def _ancestry(name: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`."""
    words = name.split(".")
    return (".".join(words[:count]) for count in range(1, len(words) + 1))


def command(config: ConvertConfig) -> None:
    """`gaze-da convert`."""
    notes: list[str] = []
    if config.source.is_dir():
        model = GazeModel.from_pretrained(config.source)
    else:
        model, notes = _converted(config.source)
    if config.to == "upstream" and model.config.network != Network():
        notes.append("the authors' code reads networks of the paper's sizes only, and this is none")
    for note in notes:
        say(f"NOTE: {note}")
    match config.to:
        case "model":
            model.save_pretrained(config.out)
        case "upstream":
            to_upstream(model, config.out)
        case "onnx":
            from gaze_da.onnx import export  # needs an extra

            say(
                f"ONNX and PyTorch differ by at most {export(model, config.out):.1e} of the largest value"
            )
    say(f"written to {config.out}")
