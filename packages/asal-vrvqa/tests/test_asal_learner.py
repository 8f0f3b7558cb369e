"""Updates, tasks and strategies: against steps written out, and what each strategy is for."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from asal_vrvqa.config import STRATEGIES, Compat, Replay
from asal_vrvqa.data.items import normalised
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.data.splits import stream_of
from asal_vrvqa.learner import StreamLearner, train, training_loader, warnings
from asal_vrvqa.method.losses import mse_loss, plcc_loss
from asal_vrvqa.model.initial import initialise
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.runs import read_run, write_task
from asal_vrvqa.scoring import score_clips, store_of
from asal_vrvqa.strategies import strategy
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.tree import load_tree
from shared_core.launch.accelerator import accelerator as connect
from shared_core.reporting.events import read
from shared_core.training.hands import Hands
from shared_core.training.schedules import Progress


class Bench:
    """A learner outside of a run, whose updates are made by hand."""

    def __init__(self, config):
        self.config = config
        clips = read_clips(config.labels, config.scale)
        self.learner = StreamLearner(config, stream_of(config, clips))
        accelerator = connect(config)
        self.learner.prepare(accelerator)
        self.learner.model.train()
        self.hands = Hands(accelerator, clip_norm=config.clip_norm)
        self.loader = training_loader(self.learner)

    def at(self, epoch, batch=0):
        """The micro-batches of an update, with the learner standing before it."""
        batches = list(self.loader.epoch(epoch))
        epochs = self.config.epochs * len(self.learner.stream.stages)
        self.learner.progress = Progress(
            epoch=epoch, batch=batch, steps_per_epoch=len(batches), epochs=epochs
        )
        return batches[batch]

    def update(self, epoch, batch=0):
        self.hands.start("here")
        return self.learner.update(self.at(epoch, batch), self.hands)

    def task(self, number):
        """All updates of a task."""
        for epoch in range(number * self.config.epochs, (number + 1) * self.config.epochs):
            for batch in range(len(list(self.loader.epoch(epoch)))):
                self.update(epoch, batch)


@pytest.fixture
def bench(tiny, tmp_path):
    return lambda **changes: Bench(tiny(run=tmp_path / "run", **changes))


def weights(learner):
    return {name: p.detach().clone() for name, p in learner.network.named_parameters()}


def rates(config, count):
    learner = StreamLearner.__new__(StreamLearner)
    learner.config = config
    return [
        learner.schedule(Progress(epoch=e, steps_per_epoch=1, epochs=count)) * config.lr
        for e in range(count)
    ]


def test_acceptance_17_the_rate_begins_anew_with_each_task(tiny):
    plain = rates(tiny(epochs=15, lr=1e-4), 45)
    assert plain[0] == plain[15] == plain[30] == 1e-4
    assert plain[14] == pytest.approx(1e-4 * 0.75**7)
    carried = rates(tiny(epochs=15, lr=1e-4, compat=Compat(lr_carry_over=True)), 75)
    assert carried[15] == pytest.approx(1.3348e-5, rel=1e-4)
    starts = [carried[15 * task] for task in range(5)]
    assert starts == pytest.approx([1e-4, 1.33e-5, 1.78e-6, 2.4e-7, 3.2e-8], rel=0.02)
    assert carried[-1] == pytest.approx(4.2e-9, rel=0.02)


def test_acceptance_22_two_steps_written_out(bench):
    """Current clips, then stored ones, with given key frames, noise and slots."""
    made = bench(replay=Replay(buffer_size=6, minibatch=3, beta=0.3))
    made.task(0)
    learner = made.learner
    memory = learner.strategy.memory
    (batch,) = made.at(2)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 7, generator=draw)
    replay_noise = torch.randn(2, 7, generator=draw)
    slow = QualityModel(learner.network.config)
    slow.load_state_dict(learner.network.state_dict())
    adam = torch.optim.Adam(slow.parameters(), lr=made.config.lr, weight_decay=1e-7)
    adam.load_state_dict(copy.deepcopy(learner.optimizer.state_dict()))
    slow.train()

    def loss_of(score, target):
        return 0.01 * mse_loss(score, target) + plcc_loss(score, target)

    frames = normalised(batch.frames)
    features = slow.feature_extractor(frames)
    scored = slow.regressor(features, noise)
    adapted = slow.adapter(features[:, [0, 3, 6]])
    first = loss_of(scored.score.mean(dim=1), batch.score)
    first = first + 0.3 * ((adapted - features) ** 2).mean()
    first.backward()
    adam.step()
    adam.zero_grad()
    kept = memory["frames"][[1, 0]]
    stored = slow.regressor(slow.adapter(slow.feature_extractor(normalised(kept))), replay_noise)
    second = loss_of(stored.score.mean(dim=1), memory["score"][[1, 0]])
    second.backward()
    adam.step()

    learner.fix(noise=noise, key_frames=(0, 3, 6), slots=(1, 0), replay_noise=replay_noise)
    outcome = made.update(2)
    assert float(outcome.loss) == pytest.approx(first.item(), abs=1e-6)
    assert float(outcome.logs["replay_loss"]) == pytest.approx(second.item(), abs=1e-6)
    for (name, a), b in zip(learner.network.named_parameters(), slow.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name
    for (name, a), b in zip(learner.network.named_buffers(), slow.buffers(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_one_joint_step_has_one_correlation_over_both(bench):
    made = bench(replay=Replay(buffer_size=6, minibatch=3, beta=0.0, joint_step=True))
    made.task(0)
    learner = made.learner
    (batch,) = made.at(2)
    learner.fix(noise=torch.zeros(4, 7), slots=(0, 1), replay_noise=torch.zeros(2, 7))
    before = learner.optimizer.state_dict()["state"][0]["step"].item()
    slow = QualityModel(learner.network.config)
    slow.load_state_dict(learner.network.state_dict())
    slow.train()
    with torch.no_grad():
        current = slow(normalised(batch.frames)).score
        stored = slow(normalised(learner.strategy.memory["frames"]), from_key_frames=True).score
    scores = torch.cat([current, stored])
    labels = torch.cat([batch.score, learner.strategy.memory["score"]])
    expected = 0.01 * mse_loss(scores, labels) + plcc_loss(scores, labels)
    outcome = made.update(2)
    assert float(outcome.loss) == pytest.approx(expected.item(), abs=1e-5)
    assert learner.optimizer.state_dict()["state"][0]["step"].item() == before + 1


def test_asal_keeps_key_frames_of_clips_spread_over_the_scores(bench):
    made = bench()
    made.task(0)
    learner, memory = made.learner, made.learner.strategy.memory
    scores = sorted(learner.train_clips[i].score for i in learner.items_of(0))
    assert memory["score"].tolist() == pytest.approx([scores[0], scores[-1]], abs=1e-6)
    assert memory["frames"].shape == (2, 3, 64, 64, 3)
    assert memory["frames"].dtype == torch.uint8
    assert memory["task"].tolist() == [0, 0]
    made.task(1)
    assert memory["task"].tolist() == [0, 0, 1, 1]


def test_the_adapters_loss_can_spare_the_features(bench):
    """Detached, its gradient reaches the features only through the adapter's input."""
    slopes = []
    for detached in (False, True):
        replay = Replay(buffer_size=6, beta=1.0, adapter_detach=detached)
        made = bench(replay=replay, mse_weight=0.0, plcc_weight=0.0)
        (batch,) = made.at(0)
        outcome = made.learner.loss(batch)
        outcome.loss.backward()
        slopes.append(made.learner.network.feature_extractor.backbone.conv1.weight.grad.clone())
        assert made.learner.network.adapter.T.grad.abs().max() > 0
    assert not torch.allclose(*slopes, rtol=1e-2)


