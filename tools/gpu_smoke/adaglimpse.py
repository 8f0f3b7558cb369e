"""adaglimpse: reconstruction of embedded scenes; on a GPU the paper's backbone at its image size."""

from __future__ import annotations

from adaglimpse.config import TrainConfig
from adaglimpse.data.items import ImageDataset
from adaglimpse.data.layouts import read_images
from adaglimpse.evaluate import evaluate
from adaglimpse.learner import GlimpseLearner, train
from adaglimpse.model.network import GlimpseModel
from adaglimpse.predict import predict
from adaglimpse.synthetic import write_dataset
from shared_core.reporting.events import read
from tools.gpu_smoke.subject import Found, Place, Subject, Use

TOLERANCE = 0.02
"""The backbone's losses are of size 1; bf16 keeps 8 bits, 0.4 percent a product. The policy, which learns
beside it, draws from the device's own stream: its losses must be finite, and are not compared."""

BATCH = 4
GLIMPSES = 4
IMAGES = 24
RANDOM_UPDATES = 5
"""Afterwards the policy chooses the glimpses."""


def _side(place: Place) -> int:
    return 64 if place.small else 224


def _config(place: Place) -> TrainConfig:
    return TrainConfig(
        data_dir=place.folder / "data",
        image_size=(_side(place), _side(place)),
        augment=False,
        backbone_size="tiny" if place.small else "base",
        num_glimpses=GLIMPSES,
        rl_batch_size=2 * BATCH,
        replay_buffer_size=8 * BATCH * GLIMPSES,
        init_random_batches=RANDOM_UPDATES * (GLIMPSES + 1),
        freeze_backbone_epochs=0,
        backbone_training_type="constant",
        backbone_loss="mean",
        lr=1e-5,
        batch_size=BATCH,
        eval_batch_size=2 * BATCH,
        evaluate_every=place.updates,
        **place.settings,
    )


def _prepare(place: Place) -> None:
    data, side = _config(place).data_dir, _side(place)
    write_dataset(data, "reconstruction", train=IMAGES, val=2 * BATCH, size=side, seed=0)


def _uses(place: Place) -> tuple[Use, Use]:
    config = _config(place)
    model = GlimpseModel.from_pretrained(place.run, device=place.device)
    samples = read_images(config, config.task, "val").samples
    dataset = ImageDataset(samples, task=config.task, size=config.image_size)
    sources = [sample.image for sample in samples]

    def judge() -> Found:
        judged = evaluate(model, dataset, batch_size=2 * BATCH)["learnt"]
        return Found(len(dataset), [judged.value(judged.glimpses)])

    return judge, lambda: Found(len(sources), [one.scores for one in predict(model, sources)])


def _losses(place: Place) -> list[float]:
    return [event["backbone_loss"] for event in read(place.run) if event["kind"] == "train"]


SUBJECT = Subject(
    unit="episodes",
    tolerance=TOLERANCE,
    update=(GlimpseLearner, "update"),
    items=lambda _: BATCH,
    prepare=_prepare,
    train=lambda place: train(_config(place)),
    uses=_uses,
    losses=_losses,
)
