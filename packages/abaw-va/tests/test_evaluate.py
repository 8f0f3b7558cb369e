"""How predictions are judged: the measures, their intervals, and the files of `evaluate`."""

from __future__ import annotations

import json
import math
import zlib
from itertools import pairwise

import numpy as np
import pytest
import torch

from abaw_va.cli import main
from abaw_va.config import Compat, Smoothing, Transformer, VaModelConfig
from abaw_va.data.layout import features_path
from abaw_va.data.videos import VideoSet, split_videos
from abaw_va.evaluate import (
    MeanConcordance,
    evaluate,
    measures,
    moments_table,
    open_videos,
    predict_videos,
    table_of,
)
from abaw_va.inference import infer
from abaw_va.model.initial import initialise
from abaw_va.model.network import VaModel
from abaw_va.results import Trace, moments, read_traces
from abaw_va.synthetic import write_random_root
from shared_core.errors import ConfigError, NonFiniteError
from shared_core.metrics import Moments, ccc

WIDTHS = {"face": 5, "voice": 3}
SMALL = {
    "hidden_size": 8, "regressor": (8,), "layers": 1, "heads": 2, "ffn_width": 16,
    "chunk_length": 16,
}  # fmt: skip
SMOOTHING = Smoothing(valence=3, arousal=1, unit="frames")


def rnd(name, shape):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(zlib.crc32(f"input:{name}".encode()))
    )


def golden():
    """Target and prediction of the reference numbers."""
    y = torch.tanh(rnd("metric_true", (1000,)))
    return y, 0.6 * y + 0.3 * rnd("metric_noise", (1000,))


def built(**settings):
    config = VaModelConfig(
        model=Transformer(**SMALL), features=tuple(WIDTHS), input_width=8, **settings
    )
    model = VaModel(config)
    initialise(model, torch.Generator().manual_seed(4), gain=0.3)
    return model.eval()


@pytest.fixture
def root(tmp_path):
    splits = {"train": {"t": 20}, "val": {"u": 30, "v": 44, "w": 17}, "test": {"x": 25, "y": 9}}
    write_random_root(tmp_path / "root", splits, WIDTHS)
    return tmp_path / "root"


def val_set(root, model=None):
    return open_videos(model or built(), root, split_videos(root, "val"))


def one_video(prediction, target):
    return {"valence": {"v": Trace(np.asarray(prediction), np.asarray(target))}}


def judged(prediction, target, **options):
    return measures(table_of(one_video(prediction, target), ["valence"]), ["valence"], **options)


def test_acceptance_12_metrics_have_the_golden_values():
    y, p = (column.double().numpy() for column in golden())
    found = judged(p, y)
    assert found["rmse_valence"].value ** 2 == pytest.approx(0.152290, abs=1e-6)
    assert found["rmse_valence"].value == pytest.approx(0.390243, abs=1e-6)
    assert found["pcc_valence"].value == pytest.approx(0.782828, abs=1e-6)
    assert found["ccc_valence"].value == pytest.approx(0.749473, abs=1e-6)


def test_acceptance_12_a_shift_and_a_constant():
    y = golden()[0].double()
    assert float(ccc(y + 0.5, y)) == pytest.approx(0.757958, abs=1e-6)
    found = judged((y + 0.5).numpy(), y.numpy())
    assert found["ccc_valence"].value == pytest.approx(0.757958, abs=1e-6)
    constant = judged(np.full(1000, 0.3), y.numpy())
    assert constant["ccc_valence"].value == 0
    assert math.isnan(constant["pcc_valence"].value)
    assert constant["pcc_valence"].reason


def test_acceptance_12_seven_shards_are_the_whole():
    y, p = (column.double() for column in golden())
    cuts = [0, 1, 90, 91, 400, 650, 999, 1000]
    parts = [Moments.of(p[a:b], y[a:b]) for a, b in pairwise(cuts)]
    merged, whole = Moments.stack(parts).merge(), Moments.of(p, y)
    for measure in ("concordance", "correlation", "root_mean_squared_error"):
        expected = float(getattr(whole, measure)())
        assert float(getattr(merged, measure)()) == pytest.approx(expected, abs=1e-12)


def test_undefined_is_null_with_a_reason_unless_compat_asks_for_zero():
    same = np.full(9, 0.2)
    found = judged(same, same)["ccc_valence"]
    assert math.isnan(found.value)
    assert found.to_json()["value"] is None
    assert found.reason
    assert judged(same, same, undefined_as_zero=True)["ccc_valence"].value == 0


