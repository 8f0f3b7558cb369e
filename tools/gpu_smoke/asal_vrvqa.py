"""asal-vrvqa: a task on embedded panoramas; on a GPU the paper's widths at a quarter of its height."""

from __future__ import annotations

from asal_vrvqa.config import TASKS, Network, Reading, Replay, TrainConfig
from asal_vrvqa.data.items import DistinctFrames
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.learner import StreamLearner, train
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.predict import predict
from asal_vrvqa.results import measures
from asal_vrvqa.scoring import clip_scores, frame_table, store_of
from asal_vrvqa.synthetic import write_dataset
from tools.gpu_smoke.subject import Found, Place, Subject, Use

TOLERANCE = 0.05
"""The losses are of size 1 and go through batch norms; bf16 keeps 8 bits, 0.4 percent a product."""

BATCH = 4
SOURCES = 4

USUAL = Network(parts=4, height=128, width=256)
SMALL = Network(parts=2, channels=8, height=64, width=128)


def _network(place: Place) -> Network:
    return SMALL if place.small else USUAL


def _config(place: Place) -> TrainConfig:
    data = place.folder / "data"
    return TrainConfig(
        labels=data / "labels",
        frames=data / "frames",
        tasks=TASKS[:1],
        strategy="asal",
        train_ratio=0.5,
        network=_network(place),
        reading=Reading(flip="none", jitter=False),
        replay=Replay(buffer_size=6),
        lr=1e-5,
        batch_size=BATCH,
        **place.settings,
    )


def _prepare(place: Place) -> None:
    network = _network(place)
    write_dataset(
        place.folder / "data",
        sources=dict.fromkeys(TASKS[:1], SOURCES),
        height=network.height,
        width=network.width,
        seed=0,
    )


def _uses(place: Place) -> tuple[Use, Use]:
    config = _config(place)
    model = QualityModel.from_pretrained(place.run, device=place.device).for_evaluation()
    clips = read_clips(config.labels)
    store = store_of(model.config, config.frames)
    frames = DistinctFrames(clips, store, model.config.reading)
    source = config.frames / clips[0].folder

    def judge() -> Found:
        table = frame_table(model, frames, batch_size=8)
        rmse = measures(clip_scores(frames, table).score, clips)["rmse"].value
        return Found(len(frames), [rmse])

    return judge, lambda: Found(config.network.frames, [predict(model, source).score])


SUBJECT = Subject(
    unit="frames",
    tolerance=TOLERANCE,
    update=(StreamLearner, "update"),
    items=lambda place: BATCH * _network(place).frames,
    prepare=_prepare,
    train=lambda place: train(_config(place)),
    uses=_uses,
)