def test_er_fills_its_memory_with_clips_as_they_were_seen(bench):
    made = bench(strategy="er")
    (batch,) = made.at(0)
    outcome = made.update(0)
    assert "replay_loss" not in outcome.logs
    memory = made.learner.strategy.memory
    assert len(memory) == 4
    assert {tuple(f.flatten().tolist()) for f in memory["frames"][:, 0]} == {
        tuple(f.flatten().tolist()) for f in batch.frames[:, 0]
    }
    assert "replay_loss" in made.update(0, 1).logs
    seen = memory.seen
    made.update(1)
    assert memory.seen == seen  # a second epoch offers nothing


def test_der_holds_the_network_to_what_it_said(bench):
    made = bench(strategy="der")
    made.update(0)
    strategy_ = made.learner.strategy
    with torch.no_grad():
        network = made.learner.network.eval()
        said = network(normalised(strategy_.memory["frames"])).score
    assert torch.allclose(strategy_.memory["said"], said, atol=1e-5)
    made.learner.network.train()
    assert "distillation_loss" in made.update(0, 1).logs


def test_derpp_adds_the_labels(bench):
    made = bench(strategy="derpp", replay=Replay(buffer_size=6, minibatch=2))
    made.update(0)
    logs = made.update(0, 1).logs
    assert {"score_loss", "distillation_loss", "replay_loss"} <= set(logs)


