"""Training in one process: what is learnt, what is clipped, what is left out, what is refused."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from typing import get_args

import h5py
import pytest
import torch

from abaw_va import cli
from abaw_va.config import Compat, FclstmXl, LossName, Transformer
from abaw_va.data.layout import NOT_ANNOTATED, features_path, targets_path
from abaw_va.data.training import training_loader, video_sets
from abaw_va.evaluate import measures, moments_table
from abaw_va.learner import VaLearner, train
from abaw_va.model.network import VaModel
from abaw_va.synthetic import write_random_root
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.weights import load_weights
from shared_core.data.loader import Position
from shared_core.errors import DataError, RunFolderError, UsageError
from shared_core.launch.accelerator import accelerator
from shared_core.reporting.events import read
from shared_core.training.hands import Hands

KINDS = ("transformer", "transformer-lstm", "transformer-attention", "fclstm-xl")

pytestmark = pytest.mark.usefixtures("no_report")


def events(run, kind="train"):
    return [event for event in read(run) if event["kind"] == kind]


def losses(run):
    return [event["loss"] for event in events(run)]


def learner_and_batches(config):
    """A learner on the CPU, and its first two micro-batches."""
    train_set, val_set = video_sets(config)
    learner = VaLearner(config, train_set, val_set)
    loader = training_loader(config, train_set, carries_state=learner.network.carries_state)
    stream = loader.after(Position())
    return learner, [next(stream)[1][0] for _ in range(2)]


@pytest.fixture
def own_root(tiny_root, tmp_path):
    """A copy of the data root that a test may spoil."""
    return shutil.copytree(tiny_root, tmp_path / "root")


def spoil_feature(root, video, row, column=2):
    with h5py.File(features_path(root, "train", "face"), "r+") as file:
        file[f"{video}/fts"][row, column] = math.nan


def take_labels_away(root, split, videos):
    with h5py.File(targets_path(root, split), "r+") as file:
        for video in videos:
            for target in ("valence", "arousal"):
                file[f"{video}/{target}"][:] = NOT_ANNOTATED


# --- what is learnt -------------------------------------------------------------------------------

WIDE = {"hidden_size": 32, "regressor": (32,), "chunk_length": 50, "dropout": 0.0}
WIDE_ATTENDING = {**WIDE, "layers": 1, "heads": 4, "ffn_width": 64, "encoder_dropout": 0.0}


@pytest.mark.parametrize(
    "model",
    [Transformer(**WIDE_ATTENDING), FclstmXl(**WIDE)],
    ids=lambda model: type(model).__name__,
)
def test_acceptance_28_a_linear_target_is_learnt_in_200_updates(tiny, tmp_path, model):
    """4 videos whose labels are a linear function of their features: train CCC above 0.9."""
    lengths = {"a": 100, "b": 80, "c": 100, "d": 60}
    root = tmp_path / "root"
    write_random_root(
        root, {"train": lengths, "val": {"e": 20}}, {"face": 5, "voice": 3}, linear=True
    )
    config = tiny("transformer", data=root, run=tmp_path / "run", lr=1e-3)
    config = replace(
        config, model=model, max_steps=200, evaluate_every=200, save_every=200, init_gain=0.2
    )
    train(config)
    network = VaModel.from_pretrained(config.run / "model").eval()
    train_set, _ = video_sets(config)
    table = moments_table(network, train_set, config.smoothing)
    found = measures(table, config.target_names)["ccc"].value
    print("train CCC", found)
    assert found > 0.9


@pytest.mark.parametrize("name", get_args(LossName))
def test_every_loss_falls_when_it_is_followed(tiny, tmp_path, name):
    config = tiny(
        "transformer",
        run=tmp_path,
        losses=(name,),
        lr=1e-2,
        head="distribution" if name == "ce" else "regression",
    )
    learner, (batch, _) = learner_and_batches(config)
    values = []
    for _ in range(6):
        outcome = learner.loss(batch)
        assert set(outcome.logs) == {name}
        learner.optimizer.zero_grad()
        outcome.loss.backward()
        learner.optimizer.step()
        values.append(float(outcome.loss.detach()))
    assert all(math.isfinite(value) for value in values)
    assert values[-1] < values[0]


def test_the_objective_is_the_weighted_sum_of_its_losses(tiny, tmp_path):
    config = tiny(
        "fclstm-xl", run=tmp_path / "run", losses=("mse", "batch_vccc"), loss_weights=(0.5, 2.0)
    )
    train(replace(config, max_steps=4))
    for event in events(config.run):
        assert event["loss"] == pytest.approx(0.5 * event["mse"] + 2.0 * event["batch_vccc"])


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "distribution", "losses": ("ce", "batch_ccc"), "loss_weights": (0.1, 1.0)},
        {"target": "arousal", "losses": ("accc",)},
        {"compat": Compat(sampler=True, padding=True, ccc_padding=True, init=True)},
        {"normalise": ("voice",), "norm_method": "batch"},
    ],
    ids=["distribution", "one target", "the authors' way", "normalised"],
)
@pytest.mark.parametrize("kind", ["transformer", "transformer-attention"])
def test_a_network_of_another_design_trains_and_comes_back(tiny, tmp_path, kind, changes):
    config = tiny(kind, run=tmp_path / "run", max_steps=6, batch_size=3, **changes)
    train(config)
    assert len(losses(config.run)) == 6
    model = VaModel.from_pretrained(config.run / "model")
    assert model.config.target_names == config.target_names
    assert set(events(config.run, "evaluate")[-1]["measures"]) >= {"ccc", "smoothed_ccc"}


@pytest.mark.parametrize("kind", ["transformer-lstm", "transformer-attention"])
def test_the_authors_groups_of_videos_may_shrink(tiny, tmp_path, kind):
    """7 videos in groups of 3, 3 and 1: no state of the larger group is carried into the smaller."""
    config = tiny(
        kind, run=tmp_path / "run", batch_size=3, accumulate=2, compat=Compat(sampler=True)
    )
    train(config)
    assert events(config.run)[-1]["epoch"] >= 1


def test_a_fold_trains_on_the_others_and_the_validation_set(tiny, own_root, tmp_path):
    folds = {"folds": [["a", "b"], ["c", "d", "e"], ["f", "g"]]}
    (own_root / "targets" / "folds.json").write_text(json.dumps(folds))
    config = tiny("fclstm-xl", data=own_root, run=tmp_path / "run", fold=2, max_steps=3)
    train_set, val_set = video_sets(config)
    assert [video.id for video in train_set.videos] == ["a", "b", "f", "g", "u", "v", "w"]
    assert [video.id for video in val_set.videos] == ["c", "d", "e"]
    train(config)
    assert len(losses(config.run)) == 3


# --- the same again -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_27_equal_seeds_give_equal_losses(tiny, tmp_path, kind):
    """Two runs, one of which evaluates after every update; whatever was drawn before them."""
    once = tiny(kind, run=tmp_path / "once", dropout=0.3, evaluate_every=20, save_every=20)
    train(once)
    torch.rand(7)
    train(replace(once, run=tmp_path / "again", evaluate_every=1))
    assert len(set(losses(once.run))) == 20
    assert losses(tmp_path / "again") == losses(once.run)
    assert len(events(tmp_path / "again", "evaluate")) == 20
    other = replace(once, run=tmp_path / "other", seed=1, max_steps=1)
    train(other)
    assert losses(other.run) != losses(once.run)[:1]


# --- clipping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", ["global", "per-network"])
def test_the_gradient_is_clipped_as_a_whole_or_part_by_part(tiny, tmp_path, clip):
    """A step of plain gradient descent at rate 1 is as long as the clipped gradient."""
    config = tiny("transformer-lstm", run=tmp_path, clip=clip)
    learner, (batch, _) = learner_and_batches(config)
    learner.optimizer = torch.optim.SGD(learner.model.parameters(), lr=1.0)
    connected = accelerator(config)
    learner.prepare(connected)
    before = [part.detach().clone() for part in learner.network.parameters()]
    hands = Hands(connected, clip_norm=1e-3)
    norm = learner.update([batch], hands).logs["gradient_norm"]
    after = learner.network.parameters()
    moved = {
        id(new): float((new.detach() - old).norm()) for new, old in zip(after, before, strict=True)
    }

    def length(module):
        return math.hypot(*(moved[id(part)] for part in module.parameters()))

    parts = {name: length(module) for name, module in learner.network.named_children()}
    assert norm > 1e-2
    if clip == "per-network":
        assert set(parts) == {"fc", "te", "lstm", "reg"}
        assert list(parts.values()) == pytest.approx([1e-3] * 4, rel=1e-2)
    else:
        assert length(learner.network) == pytest.approx(1e-3, rel=1e-2)


# --- what does not count --------------------------------------------------------------------------


def test_one_video_trains_and_says_so_once(tiny, tmp_path, capsys):
    root = tmp_path / "root"
    write_random_root(root, {"train": {"a": 90}, "val": {"b": 20}}, {"face": 5, "voice": 3})
    config = tiny("transformer", data=root, run=tmp_path / "run", max_steps=4)
    train(config)
    assert capsys.readouterr().out.count("one training video") == 1
    assert len(losses(config.run)) == 4


def test_several_videos_are_not_remarked_on(tiny, tmp_path, capsys):
    train(tiny("transformer", run=tmp_path / "run", max_steps=1))
    assert "training video" not in capsys.readouterr().out


def test_a_batch_with_nothing_annotated_changes_no_weight(tiny, own_root, tmp_path):
    """Videos b and d have no annotation at all; of one stream, their chunks make whole batches."""
    take_labels_away(own_root, "train", "bd")
    config = tiny(
        "fclstm-xl", data=own_root, run=tmp_path / "run", batch_size=1, save_every=1, keep_last=50
    )
    config = replace(config, max_steps=21, evaluate_every=21)
    train(config)
    left_out = [event["step"] for event in events(config.run) if event.get("left_out")]
    assert len(left_out) == 3 + 5  # chunks of 16 frames in 33 and in 70
    store = Store(config.run / "checkpoints")
    weights = {
        step: load_weights(store.at(step).folder / "model.safetensors") for step in store.steps()
    }
    for step in range(2, 22):
        same = all(weights[step][name].equal(value) for name, value in weights[step - 1].items())
        assert same == (step in left_out)


def test_frames_without_annotation_do_not_count(tiny, own_root, tmp_path):
    """The loss of a batch is that of its annotated frames, whatever the others are predicted as."""
    with h5py.File(targets_path(own_root, "train"), "r+") as file:
        for video in file:
            for target in ("valence", "arousal"):
                file[f"{video}/{target}"][::2] = NOT_ANNOTATED
    config = tiny("transformer", data=own_root, run=tmp_path, losses=("mse",))
    learner, (batch, _) = learner_and_batches(config)
    with torch.no_grad():
        found = learner.loss(batch).loss
        prediction = learner.model(batch.features, batch.present)[0]
    squares = (prediction - batch.target).square().mean(dim=-1)[batch.valid]
    assert 0 < len(squares) < int(batch.present.sum())
    assert float(found) == pytest.approx(float(squares.mean()), rel=1e-5)


# --- what is refused ------------------------------------------------------------------------------


def test_a_nan_feature_stops_the_run_before_its_update(tiny, own_root, tmp_path):
    spoil_feature(own_root, "f", 37)
    config = tiny("transformer-lstm", data=own_root, run=tmp_path / "run", save_every=1)
    with pytest.raises(
        DataError, match=r"train_face\.h5, video f, row 37.*NaN at column 2"
    ) as raised:
        train(config)
    assert raised.value.exit_status == 1
    steps = [event["step"] for event in events(config.run)]
    assert steps == [1, 2]  # row 37 is in the third chunk of its stream
    assert Store(config.run / "checkpoints").latest().step == 2


@pytest.mark.parametrize("kind", ["transformer", "transformer-lstm"])
def test_a_nan_feature_is_left_out_and_listed_on_request(tiny, own_root, tmp_path, kind):
    spoil_feature(own_root, "f", 37)
    config = tiny(kind, data=own_root, run=tmp_path / "run", on_bad_row="quarantine", save_every=4)
    train(config)
    assert len(losses(config.run)) == 20
    (row,) = json.loads((config.run / "quarantine.json").read_text())
    assert "video f, row 37" in row["message"]
    assert row["count"] >= 2  # once an epoch


@pytest.mark.parametrize("spoilt", ["undefined", "negative"])
def test_acceptance_22_a_run_without_a_good_score_keeps_its_checkpoints_and_a_model(
    tiny, tmp_path, spoilt
):
    root = tmp_path / "root"
    val = {"x": 1} if spoilt == "undefined" else {"x": 80, "y": 60}
    write_random_root(
        root,
        {"train": {"a": 100, "b": 80}, "val": val},
        {"face": 5, "voice": 3},
        linear=True,
    )
    if spoilt == "negative":
        for feature in ("face", "voice"):
            with h5py.File(features_path(root, "val", feature), "r+") as file:
                for video in file:
                    file[f"{video}/fts"][:] = -file[f"{video}/fts"][:]
    config = tiny("fclstm-xl", data=root, run=tmp_path / "run", lr=1e-2)
    config = replace(config, max_steps=60, evaluate_every=20, save_every=20)
    summary = train(config)
    scores = [event["measures"]["ccc"]["value"] for event in events(config.run, "evaluate")]
    store = Store(config.run / "checkpoints")
    assert store.steps() == [20, 40, 60]
    exported = VaModel.from_pretrained(config.run / "model").state_dict()
    if spoilt == "undefined":
        assert scores == [None] * 3
        assert (summary.best, summary.score) == (None, None)
        chosen = 60
    else:
        assert all(score < 0 for score in scores)
        assert summary.score == max(scores)
        chosen = summary.best
    weights = load_weights(store.at(chosen).folder / "model.safetensors")
    assert all(exported[name].equal(value) for name, value in weights.items())


def test_a_run_of_another_model_is_not_resumed(tiny, tmp_path):
    config = tiny("transformer", run=tmp_path / "run", max_steps=1)
    train(config)
    other = replace(config, model=replace(config.model, hidden_size=16), resume=True)
    with pytest.raises(RunFolderError, match=r"model\.hidden_size") as raised:
        train(other)
    assert raised.value.exit_status == 2
    with pytest.raises(RunFolderError, match=r"model\.kind"):
        train(replace(tiny("fclstm-xl", run=tmp_path / "run", max_steps=1), resume=True))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (["--batch-siz", "8"], "--batch-size"),
        (["--losses", "batch_cc"], "batch_ccc"),
        (["--features", "face", "voicee"], "voice"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(
    tiny_root, tmp_path, capsys, monkeypatch, line, hint
):
    words = ["train", "--data", str(tiny_root), "--run", str(tmp_path / "run"), *line]
    monkeypatch.setattr(sys, "argv", ["abaw-va", *words])
    assert cli.main() in (1, 2)
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_misspelt_loss_is_refused(tiny):
    with pytest.raises(UsageError, match="batch_ccc"):
        tiny("transformer", losses=("batch_cc",))
