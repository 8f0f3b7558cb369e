"""Training on one domain and on two: what runs, what is left alone, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import nn

from gaze_da import learner as learner_module
from gaze_da.config import Compat, Network, TrainConfig
from gaze_da.data.items import GazeDataset, collate
from gaze_da.data.splits import split_validation
from gaze_da.data.training import opened, people_of, training_loader
from gaze_da.learner import GazeLearner, train
from gaze_da.model.network import GazeModel
from shared_core.config import load_yaml, parse, to_dict
from shared_core.data.loader import ItemKey
from shared_core.errors import ConfigError, DataError, NonFiniteError
from shared_core.reporting.events import read
from shared_core.training.schedules import Progress

ADAPTED = {"head": {"head_da": True}, "depth": {"rgb_depth_da": True}}
ADAPTED["both"] = ADAPTED["head"] | ADAPTED["depth"]


@pytest.fixture
def adapted(tiny, goo_root):
    """Settings with a target: `adapted("both", run=...)`."""

    def settings(kind, **changes):
        target = {"target_dataset": "goo", "target_dataset_dir": goo_root}
        return tiny(**ADAPTED[kind], **target, **changes)

    return settings


def loader_of(config):
    source = opened(config, people_of(config, "source", "train").samples, training=True)
    target = None
    if config.adapts:
        target = opened(config, people_of(config, "target", "train").samples, training=True)
    return training_loader(config, source, target)


def learner_of(config):
    return GazeLearner(config, opened(config, people_of(config, "source", "test").samples))


def first_batch(config):
    return next(iter(loader_of(config).epoch()))[0]


def losses(run):
    return [event["loss"] for event in read(run) if event["kind"] == "train"]


@pytest.mark.parametrize("kind", ["head", "depth", "both"])
def test_acceptance_21_every_adaptation_trains(kind, adapted, tmp_path, no_report):
    config = adapted(kind, run=tmp_path, epochs=1)
    train(config)
    assert all(map(math.isfinite, losses(tmp_path)))
    (last,) = [e for e in read(tmp_path) if e["kind"] == "train"][-1:]
    terms = {name for name in last if name.endswith("_loss")}
    adversary = {"source_adv_loss", "target_adv_loss"}
    rebuilt = {f"{d}_{m}_rec_loss" for d in ("source", "target") for m in ("rgb", "depth")}
    expected = {"task_loss", "inout_loss"}
    expected |= adversary if kind != "depth" else set()
    expected |= rebuilt if kind != "head" else set()
    assert terms == expected
    model = GazeModel.from_pretrained(tmp_path)
    assert (model.config.head_da, model.config.rgb_depth_da) == (kind != "depth", kind != "head")


@pytest.mark.parametrize("kind", ["head", "depth", "both"])
def test_acceptance_21_branches_that_are_skipped_change_no_loss_and_no_gradient(kind, adapted):
    config = adapted(kind, run=Path("unused"))
    batch = first_batch(config)
    found = []
    for full in (False, True):
        learner = learner_of(replace(config, compat=Compat(full_target_pass=full)))
        learner.progress = Progress(steps_per_epoch=2, epochs=2, batch=1)
        learner.model.train()
        outcome = learner.loss(batch)
        outcome.loss.backward()
        gradients = {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None}
        found.append((outcome, gradients))
    (ours, ours_gradients), (full, full_gradients) = found
    assert ours.loss.item() == full.loss.item()
    assert {k: float(v) for k, v in ours.logs.items()} == {
        k: float(v) for k, v in full.logs.items()
    }
    assert ours_gradients.keys() == full_gradients.keys()
    for name, gradient in ours_gradients.items():
        torch.testing.assert_close(gradient, full_gradients[name], rtol=1e-5, atol=1e-7)


def test_the_strength_follows_the_run(adapted):
    config = adapted("head", run=Path("unused"))
    learner = learner_of(config)
    assert learner.strength(torch.zeros(4)) == 1.0  # outside of a run
    learner.progress = Progress(steps_per_epoch=3, epochs=70)
    assert learner.strength(torch.zeros(4)) == 0
    upstream = learner_of(replace(config, compat=Compat(alpha=True)))
    upstream.progress = Progress(steps_per_epoch=3, epochs=70)
    assert upstream.strength(torch.zeros(4)) == pytest.approx(0.0949512, abs=1e-7)
    assert upstream.strength(torch.zeros(0)) == 0  # rows of this process: it has none


def test_acceptance_17_nobody_looks_inside_and_the_weights_stay_finite(tiny, tmp_path, no_report):
    config = tiny(run=tmp_path / "run", epochs=1, inout_weight=0.0)
    root = tmp_path / "data"
    shutil.copytree(config.source_dataset_dir, root)
    path = root / "train_annotations_release.txt"
    rows = [row.split(",") for row in path.read_text().splitlines()]
    outside = [",".join([*f[:8], "-1", "-1", *f[10:14], "0", *f[15:]]) for f in rows]
    path.write_text("\n".join(outside) + "\n")
    train(replace(config, source_dataset_dir=root))
    assert set(losses(config.run)) == {0.0}
    weights = GazeModel.from_pretrained(config.run).state_dict().values()
    assert all(weight.isfinite().all() for weight in weights if weight.is_floating_point())


def test_rows_of_padding_enter_neither_loss_nor_statistics(tiny):
    config = tiny(run=Path("unused"))
    batch = first_batch(config)
    source = loader_of(config).dataset
    padding = source[ItemKey(0, 0, -1)]
    padded = collate([batch, padding, padding])
    found = []
    for one in (batch, padded):
        learner = learner_of(config)
        learner.model.train()
        loss = learner.loss(one).loss.item()
        found.append((loss, learner.network.scene_backbone.bn1.running_mean.clone()))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    learner = learner_of(config)
    learner.model.train()
    before = learner.network.scene_backbone.bn1.running_mean.clone()
    outcome = learner.loss(collate([padding, padding]))
    outcome.loss.backward()
    assert (outcome.skipped, outcome.loss.item()) == (True, 0.0)
    assert torch.equal(before, learner.network.scene_backbone.bn1.running_mean)
    assert learner.model.training


def test_a_frozen_branch_keeps_its_weights_and_statistics(tiny, tmp_path, no_report):
    def branch(run, compat):
        config = tiny(run=run, epochs=1, freeze_scene=True, compat=compat)
        before = learner_of(config).network.scene_backbone.state_dict()
        before = {name: value.clone() for name, value in before.items()}
        train(config)
        after = GazeModel.from_pretrained(run).scene_backbone.state_dict()
        return {name for name in before if not torch.equal(before[name], after[name])}

    assert branch(tmp_path / "kept", Compat()) == set()
    changed = branch(tmp_path / "theirs", Compat(frozen_statistics=True))
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)


def test_the_checkpoint_is_chosen_without_the_test_set(tiny, tmp_path, monkeypatch, no_report):
    seen = []
    create = GazeDataset.__init__

    def noted(self, samples, *rest, **named):
        seen.append({sample.group.partition("/")[0] for sample in samples})
        create(self, samples, *rest, **named)

    monkeypatch.setattr(GazeDataset, "__init__", noted)
    train(tiny(run=tmp_path / "run", epochs=1))
    assert {"test2"} not in seen
    seen.clear()
    train(tiny(run=tmp_path / "theirs", epochs=1, compat=Compat(select_on_test=True)))
    assert {"test2"} in seen


def test_the_test_set_is_scored_once_at_the_end(tiny, tmp_path, capsys):
    config = tiny(run=tmp_path, epochs=1, test=True)
    train(config)
    told = json.loads((tmp_path / "test.json").read_text())
    assert told["gazefollow"]["avg_dist"]["low"] <= told["gazefollow"]["avg_dist"]["value"]
    assert "Test set" in (tmp_path / "report.html").read_text()
    assert "test (gazefollow): auc" in capsys.readouterr().out
    (tmp_path / "test.json").write_text("{}")
    train(replace(config, resume=True))  # finished: nothing is done again
    assert (tmp_path / "test.json").read_text() == "{}"


def test_a_test_set_that_chose_the_checkpoint_is_not_scored_again(tiny, tmp_path, no_report):
    train(tiny(run=tmp_path, epochs=1, test=True, compat=Compat(select_on_test=True)))
    assert any(event["kind"] == "evaluate" for event in read(tmp_path))
    assert not (tmp_path / "test.json").exists()


def test_a_test_set_that_is_not_there_is_said_before_the_training(tiny, tmp_path):
    config = tiny(run=tmp_path / "run", test=True)
    root = tmp_path / "data"
    shutil.copytree(config.source_dataset_dir, root)
    (root / "test_annotations_release.txt").unlink()
    with pytest.raises(DataError, match=r"test_annotations_release\.txt"):
        train(replace(config, source_dataset_dir=root))
    assert not config.run.exists()


def test_a_test_set_is_scored_on_all_rows_whatever_was_trained_on(
    tiny, vat_root, tmp_path, monkeypatch, no_report
):
    scored = []
    real = learner_module.score_test

    def noted(config, dataset):
        scored.append(len(dataset))
        real(config, dataset)

    monkeypatch.setattr(learner_module, "score_test", noted)
    source = {"source_dataset": "videoattentiontarget", "source_dataset_dir": vat_root}
    train(tiny(run=tmp_path, epochs=1, test=True, vat_fraction=0.5, vat_smoothing=False, **source))
    assert scored == [48]  # two shows, two people, twelve frames
    assert set(json.loads((tmp_path / "test.json").read_text())) == {"vat", "vat-gazelle"}


def test_bad_rows_of_target_and_validation_are_left_out_and_listed(
    adapted, gazefollow_root, tmp_path, no_report
):
    sources, targets = tmp_path / "sources", tmp_path / "targets"
    shutil.copytree(gazefollow_root, sources)
    shutil.copytree(gazefollow_root, targets)
    annotations = targets / "train_annotations_release.txt"
    annotations.write_text(annotations.read_text() + "train/00000000/00000000.jpg,0,0.1\n")
    config = adapted(
        "head",
        run=tmp_path / "run",
        epochs=1,
        val_fraction=0.8,
        source_dataset_dir=sources,
    )
    config = replace(config, target_dataset="gazefollow", target_dataset_dir=targets)
    people = people_of(config, "source", "train").samples
    _, val = split_validation(people, config.val_fraction, config.seed)
    broken = next(s for s in val if sum(other.image == s.image for other in val) == 1)
    Path(broken.image).write_bytes(b"no picture")
    with pytest.raises(DataError, match="targets"):
        train(config)
    train(replace(config, run=tmp_path / "lenient", on_bad_row="quarantine"))
    listed = json.loads((tmp_path / "lenient" / "quarantine.json").read_text())
    assert {Path(row["path"]) for row in listed} == {annotations, Path(broken.image)}


def test_training_lowers_the_loss(tiny, tmp_path, no_report):
    train(tiny(run=tmp_path, epochs=12, task_weight=100.0, inout_weight=0.0))
    found = losses(tmp_path)
    quarter = len(found) // 4
    assert sum(found[-quarter:]) < 0.7 * sum(found[:quarter])


def test_a_loss_that_is_not_finite_names_the_people_and_changes_nothing(
    tiny, tmp_path, monkeypatch, no_report
):
    config = tiny(run=tmp_path, epochs=1)
    real = GazeLearner.loss
    calls = []

    def broken(self, batch):
        outcome = real(self, batch)
        calls.append(batch.names)
        return replace(outcome, loss=outcome.loss * math.nan) if len(calls) == 2 else outcome

    monkeypatch.setattr(GazeLearner, "loss", broken)
    with pytest.raises(NonFiniteError) as raised:
        train(config)
    assert all(name in str(raised.value) for name in calls[1])


@pytest.mark.parametrize("source", ["videoattentiontarget", "goo"])
def test_other_sources_train(source, tiny, vat_root, goo_root, tmp_path, no_report):
    root = {"videoattentiontarget": vat_root, "goo": goo_root}[source]
    config = tiny(run=tmp_path, epochs=1, source_dataset=source, source_dataset_dir=root, test=True)
    train(config)
    (protocol, *_) = json.loads((tmp_path / "test.json").read_text())
    assert protocol == {"videoattentiontarget": "vat", "goo": "goo"}[source]


def test_everything_as_the_authors_do_it_runs(adapted, tmp_path, no_report):
    plain = adapted("both", run=tmp_path, epochs=1)
    line = ["--config", "upstream", "--source-dataset-dir", str(plain.source_dataset_dir)]
    preset = parse(TrainConfig, line, program="gaze-da train", presets="gaze_da")
    assert all(vars(preset.compat).values())
    assert (preset.inout_weight, preset.vat_fraction, preset.clip_norm) == (0.0, 0.2, None)
    train(replace(plain, compat=preset.compat, sync_batch_norm=False, inout_weight=0.0))
    assert not GazeModel.from_pretrained(tmp_path).config.inout_trained


@pytest.mark.parametrize(
    ("preset", "source", "target"),
    [
        ("gazefollow", "gazefollow", None),
        ("videoattentiontarget", "videoattentiontarget", None),
        ("goo", "goo", None),
        ("gazefollow-to-goo", "gazefollow", "goo"),
        ("upstream", "gazefollow", None),
    ],
)
def test_presets_carry_the_authors_settings(preset, source, target):
    text = (files("gaze_da") / "presets" / f"{preset}.yaml").read_text()
    places = "source_dataset_dir: here\ntarget_dataset_dir: there\n"
    config = load_yaml(TrainConfig, places + text)
    assert (config.source_dataset, config.target_dataset) == (source, target)
    assert (config.epochs, config.batch_size, config.lr) == (70, 48, 2.5e-4)
    assert (config.clip_norm, config.network) == (None, Network())
    assert (config.head_da, config.rgb_depth_da) == (target is not None,) * 2
    assert set(to_dict(config.compat).values()) == {preset == "upstream"}
    assert "not measured" in text.partition("\n\n")[0].lower()


def test_initial_weights_are_laid_over(tiny, tmp_path):
    config = tiny(run=Path("unused"), seed=1)
    other = learner_of(config).network
    with torch.no_grad():
        for weight in other.parameters():
            nn.init.constant_(weight, 0.125)
    other.save_pretrained(tmp_path / "model")
    learner = learner_of(replace(config, init_weights=tmp_path / "model"))
    assert all((weight == 0.125).all() for weight in learner.network.parameters())
    assert learner.notes == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_da": True}, "target_dataset_dir: expected the data to adapt to"),
        ({"lr": 0.0}, "lr: expected a number above 0"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"task_weight": -1.0}, "task_weight"),
        ({"vat_fraction": 0.0}, "vat_fraction"),
        ({"compat": Compat(colour_order=True), "reduced_decoding": True}, "reduced_decoding"),
        ({"compat": Compat(jitter_leak=True), "workers": 2}, "workers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_contradict_one_another_are_refused(tiny, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny(run=Path("unused"), **changes)


def test_narrow_networks_are_refused_in_the_order_that_crashes(tiny):
    config = tiny(run=Path("unused"))
    with pytest.raises(ConfigError, match="channels_last"):
        replace(config, channels_last=True, network=replace(config.network, width=8))


def test_a_data_set_that_is_not_there_is_said(tiny, tmp_path):
    with pytest.raises(DataError, match=r"train_annotations_release\.txt"):
        train(tiny(run=tmp_path / "run", source_dataset_dir=tmp_path))