def test_lwf_distils_from_the_network_before_the_task(bench):
    made = bench(strategy="lwf")
    made.task(0)
    before = {n: t.clone() for n, t in made.learner.network.state_dict().items()}
    assert "distillation_loss" in made.update(2).logs
    old = made.learner.strategy.old.state_dict()
    assert all(torch.equal(before[name], old[name]) for name in before)
    made.update(2, 1)
    assert all(torch.equal(before[n], t) for n, t in made.learner.strategy.old.state_dict().items())


def test_ewc_is_the_mean_squared_slope_and_pulls_back(bench):
    made = bench(strategy="ewc", replay=Replay(ewc_lambda=1e4))
    made.task(0)
    learner = made.learner
    strategy_ = learner.strategy
    network = learner.network.eval()
    slopes = []
    for item in learner.items_of(0):
        network.zero_grad()
        network(normalised(learner.plain(item).frames)).score.sum().backward()
        slopes.append(network.regressor.fc1.weight.grad.clone() ** 2)
    found = strategy_.importance["regressor.fc1.weight"]
    assert torch.allclose(found, torch.stack(slopes).mean(dim=0), rtol=1e-4, atol=1e-10)
    network.train()
    network.zero_grad()
    assert float(made.update(2).logs["penalty"]) == 0
    assert float(made.update(2, 1).logs["penalty"]) > 0


def test_si_measures_the_way_of_the_weights(bench):
    made = bench(strategy="si", replay=Replay(si_xi=0.1))
    learner = made.learner
    start, way = weights(learner), None
    for batch in range(2):
        before = weights(learner)
        (rows,) = made.at(0, batch)
        if batch == 0:
            learner.strategy.begin(0)
        learner.loss(rows).loss.backward()
        slope = {n: p.grad.clone() for n, p in learner.network.named_parameters()}
        learner.network.zero_grad()
        made.hands.start("here")
        learner.strategy.update([rows], made.hands)
        after = weights(learner)
        moved = {n: -slope[n] * (after[n] - before[n]) for n in slope}
        way = moved if way is None else {n: way[n] + moved[n] for n in way}
    name = "regressor.fc1.weight"
    assert torch.allclose(learner.strategy.way[name], way[name], rtol=1e-2, atol=1e-9)
    learner.strategy.end(0)
    now = weights(learner)[name]
    expected = (way[name] / ((now - start[name]) ** 2 + 0.1)).clamp(min=0)
    assert torch.allclose(learner.strategy.importance[name], expected, rtol=1e-2, atol=1e-8)
    assert torch.equal(learner.strategy.anchor[name], now)


def test_agem_takes_no_step_against_the_memory(bench):
    made = bench(strategy="agem")
    made.task(0)
    learner, strategy_ = made.learner, made.learner.strategy
    made.hands.start("here")
    reference = strategy_._of_memory([0, 1, 2], made.hands)
    parameters = list(learner.network.parameters())
    for p, r in zip(parameters, reference, strict=True):
        p.grad = -2 * r + 0.01 * torch.ones_like(r)
    strategy_._reference = reference
    strategy_.before_step()
    along = sum((p.grad * r).sum() for p, r in zip(parameters, reference, strict=True))
    square = sum((r * r).sum() for r in reference)
    assert abs(float(along)) < 1e-4 * float(square)
    for p, r in zip(parameters, reference, strict=True):
        p.grad = r.clone()
    strategy_.before_step()
    assert all(torch.equal(p.grad, r) for p, r in zip(parameters, reference, strict=True))


def test_agem_looks_back_at_earlier_tasks_only(bench):
    made = bench(strategy="agem", replay=Replay(buffer_size=20, minibatch=20))
    assert made.learner.strategy._past() == []
    made.task(0)
    made.update(2)
    strategy_ = made.learner.strategy
    tasks = strategy_.memory["task"]
    assert tasks.tolist() == [0] * 12 + [1] * 4
    assert sorted(strategy_._past()) == [*range(12)]


