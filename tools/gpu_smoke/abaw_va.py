"""abaw-va: the transformer with the authors' widths on random features, without dropout."""

from __future__ import annotations

from dataclasses import dataclass

from abaw_va.config import TrainConfig, Transformer
from abaw_va.data.training import video_sets
from abaw_va.evaluate import evaluate
from abaw_va.inference import infer
from abaw_va.learner import VaLearner, train
from abaw_va.model.network import VaModel
from abaw_va.synthetic import write_random_root
from tools.gpu_smoke.subject import Found, Place, Subject, Use

TOLERANCE = 0.02
"""The losses are 1 - CCC, of size 1; bf16 keeps 8 bits, a relative 0.4 percent a product."""

BATCH = 8


@dataclass(frozen=True)
class Size:
    """How much is computed: frames of a chunk, widths of the features, of the network, layers."""

    frames: int
    features: dict[str, int]
    width: int
    layers: int


USUAL = Size(250, {"affectnet": 342, "vggish": 128, "wav2vec": 768}, 256, 4)
SMALL = Size(24, {"affectnet": 16}, 32, 1)


def _size(place: Place) -> Size:
    return SMALL if place.small else USUAL


def _config(place: Place) -> TrainConfig:
    size = _size(place)
    network = Transformer(
        hidden_size=size.width,
        ffn_width=4 * size.width,
        layers=size.layers,
        chunk_length=size.frames,
        dropout=0.0,
        encoder_dropout=0.0,
    )
    return TrainConfig(
        data=place.folder / "data",
        features=tuple(size.features),
        model=network,
        lr=1e-4,
        batch_size=BATCH,
        evaluate_every=place.updates,
        **place.settings,
    )


def _prepare(place: Place) -> None:
    """Videos of one chunk each, so that every update costs the same."""
    size = _size(place)
    lengths = {
        split: {f"{split}{number}": size.frames for number in range(count)}
        for split, count in (("train", 2 * BATCH), ("val", BATCH))
    }
    write_random_root(_config(place).data, lengths, size.features, seed=0, linear=True)


def _uses(place: Place) -> tuple[Use, Use]:
    config = _config(place)
    model = VaModel.from_pretrained(place.run, device=place.device)
    val = video_sets(config)[1]
    frames = int(val.lengths.sum())

    def judge() -> Found:
        judged = evaluate([model], [val], config.smoothing, seed=config.seed)
        return Found(frames, [judged.measures["ccc"].value])

    return judge, lambda: Found(frames, [values for _, values in infer(model, val)])


SUBJECT = Subject(
    unit="frames",
    tolerance=TOLERANCE,
    update=(VaLearner, "update"),
    items=lambda place: BATCH * _size(place).frames,
    prepare=_prepare,
    train=lambda place: train(_config(place)),
    uses=_uses,
)
