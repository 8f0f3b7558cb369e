"""abaw-va against straightforward code on the same videos: evaluation, a training epoch, smoothing.

Ours reads its features from files in the timed part; the straightforward side has them in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from abaw_va.config import TrainConfig, Transformer
from abaw_va.data.layout import TARGETS
from abaw_va.data.training import training_loader, video_sets
from abaw_va.data.videos import VideoSet
from abaw_va.evaluate import predict_videos
from abaw_va.learner import VaLearner
from abaw_va.method.smoothing import smooth
from abaw_va.model.network import VaModel
from abaw_va.synthetic import FRAME_RATE, write_random_root
from shared_core.launch.accelerator import accelerator as connect
from shared_core.training.hands import Hands
from tools.bench.straightforward import abaw_va as straightforward
from tools.bench.timing import Row, interleaved

FEATURES = {"affectnet": 342, "vggish": 128, "wav2vec": 768}
LENGTHS = (2500, *[500] * 15)
SMOOTHED_FRAMES = 20_000
LARGEST_DIFFERENCE = 1e-5


def measure() -> list[Row]:
    """Time and difference of each comparison."""
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench.make(Path(folder))
        return [*_evaluation(bench), _epoch(bench), *_smoothing()]


@dataclass(frozen=True)
class _Bench:
    """The transformer with the authors' settings, and the same videos in files and in memory."""

    config: TrainConfig
    files: VideoSet
    features: list[np.ndarray]
    labels: list[np.ndarray]

    @classmethod
    def make(cls, root: Path) -> _Bench:
        lengths = {f"v{number:02d}": length for number, length in enumerate(LENGTHS)}
        write_random_root(root, {"train": lengths, "val": lengths}, FEATURES)
        # Chunks side by side, as the straightforward side has them: hop = 0.
        config = TrainConfig(
            data=root, run=root / "run", model=Transformer(hop=0), device="cpu", threads=1
        )
        files, _ = video_sets(config)
        whole = list(enumerate(LENGTHS))
        return cls(
            config,
            files,
            features=[files.read(video, 0, length) for video, length in whole],
            labels=[files.labels(video, 0, length)[0] for video, length in whole],
        )

    def learner(self) -> VaLearner:
        """A network and its optimiser, the same each time."""
        return VaLearner(self.config, self.files, self.files)


def _evaluation(bench: _Bench) -> list[Row]:
    model = bench.learner().network.eval()
    reach = [bench.config.smoothing.window(target, FRAME_RATE) for target in TARGETS]
    found: dict[str, Sequence[np.ndarray]] = {}

    def ours() -> None:
        found["ours"] = _predictions(model, bench)

    def reference() -> None:
        found["reference"] = straightforward.predict(model, bench.features, reach)

    times = interleaved({"ours": ours, "reference": reference}, runs=3)
    name = f"evaluation of {len(LENGTHS)} videos"
    row = Row.faster(name, times["ours"], times["reference"], at_least=3.5)
    note = f"{row.note}; whole videos padded to the longest, in memory, the same masks, hop 0"
    difference = _difference(found["ours"], found["reference"])
    return [
        replace(row, note=note),
        Row.within(f"{name}, difference", difference, LARGEST_DIFFERENCE, unit=""),
    ]


def _predictions(model: VaModel, bench: _Bench) -> list[np.ndarray]:
    """Ours: smoothed and clipped predictions of each video, in the order of the videos."""
    traces = dict(predict_videos(model, bench.files, bench.config.smoothing))
    return [
        np.stack([traces[video][target].smoothed().prediction for target in TARGETS], axis=1)
        for video in sorted(traces)
    ]


def _epoch(bench: _Bench) -> Row:
    ours, reference = _our_epoch(bench), _straightforward_epoch(bench)
    updates = ours(), reference()
    times = interleaved({"ours": ours, "reference": reference}, runs=2, warm_up=False)
    name = f"training epoch of {len(LENGTHS)} videos"
    row = Row.faster(name, times["ours"], times["reference"], at_least=2.5)
    note = (
        f"{row.note}; {updates[0]} updates of {bench.config.batch_size} chunks against "
        f"{updates[1]} of all videos padded to the longest"
    )
    return replace(row, note=note)


def _our_epoch(bench: _Bench) -> Callable[[], int]:
    learner = bench.learner()
    loader = training_loader(bench.config, bench.files, carries_state=False)
    accelerator = connect(bench.config)
    learner.prepare(accelerator)
    learner.model.train()
    hands = Hands(accelerator, clip_norm=bench.config.clip_norm)

    def epoch() -> int:
        for number, micro_batches in enumerate(loader.epoch()):
            hands.start(f"update {number}")
            learner.update(micro_batches, hands)
        return len(loader)

    return epoch


def _straightforward_epoch(bench: _Bench) -> Callable[[], int]:
    learner = bench.learner()
    model = learner.network.train()

    def epoch() -> int:
        return straightforward.train_epoch(
            model,
            learner.optimizer,
            bench.features,
            bench.labels,
            clip_norm=bench.config.clip_norm or float("inf"),
        )

    return epoch


def _smoothing() -> list[Row]:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(SMOOTHED_FRAMES, generator=draw, dtype=torch.float64)
    array, reach = values.numpy(), 50
    times = interleaved(
        {
            "ours": lambda: smooth(values, reach),
            "reference": lambda: straightforward.smooth(array, reach),
        },
        runs=5,
        calls=20,
    )
    name = f"smoothing of {SMOOTHED_FRAMES} frames"
    row = Row.faster(name, times["ours"], times["reference"], at_least=1000)
    note = f"{row.note}; numpy's mean of a slice for each frame, {reach} to each side"
    difference = _difference(
        [smooth(values, reach).numpy()], [straightforward.smooth(array, reach)]
    )
    return [
        replace(row, note=note),
        Row.within(f"{name}, difference", difference, LARGEST_DIFFERENCE, unit=""),
    ]


def _difference(ours: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, reference, strict=True))
