"""gaze-da: the network on embedded scenes, adapting in both ways."""

from __future__ import annotations

from gaze_da.config import Augment, Network, TrainConfig
from gaze_da.evaluate import Network as Predictor
from gaze_da.evaluate import evaluate, open_split
from gaze_da.learner import GazeLearner, train
from gaze_da.model.network import GazeModel
from gaze_da.predict import predict
from gaze_da.synthetic import Style, write_domain
from tools.gpu_smoke.subject import Found, Place, Subject, Use

TOLERANCE = 0.05
"""The losses are of size 1 and go through batch norms; bf16 keeps 8 bits, 0.4 percent a product."""

BATCH = 8
PICTURES = 24

_LAYERS = (1, 1, 1, 1, 1)
USUAL = Network()
SMALL = Network(
    width=16,
    scene_layers=_LAYERS,
    depth_layers=_LAYERS,
    face_layers=_LAYERS,
    input_size=64,
    output_size=24,
)


def _config(place: Place) -> TrainConfig:
    return TrainConfig(
        source_dataset_dir=place.folder / "source",
        target_dataset_dir=place.folder / "target",
        network=SMALL if place.small else USUAL,
        augment=Augment(jitter=0, crop=0, flip=0, colour=0),
        head_da=True,
        rgb_depth_da=True,
        lr=1e-5,
        batch_size=BATCH,
        evaluate_every=place.updates,
        channels_last=True,
        test=False,
        **place.settings,
    )


def _prepare(place: Place) -> None:
    styles: dict[str, Style] = {"source": "flat", "target": "grainy"}
    for name, style in styles.items():
        write_domain(place.folder / name, style, {"train": PICTURES, "test": BATCH})


def _uses(place: Place) -> tuple[Use, Use]:
    model = GazeModel.from_pretrained(place.run, device=place.device)
    folded = model.for_evaluation(channels_last=True)
    dataset = open_split(model, "gazefollow", place.folder / "target", "test")
    sample = dataset.samples[0]
    heads = [sample.head] * BATCH

    def judge() -> Found:
        judged = evaluate(Predictor(folded, channels_last=True), dataset)
        return Found(len(dataset), [judged["gazefollow"]["avg_dist"].value])

    def ask() -> Found:
        people = predict(folded, sample.image, heads, units="pixels", depth=sample.depth)
        return Found(BATCH, [person.heatmap for person in people])

    return judge, ask


SUBJECT = Subject(
    unit="people",
    tolerance=TOLERANCE,
    update=(GazeLearner, "update"),
    items=lambda _: BATCH,
    prepare=_prepare,
    train=lambda place: train(_config(place)),
    uses=_uses,
)
