"""A whole tiny run in this process: its folder, steps, best and end, and going on with it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from shared_core.checkpoints.store import Store
from shared_core.checkpoints.weights import load_weights
from shared_core.config import load_yaml
from shared_core.errors import CheckpointError, NonFiniteError, RunFolderError
from shared_core.reporting.events import read
from shared_core.reporting.report import run_report
from shared_core.testing.faults import fill_disk, small_disk
from shared_core.testing.tiny_config import UNDEFINED, TinyConfig
from shared_core.testing.tiny_run import TinyLearner, trace, train
from shared_core.training import snapshot
from shared_core.training.hands import Hands


@pytest.fixture(autouse=True)
def report(monkeypatch):
    """Folders that got a report; drawing one takes longer than the run."""
    reported = []
    monkeypatch.setattr("shared_core.training.folder.run_report", reported.append)
    return reported


@pytest.fixture
def config(tmp_path):
    return TinyConfig(run=tmp_path / "run", device="cpu", threads=1)


def events(config, kind):
    return [event for event in read(config.run) if event["kind"] == kind]


def weights(folder):
    return load_weights(folder / "model.safetensors")


def test_a_run_learns_and_fills_its_folder(config, report):
    summary = train(config)
    assert report == [config.run]
    assert (summary.steps, summary.epochs, summary.stopped_by) == (12, 4, "epochs")
    assert [event["step"] for event in events(config, "train")] == list(range(1, 13))
    assert [event["step"] for event in events(config, "evaluate")] == [3, 6, 9, 12]
    scores = [event["measures"]["score"]["value"] for event in events(config, "evaluate")]
    assert scores[-1] > scores[0] + 0.5
    assert summary.score == max(scores)
    assert load_yaml(TinyConfig, config.run / "config.yaml") == config
    names = {path.name for path in config.run.iterdir()}
    assert names >= {"environment.json", "fingerprint.json", "summary.json", "model", "run.lock"}
    assert not any(name.startswith(".") for name in names)


def test_the_report_reads_what_the_run_wrote(config, monkeypatch):
    monkeypatch.setattr("shared_core.training.folder.run_report", run_report)
    train(config)
    page = (config.run / "report.html").read_text()
    assert "score" in page
    assert "0.4777" in page  # the last evaluation's error


def test_one_seed_one_result_and_another_seed_another(config, tmp_path):
    train(config)
    again = replace(config, run=tmp_path / "again", log_every=1)
    train(again)
    assert trace(again.run) == trace(config.run)
    other = replace(config, run=tmp_path / "other", seed=1)
    train(other)
    assert trace(other.run)["model"] != trace(config.run)["model"]


def test_evaluating_and_saving_more_often_changes_no_number(config, tmp_path):
    train(config)
    often = replace(config, run=tmp_path / "often", evaluate_every=1, save_every=1)
    train(often)
    losses = [[e["loss"] for e in events(c, "train")] for c in (config, often)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("cut", [2, 4, 8])
def test_accumulated_micro_batches_equal_the_big_batch(config, tmp_path, cut):
    plain = replace(config, dropout=0.0)
    train(plain)
    in_parts = replace(plain, run=tmp_path / "parts", accumulate=cut)
    train(in_parts)
    for whole, parts in zip(events(plain, "train"), events(in_parts, "train"), strict=True):
        assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-5)
        assert parts["gradient_norm"] == pytest.approx(whole["gradient_norm"], abs=1e-4)


def test_a_last_batch_that_does_not_divide_counts_its_items_once(config, tmp_path):
    odd = replace(config, dropout=0.0, batch_size=9)  # 24 items: 9, 9, 6 in 2 micro-batches of 5
    train(odd)
    in_parts = replace(odd, run=tmp_path / "parts", accumulate=2)
    train(in_parts)
    losses = [[e["loss"] for e in events(c, "train")] for c in (odd, in_parts)]
    # The fill-up items take no part: the constant divisor is 9/2 in place of 9.
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_gradients_are_clipped_to_the_norm(config, monkeypatch):
    clipped = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        clipped.append(float(torch.nn.utils.get_total_norm(grads)))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    train(replace(config, clip_norm=0.5))
    before = [event["gradient_norm"] for event in events(config, "train")]
    assert max(before) > 0.5
    assert clipped == pytest.approx([min(norm, 0.5) for norm in before], rel=1e-4)


def test_each_part_of_a_model_can_be_clipped_by_its_own_norm(config, monkeypatch):
    monkeypatch.setattr(
        TinyLearner, "clip_groups", lambda self: [self.bare_model[0], self.bare_model[3]]
    )
    norms = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append([float(torch.nn.utils.get_total_norm(g)) for g in (grads[:2], grads[2:])])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    train(replace(config, clip_norm=0.2, max_steps=3))
    assert max(max(pair) for pair in norms) <= 0.2 + 1e-6
    assert max(math.hypot(*pair) for pair in norms) > 0.2 + 1e-3


def test_the_schedule_multiplies_the_base_rate(config, monkeypatch):
    monkeypatch.setattr(TinyLearner, "schedule", lambda self, progress: 0.5**progress.epoch)
    train(config)
    rates = [event["learning_rate"] for event in events(config, "train")]
    assert rates == [0.05] * 3 + [0.025] * 3 + [0.0125] * 3 + [0.00625] * 3


def test_a_value_that_is_not_finite_stops_before_the_update_and_names_the_batch(config):
    with pytest.raises(NonFiniteError) as caught:
        train(replace(config, nan_at=5, save_every=1))
    message = str(caught.value)
    assert message.startswith("update 5 (epoch 2, batch 2): loss nan on process 0 (8 items).")
    assert [event["step"] for event in events(config, "train")] == [1, 2, 3, 4]
    train(replace(config, save_every=1, resume=True))  # the weights of update 4 are good
    assert len(events(config, "train")) == 12


def test_an_infinite_gradient_of_a_finite_loss_is_caught(config, monkeypatch):
    loss = TinyLearner.loss

    def steep(self, batch):
        outcome = loss(self, batch)
        if self.updates == 2:
            outcome.loss.register_hook(lambda gradient: gradient * math.inf)
        return outcome

    monkeypatch.setattr(TinyLearner, "loss", steep)
    with pytest.raises(NonFiniteError, match=r"update 3 .*gradient norm"):
        train(config)
    assert len(events(config, "train")) == 2


def test_an_update_in_which_nothing_counts_takes_no_step(config, tmp_path):
    until = replace(config, max_steps=4, save_every=1)
    train(until)
    skipping = replace(config, run=tmp_path / "skip", max_steps=5, skip_at=5, save_every=1)
    train(skipping)
    before = Store(until.run / "checkpoints").at(4).folder
    after = Store(skipping.run / "checkpoints").at(5).folder
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (before / name).read_bytes() == (after / name).read_bytes()
    assert events(skipping, "train")[-1]["left_out"] is True
    assert len(events(skipping, "train")) == 5


def test_intervals_in_updates_and_a_last_evaluation_and_save_at_the_end(config):
    train(replace(config, max_steps=10, evaluate_every=4, save_every=3, keep_last=20))
    assert [event["step"] for event in events(config, "evaluate")] == [4, 8, 10]
    assert set(Store(config.run / "checkpoints").steps()) >= {3, 6, 9, 10}


def test_early_stop_counts_evaluations_without_gain(config):
    patient = replace(config, epochs=20, early_stop=2, scores=(0.1, 0.3, 0.2, 0.3, 0.9))
    summary = train(patient)
    assert (summary.stopped_by, summary.steps) == ("early_stop", 12)
    assert (summary.best, summary.score) == (6, 0.3)


def test_an_undefined_score_is_never_the_best(config):
    summary = train(replace(config, scores=(UNDEFINED, 0.1, UNDEFINED, 0.05)))
    assert (summary.best, summary.score) == (6, 0.1)
    assert Store(config.run / "checkpoints").best().step == 6
    undefined = events(config, "evaluate")[0]["measures"]["score"]
    assert (undefined["value"], undefined["reason"]) == (None, "asked for")


def test_the_best_weights_are_exported_and_kept(config):
    falling = replace(config, scores=(0.9, 0.5, 0.4, 0.3), keep_last=1)
    assert train(falling).best == 3
    store = Store(config.run / "checkpoints")
    assert store.steps() == [3, 12]
    best, last = weights(store.at(3).folder), weights(store.at(12).folder)
    exported = weights(config.run / "model")
    assert all(torch.equal(exported[name], best[name]) for name in best)
    assert not all(torch.equal(exported[name], last[name]) for name in last)


def test_acceptance_22_a_run_whose_score_stays_bad_keeps_its_checkpoints(config):
    assert train(replace(config, scores=(-0.3,))).best == 3
    assert Store(config.run / "checkpoints").steps() == [3, 6, 9, 12]


def test_a_run_without_any_defined_score_keeps_and_exports_the_last(config):
    summary = train(replace(config, scores=(UNDEFINED,)))
    assert (summary.best, summary.score) == (None, None)
    store = Store(config.run / "checkpoints")
    assert store.steps() == [6, 9, 12]
    last = weights(store.at(12).folder)
    assert all(torch.equal(weights(config.run / "model")[name], last[name]) for name in last)


def test_a_folder_that_holds_a_run_is_refused_without_resume(config):
    train(config)
    with pytest.raises(RunFolderError, match="--resume, or choose another --run folder"):
        train(config)


def test_resume_refuses_other_settings_and_names_them(config):
    train(config)
    before = trace(config.run)
    with pytest.raises(RunFolderError) as caught:
        train(replace(config, resume=True, learning_rate=0.1, dropout=0.5, keep_last=7))
    message = str(caught.value)
    assert "learning_rate: 0.05 -> 0.1" in message
    assert "dropout: 0.25 -> 0.5" in message
    assert "keep_last" not in message
    assert trace(config.run) == before


def test_a_finished_run_is_left_alone(config):
    summary = train(config)
    before = {path: path.stat().st_mtime_ns for path in config.run.rglob("*.json*")}
    assert train(replace(config, resume=True)) == summary
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_resume_where_nothing_was_begun_begins_and_says_so(config, capsys):
    assert train(replace(config, resume=True)).steps == 12
    assert "no checkpoint to go on from; this begins anew" in capsys.readouterr().err


def test_the_end_of_a_run_names_its_report(config, capsys):
    train(config)
    told = capsys.readouterr().err
    assert told.splitlines()[-1] == f"written to {config.run}; open {config.run / 'report.html'}"
    assert "begins anew" not in told


def test_a_damaged_checkpoint_is_skipped_and_the_result_is_the_same(config, tmp_path, caplog):
    train(replace(config, run=tmp_path / "whole"))
    with pytest.raises(NonFiniteError):
        train(replace(config, nan_at=8))
    newest = Store(config.run / "checkpoints").at(6).folder
    (newest / "optimizer.safetensors").write_bytes(b"torn")
    train(replace(config, resume=True))
    assert "optimizer.safetensors" in caplog.text
    assert trace(config.run) == trace(tmp_path / "whole")


def test_a_checkpoint_of_another_model_is_refused(config, monkeypatch):
    with pytest.raises(NonFiniteError):
        train(replace(config, nan_at=8))
    monkeypatch.setattr("shared_core.testing.tiny_run.WIDTH", 5)
    with pytest.raises(CheckpointError, match=r"0\.weight"):
        train(replace(config, resume=True))


@pytest.mark.parametrize("room", [2_000, 20_000])
def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(config, tmp_path, room):
    plain = replace(config, run=tmp_path / "whole", save_every=1)
    train(plain)
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        full = replace(config, run=disk / "run", save_every=1)
        update, filler = TinyLearner.update, []

        def update_on_a_full_disk(self, micro_batches, hands):
            if self.updates == 4:
                filler.append(fill_disk(disk, leave=room))
            return update(self, micro_batches, hands)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TinyLearner, "update", update_on_a_full_disk)
            with pytest.raises((CheckpointError, RunFolderError), match="disk is full") as caught:
                train(full)
        assert "intact" in str(caught.value)
        assert Store(full.run / "checkpoints").latest().step == 4
        filler[0].unlink()
        train(replace(full, resume=True))
        assert trace(full.run) == trace(plain.run)


def test_a_run_folder_that_cannot_be_made_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        train(replace(config, run=tmp_path / "file" / "run"))


class Counting(TinyLearner):
    """Keeps a number for its process alone."""

    seen = 0

    def update(self, micro_batches, hands):
        self.seen += 1
        return super().update(micro_batches, hands)

    def own_state(self):
        return {"seen": self.seen}

    def load_own_state(self, state):
        self.seen = -1 if state is None else state["seen"]


def test_what_a_process_keeps_for_itself_comes_back_to_it(config, tmp_path, monkeypatch):
    """In a file of its own; a process that was not there when it was saved is told so."""
    learner = Counting(config)
    monkeypatch.setattr("shared_core.testing.tiny_run.TinyLearner", lambda *args: learner)
    train(config)
    folder = Store(config.run / "checkpoints").latest().folder
    assert (folder / "rank-0.safetensors").is_file()
    accelerator = Accelerator(cpu=True)
    again = Counting(config)
    again.prepare(accelerator)
    snapshot.restore(folder, again, accelerator)
    assert again.seen == learner.seen == 12
    (folder / "rank-0.safetensors").unlink()
    snapshot.restore(folder, again, accelerator)
    assert again.seen == -1


class Unscaled:
    """An accelerator whose fp16 scaler takes no optimiser without a gradient, as torch's on a GPU."""

    distributed_type, device, scaler = None, torch.device("cpu"), None

    def unscale_gradients(self, optimizer):
        gradients = [p.grad for g in optimizer.param_groups for p in g["params"]]
        assert any(gradient is not None for gradient in gradients)


def test_an_update_without_any_gradient_is_left_out_in_fp16_too():
    hands = Hands(Unscaled(), clip_norm=None, fp16=True)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    hands.start("here")
    assert hands.step(optimizer, [], skip=True) == 0.0
    assert hands.left_out


def test_losses_are_judged_once_each(config):
    """A second step of the same update answers for its own loss, not for the first's."""
    accelerator = Accelerator(cpu=True)
    hands = Hands(accelerator, clip_norm=None)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = accelerator.prepare(torch.optim.SGD([weight], lr=0.1))
    hands.start("here")
    for _ in range(2):
        hands.backward((weight**2).sum())
        hands.step(optimizer, [])
        assert not hands._losses


def test_bf16_trains(config):
    train(replace(config, precision="bf16"))
    losses = [event["loss"] for event in events(config, "train")]
    assert losses[-1] < losses[0]
    assert weights(config.run / "model")["0.weight"].dtype == torch.float32


def test_progress_json_is_strict_json(config):
    train(replace(config, scores=(UNDEFINED,)))
    folder = Store(config.run / "checkpoints").latest().folder
    tree = json.loads((folder / "progress.json").read_text(), parse_constant=pytest.fail)
    assert tree["scores"] == [None] * 4