def test_gdumb_draws_its_weights_where_their_generator_is(bench, monkeypatch):
    """On the CPU, wherever the network is: a generator draws on its own device alone."""
    made = bench(strategy="gdumb")
    network, drawn = made.learner.network, []
    monkeypatch.setattr(
        "asal_vrvqa.weights.initialise",
        lambda model, generator: (drawn.append(model), initialise(model, generator)),
    )
    made.at(2)
    made.learner.strategy.begin(1)
    (fresh,) = drawn
    assert fresh is not network
    for name, value in network.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_gdumb_balances_tasks_and_begins_anew(bench):
    made = bench(strategy="gdumb", replay=Replay(buffer_size=7))
    made.update(0)
    assert made.learner.strategy.memory["task"].tolist() == [0] * 7
    made.task(0)
    learnt = weights(made.learner)
    made.at(2)
    made.learner.strategy.begin(1)
    tasks = made.learner.strategy.memory["task"].tolist()
    assert (tasks.count(0), tasks.count(1)) == (3, 4)
    fresh = weights(made.learner)
    assert not torch.equal(learnt["regressor.fc1.weight"], fresh["regressor.fc1.weight"])
    assert not made.learner.optimizer.state


def test_magr_slows_the_backbone_and_carries_features_along(bench):
    made = bench(strategy="magr")
    made.task(0)
    learner, strategy_ = made.learner, made.learner.strategy
    first = strategy_.memory["features"].clone()
    logs = made.update(2).logs
    assert {"projector_loss", "replay_loss", "graph_loss"} <= set(logs)
    assert learner.optimizer.param_groups[0]["initial_lr"] == pytest.approx(made.config.lr / 100)
    made.task(1)
    carried = strategy_.memory["features"][: len(first)]
    assert not torch.equal(carried, first)
    assert strategy_.memory["task"].tolist() == [0, 0, 1, 1]


def test_magr_goes_on_where_no_clip_could_be_kept(bench):
    made = bench(strategy="magr")
    made.at(1, 2)
    made.learner.plain = lambda item: None
    made.learner.strategy.end(0)
    logs = made.update(2).logs
    assert "projector_loss" in logs
    assert "graph_loss" not in logs
    made.learner.strategy.end(1)


def test_magr_counts_the_old_network_as_memory(bench):
    made = bench(strategy="magr")
    made.task(0)
    strategy_ = made.learner.strategy
    features = strategy_.memory_bytes
    made.update(2)
    whole = sum(tensor.nbytes for tensor in made.learner.network.state_dict().values())
    assert strategy_.memory_bytes == features + whole


@pytest.mark.parametrize(
    ("name", "changes"), [("asal", {"joint_step": True}), ("gdumb", {}), ("finetune", {})]
)
def test_variances_are_held_in_every_task(bench, name, changes):
    made = bench(strategy=name, kl_weight=0.1, replay=Replay(buffer_size=6, **changes))
    made.task(0)
    assert float(made.update(2).logs["kl_loss"]) > 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_goes_through_the_stream(tiny, tmp_path, no_report, name):
    config = tiny(run=tmp_path / "run", strategy=name, epochs=1)
    train(config)
    run = read_run(config.run)
    assert strategy(name).paper
    assert run.results["strategy"] == name
    rows = run.judged.predictions
    assert np.isfinite(rows).all()
    assert len(rows) == (2 if name == "joint" else 4)
    assert (run.results["memory_bytes"] > 0) == (name not in ("finetune", "joint"))
    assert all(np.abs(np.diff(rows, axis=0)).max(axis=1) > 0)


def test_the_memory_is_in_the_checkpoint_as_bytes(tiny, tmp_path, no_report):
    config = tiny(run=tmp_path / "run")
    train(config)
    saved = load_tree(Store(config.run / "checkpoints").latest().folder / "learner.safetensors")
    memory = saved["strategy"]["memory"]["rows"]
    assert memory["frames"].dtype == torch.uint8
    assert memory["task"].tolist() == [0, 0, 1, 1, 2, 2]