def test_the_score_is_of_all_frames_together_and_not_a_mean_over_videos():
    draw = np.random.default_rng(0)
    targets = [draw.uniform(-1, 1, n) for n in (5, 40, 100)]
    predictions = [
        t * 0.5 + draw.normal(0, s, len(t)) for t, s in zip(targets, (0.1, 1, 0.3), strict=True)
    ]
    traces = {
        "valence": {
            str(i): Trace(p, t) for i, (p, t) in enumerate(zip(predictions, targets, strict=True))
        }
    }
    found = measures(table_of(traces, ["valence"]), ["valence"])["ccc_valence"]
    p, t = np.concatenate(predictions), np.concatenate(targets)
    slow = 2 * np.mean((p - p.mean()) * (t - t.mean()))
    slow /= p.var() + t.var() + (p.mean() - t.mean()) ** 2
    assert found.value == pytest.approx(slow, abs=1e-12)


def test_shares_of_the_videos_add_up_to_the_whole_bit_for_bit(root):
    """What processes do among themselves (acceptance 24: evaluation statistics are exact)."""
    model = built()
    videos = val_set(root, model)
    whole = moments_table(model, videos, SMOOTHING)
    shares = [moments_table(model, videos, SMOOTHING, rank=rank, world=2) for rank in (0, 1)]
    np.testing.assert_array_equal(sum(shares), whole)


def test_evaluation_is_that_of_the_slow_way(root):
    """Raw predictions of each video alone, smoothed by hand, concatenated."""
    model = built()
    videos = val_set(root, model)
    found = evaluate([model], [videos], SMOOTHING)
    raw = dict(infer(model, videos))
    for column, target in enumerate(("valence", "arousal")):
        reach = (3, 1)[column]
        pairs = []
        for index, video in enumerate(videos.videos):
            p = raw[index][:, column]
            smooth = [p[max(0, t - reach) : t + reach + 1].mean() for t in range(len(p))]
            pairs.append((np.clip(smooth, -1, 1), video.labels.values[:, column].astype(float)))
        p, t = (np.concatenate(part) for part in zip(*pairs, strict=True))
        slow = 2 * np.mean((p - p.mean()) * (t - t.mean()))
        slow /= p.var() + t.var() + (p.mean() - t.mean()) ** 2
        assert found.measures[f"smoothed_ccc_{target}"].value == pytest.approx(slow, abs=1e-9)
    values = found.measures
    mean = (values["ccc_valence"].value + values["ccc_arousal"].value) / 2
    assert values["ccc"].value == pytest.approx(mean, abs=1e-12)
    assert isinstance(values["ccc"].reason, str)  # three videos are too few for an interval


def test_intervals_are_over_videos(root):
    """Ten copies of one video are one person: no spread, however many frames."""
    draw = np.random.default_rng(1)
    label = draw.uniform(-1, 1, 50)
    one = Trace(label * 0.7 + draw.normal(0, 0.2, 50), label)
    table = table_of({"valence": {str(i): one for i in range(10)}}, ["valence"])
    found = measures(table, ["valence"])["ccc_valence"]
    assert found.low == pytest.approx(found.value, abs=1e-9)
    assert found.high == pytest.approx(found.value, abs=1e-9)
    assert len(MeanConcordance(table[:, 0])) == 10


def test_the_mean_of_several_networks_is_judged(root):
    models = [built(), built(target="both")]
    torch.nn.init.constant_(models[1].reg.fc_out.bias, 0.3)
    videos = [val_set(root, model) for model in models]
    found = evaluate(models, videos, SMOOTHING)
    alone = [dict(predict_videos(m, v, SMOOTHING)) for m, v in zip(models, videos, strict=True)]
    expected = np.mean([of[0]["valence"].prediction for of in alone], axis=0)
    np.testing.assert_allclose(found.traces["valence"]["u"].prediction, expected, atol=1e-12)


def test_a_prediction_that_is_not_finite_names_video_and_frame(root):
    model = built()
    with torch.no_grad():
        model.reg.fc_out.bias[1] = float("nan")
    with pytest.raises(NonFiniteError, match="video v, frame 0"):
        evaluate([model], [val_set(root, model)], SMOOTHING)


def command(root, tmp_path, *words, model=None):
    (model or built()).save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    line = ["evaluate", "--checkpoint", str(tmp_path / "model"), "--data", str(root)]
    return main([*line, "--out", str(out), "--device", "cpu", *words]), out


def result_files(out):
    return {path.name for path in out.glob("*_pred_*")}


SIX = ("val_pred_{}_nosmooth_ori.json", "val_pred_{}_nosmooth.json", "val_pred_{}_smooth.json",
       "val_pred_{}_result.txt", "tst_pred_{}_nosmooth.json", "tst_pred_{}_smooth.json")  # fmt: skip