def test_base_training_keeps_the_best_by_validation(tiny, tmp_path, no_report):
    config = tiny(run=tmp_path / "base", mode="base", val_ratio=0.5, epochs=3)
    train(config)
    judged = [event for event in read(config.run) if event["kind"] == "evaluate"]
    assert len(judged) == 3
    best = max(judged, key=lambda event: event["measures"]["srcc"]["value"])
    summary = json.loads((config.run / "summary.json").read_text())
    assert summary["score"] == best["measures"]["srcc"]["value"]
    assert QualityModel.from_pretrained(config.run).config.network.adapter is False
    # A stream begins from it, and its adapter anew.
    stream = tiny(run=tmp_path / "stream", init_weights=config.run, epochs=1)
    clips = read_clips(stream.labels)
    learner = StreamLearner(stream, stream_of(stream, clips))
    assert any("adapter" in note for note in learner.notes)
    kept = QualityModel.from_pretrained(config.run).state_dict()
    assert torch.equal(
        learner.network.state_dict()["regressor.fc1.weight"], kept["regressor.fc1.weight"]
    )


def test_results_are_of_the_weights_that_are_kept(tiny, tmp_path, no_report):
    """Also where the run stops early, some epochs after its best."""
    config = tiny(
        run=tmp_path / "run", mode="base", val_ratio=0.5, epochs=20, early_stop=2, lr=3e-3
    )
    train(config)
    summary = json.loads((config.run / "summary.json").read_text())
    assert summary["stopped_by"] == "early_stop"
    judged = read_run(config.run).judged
    model = QualityModel.from_pretrained(config.run)
    found = score_clips(model, judged.clips, store_of(model.config, config.frames))
    assert np.allclose(judged.predictions[1], found.score, atol=1e-5)


def test_something_is_learnt(tiny, tmp_path, no_report):
    """Brightness follows the labels of these frames: joint training finds it, on unseen sources."""
    config = tiny(
        run=tmp_path / "joint", mode="joint", epochs=12, loss="mix", train_ratio=0.75, lr=3e-3
    )
    train(config)
    run = read_run(config.run)
    before, after = run.results["srcc_before"], run.results["after"]["joint"]["pooled"]["srcc"]
    print(before, after)
    assert after["value"] > 0.6


def test_acceptance_26_constant_scores_give_valid_json(tiny, tmp_path, no_report):
    config = tiny(run=tmp_path / "run", strategy="finetune")
    clips = read_clips(config.labels)
    learner = StreamLearner(config, stream_of(config, clips))
    learner.predictions[:] = 3.0
    config.run.mkdir()
    write_task(config.run, 0, learner.network, learner.judged(), config.seed, {})

    def refuse(text):
        raise AssertionError(text)

    content = json.loads((config.run / "results.json").read_text(), parse_constant=refuse)
    assert content["srcc"][0] == [None, None, None]
    assert content["figures"]["average"]["value"] is None
    assert "constant" in content["after"]["CG"]["CG"]["srcc"]["reason"]


def test_acceptance_11_metrics_at_their_edges():
    from asal_vrvqa.data.labels import Clip
    from asal_vrvqa.results import measures, relative_l2

    clips = [
        Clip(name=f"7_A_{n}.mp4", seconds=7, start="A", source=f"{n}.mp4", score=float(n))
        for n in range(1, 6)
    ]
    constant = measures(np.full(5, 2.0), clips)
    assert math.isnan(constant["srcc"].value)
    assert math.isnan(constant["plcc"].value)
    perfect = measures(np.arange(1.0, 6.0), clips)
    found = [perfect[name].value for name in ("srcc", "plcc", "rmse", "rl2")]
    assert found == pytest.approx([1, 1, 0, 0])
    one = torch.tensor([1.0])
    assert math.isinf(float(relative_l2(one, one + 1)))
    p, t = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 5.0])
    assert float(relative_l2(p, t)) == pytest.approx(100 * (0 + 1 / 16 + 1 / 16) / 3)
    with pytest.raises(ValueError, match="no clip"):
        measures(np.full(5, np.nan), clips)


def test_a_run_is_told_what_its_settings_mean(tiny):
    found = warnings(tiny(replay=Replay(buffer_size=6, minibatch=2), split_unit="clip"))
    assert any("no gradient" in note for note in found)
    assert any("--split-unit clip" in note for note in found)
    assert warnings(tiny(strategy="er", replay=Replay(buffer_size=6, minibatch=2)))
    assert not warnings(tiny())
    assert not warnings(replace(tiny(replay=Replay(buffer_size=6, minibatch=2)), loss="mse"))