def test_acceptance_19_evaluate_writes_six_files_per_target_on_the_cpu(root, tmp_path):
    status, out = command(root, tmp_path)
    assert status == 0
    assert result_files(out) == {
        name.format(target) for name in SIX for target in ("valence", "arousal")
    }
    told = json.loads((out / "evaluation.json").read_text())
    assert {"ccc", "ccc_valence", "smoothed_ccc_arousal", "pcc_valence", "rmse_arousal"} <= set(
        told
    )
    text = (out / "val_pred_valence_result.txt").read_text().split("\n")
    assert float(text[2].split("\t")[1]) == pytest.approx(
        told["smoothed_ccc_valence"]["value"], abs=1e-9
    )
    assert text[3] == "setting window:\t50"
    assert "Measures" in (out / "report.html").read_text()
    labels = read_traces(out / "val_pred_arousal_smooth.json")["u"].label
    expected = split_videos(root, "val")[0].labels.values[:, 1]
    np.testing.assert_allclose(labels, expected, atol=1e-7)


@pytest.mark.parametrize("how", ["there is none", "--no-test"])
def test_acceptance_19_runs_without_a_test_set(root, tmp_path, how):
    for feature in WIDTHS:
        features_path(root, "test", feature).unlink()
    if how == "there is none":
        (root / "targets" / "test_valid_targets.h5").unlink()
    words = [how] if how.startswith("--") else []
    status, out = command(root, tmp_path, *words, model=built(target="arousal"))
    assert status == 0
    assert result_files(out) == {name.format("arousal") for name in SIX if "tst" not in name}


def test_q40_windows_in_seconds_follow_each_videos_rate(tmp_path):
    source = tmp_path / "tables"
    source.mkdir()
    for name in ("a", "b"):
        lines = [f"{k / 40},{math.sin(k)},{math.cos(k)}" for k in range(40)]
        (source / f"{name}.csv").write_text("AU01,valence,arousal\n" + "\n".join(lines) + "\n")
    words = ["--features", "au=AU01,AU01", "--val", "b", "--frames-per-second", "12"]
    root = tmp_path / "root"
    line = ["prepare", "tables", "--tables", str(source), "--data", str(root)]
    assert main([*line, *words[:1], "au=AU*", *words[2:]]) == 0
    labels = split_videos(root, "val")[0].labels
    assert labels.frames_per_second == 12
    assert Smoothing().window("valence", labels.frames_per_second) == 20
    assert Smoothing().window("arousal", labels.frames_per_second) == 8
    assert Smoothing().window("valence", 30) == 50
    assert Smoothing().window("arousal", 30) == 20


def test_q20_compat_counts_padding_in_the_statistics_of_a_video(root):
    """The authors' `batch`: over the video and the zeros up to the longest of its batch."""
    lengths = {"u": 30, "v": 44, "w": 17}
    videos = VideoSet(
        root, split_videos(root, "val"), ("voice",), normalise=("voice",), method="batch"
    )
    plain = VideoSet(root, split_videos(root, "val"), ("voice",))
    for index, length in enumerate(lengths.values()):
        padded = np.zeros((44, 3))
        padded[:length] = plain.read(index, 0, length)
        expected = (padded - padded.mean(axis=0)) / padded.std(axis=0, ddof=1)
        found = videos.read(index, 0, 44, padded_to=44)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(
            videos.read(index, 10, 44, padded_to=44), expected[10:], atol=1e-5
        )
        if length < 44:
            assert np.abs(found[length:]).min() > 0  # the padded rows are no zeros any more
        alone = videos.read(index, 0, length)
        assert np.abs(alone.mean(axis=0)).max() < 1e-5


def test_q20_the_networks_of_the_authors_see_that_padding(root):
    """Inference by whole padded batches equals the network on features that are padded by hand."""
    compat = Compat(padding=True, norm_padding=True)
    model = built(normalise=("face", "voice"), norm_method="batch", compat=compat)
    videos = val_set(root, model)
    raw = VideoSet(root, split_videos(root, "val"), tuple(WIDTHS))
    padded = np.zeros((3, 44, 8), np.float32)
    for index, length in enumerate((30, 44, 17)):
        padded[index, :length] = raw.read(index, 0, length)
    padded = (padded - padded.mean(axis=1, keepdims=True)) / padded.std(1, ddof=1, keepdims=True)
    with torch.no_grad():
        present = torch.ones(3, 44, dtype=torch.bool)
        expected = model.forward_videos(torch.from_numpy(padded), present).numpy()
    for index, found in infer(model, videos):
        np.testing.assert_allclose(found, expected[index, : len(found)], atol=1e-4)
    with pytest.raises(ConfigError, match=r"compat\.padding beside it"):
        Compat(norm_padding=True)


def test_moments_of_a_video_without_labels_are_refused():
    with pytest.raises(ValueError, match="without labels"):
        moments(Trace(np.zeros(3)))
