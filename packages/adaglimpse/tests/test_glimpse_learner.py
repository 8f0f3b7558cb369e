"""Updates: what is played, what is kept, and who learns when."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adaglimpse.cli import main
from adaglimpse.config import GlimpseModelConfig, TrainConfig
from adaglimpse.data.items import ImageDataset
from adaglimpse.data.layouts import read_images
from adaglimpse.data.training import training_loader
from adaglimpse.learner import GlimpseLearner, learner_of, train
from adaglimpse.method.sac import FILE, load_sac
from adaglimpse.model.network import GlimpseModel
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.weights import load_weights, save_weights
from shared_core.data.loader import ItemKey
from shared_core.errors import CheckpointError, ConfigError, DataError, UsageError
from shared_core.launch.accelerator import accelerator as connect
from shared_core.reporting.events import read
from shared_core.testing.faults import fails_before_update
from shared_core.training.hands import Hands
from shared_core.training.loop import prepare
from shared_core.training.run import Run
from shared_core.training.schedules import Progress

pytestmark = pytest.mark.usefixtures("no_report")


class Bench:
    """A learner with hands, outside of a run: `play(epoch)` makes the next update."""

    def __init__(self, config):
        images = {split: read_images(config, config.task, split) for split in ("train", "val")}
        self.config = config
        self.learner = learner_of(config, images)
        self.loader = training_loader(config, images["train"])
        accelerator = connect(config)
        self.hands = Hands(accelerator, clip_norm=None)
        prepare(self.learner, Run(config, accelerator, program="test"))
        self.step = 0

    def play(self, epoch=0):
        self.hands.start("here")
        self.learner.progress = Progress(
            step=self.step, epoch=epoch, batch=0, steps_per_epoch=4, epochs=20
        )
        batches = next(iter(self.loader.epoch(self.step)))
        self.step += 1
        torch.manual_seed(self.step)
        return self.learner.update(batches, self.hands)

    def weights(self):
        return {name: value.clone() for name, value in self.learner.model.state_dict().items()}


def moved(before, after):
    """Parts of which anything has moved: `mae`, `actor`, `critics`, `targets`, `log_alpha`."""
    names = {"network.mae": "mae", "network.actor": "actor", "sac.critics": "critics"}
    names |= {"sac.targets": "targets", "sac.log_alpha": "log_alpha"}
    return {
        part
        for start, part in names.items()
        for name, value in after.items()
        if name.startswith(start) and "running" not in name and "tracked" not in name
        and not torch.equal(value, before[name])
    }  # fmt: skip


POLICY = {"actor", "critics", "targets", "log_alpha"}


def test_acceptance_26_200_steps_fill_the_buffer_and_move_everything(tiny, tmp_path):
    """200 states on 32 scenes: buffer, losses, targets, temperature; the phases alternate."""
    # fewer draws an update: what is tested does not depend on their number
    bench = Bench(tiny(run=tmp_path / "run", rl_batch_size=8, backbone_training_type="alternating"))
    start = bench.weights()
    for update in range(50):  # of 4 states each
        epoch = update // 4
        before, stored = bench.weights(), len(bench.learner.replay)
        outcome = bench.play(epoch)
        assert torch.isfinite(torch.as_tensor(list(outcome.logs.values()))).all()
        parts = moved(before, bench.weights())
        if epoch % 2:
            assert parts == {"mae"}
            assert len(bench.learner.replay) == stored
        elif update:
            assert parts == POLICY
    # 120 transitions are 40 episodes of three glimpses
    assert len(bench.learner.replay) == 120
    assert moved(start, bench.weights()) == {"mae", *POLICY}


@pytest.mark.parametrize(
    ("kind", "frozen", "expected"),
    [
        ("alternating", 2, ["P", "P", "P", "B", "P", "B"]),
        ("alternating", 0, ["P", "B", "P", "B", "P", "B"]),
        ("constant", 2, ["P", "P", "PB", "PB", "PB", "PB"]),
        ("disabled", 0, ["P"] * 6),
        ("backbone-only", 2, ["B"] * 6),
    ],
)
def test_policy_and_backbone_learn_in_their_phases(tiny, tmp_path, kind, frozen, expected):
    config = tiny(run=tmp_path / "run", backbone_training_type=kind, freeze_backbone_epochs=frozen)
    learner = Bench(config).learner
    told = ["P" * policy + "B" * backbone for policy, backbone in map(learner.phase, range(6))]
    assert told == expected


def test_an_epoch_of_both_moves_both(tiny, tmp_path):
    bench = Bench(tiny(run=tmp_path / "run", backbone_training_type="constant"))
    bench.play()
    before = bench.weights()
    assert bench.play().logs.keys() >= {"backbone_loss", "actor_loss", "critic_loss", "alpha_loss"}
    assert moved(before, bench.weights()) == {"mae", *POLICY}


def test_nothing_is_learnt_until_the_buffer_holds_a_batch(tiny, tmp_path):
    bench = Bench(tiny(run=tmp_path / "run", rl_batch_size=100, backbone_training_type="disabled"))
    before = bench.weights()
    outcome = bench.play()
    assert outcome.skipped
    assert not moved(before, bench.weights())
    assert len(bench.learner.replay) == 24


def test_rewards_of_an_episode_add_up_to_what_it_gained(tiny, tmp_path):
    """What is stored is what was played: scores of the states, in order."""
    bench = Bench(tiny(run=tmp_path / "run", rl_batch_size=100, backbone_training_type="disabled"))
    bench.play()
    replay = bench.learner.replay
    episode = torch.arange(8).repeat_interleave(3)
    step = torch.arange(3).repeat(8)
    drawn = replay.padded(replay.gather(episode, step), bench.learner.rewards)
    gained = replay.kept["scores"][:8, 3] - replay.kept["scores"][:8, 0]
    torch.testing.assert_close(drawn.reward.view(8, 3).sum(dim=1), gained)
    assert drawn.done.view(8, 3).tolist() == [[False, False, True]] * 8


@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_episodes_that_stop_early_in_training_are_shorter(tiny, tmp_path, threshold):
    """At 0 every image stops before its first glimpse, and leaves no transition; above 1 none does."""
    bench = Bench(
        tiny(
            run=tmp_path / "run",
            train_early_stop_threshold=threshold,
            backbone_training_type="constant",
        )
    )
    before = bench.weights()
    outcome = bench.play()
    assert len(bench.learner.replay) == (24 if threshold else 0)
    assert "backbone_loss" in outcome.logs
    assert "mae" in moved(before, bench.weights())


def test_episodes_that_stop_on_their_way_end_there(tiny, tmp_path):
    """Each image's transitions end with its own stop, and only the last is done."""
    config = tiny(run=tmp_path / "run", backbone_training_type="disabled", rl_batch_size=100)
    bench = Bench(config)
    bench.play()
    scores = bench.learner.replay.kept["scores"][:8].clone()
    threshold = float(scores[:, 1].median())
    stopping = replace(config, train_early_stop_threshold=threshold, run=tmp_path / "other")
    again = Bench(stopping)
    again.play()
    expected = [next((s for s in range(4) if row[s] > threshold), 3) for row in scores.tolist()]
    assert again.learner.replay.lengths[:8].tolist() == expected
    assert 0 < sum(expected) < 24
    for episode, length in enumerate(expected):
        done = again.learner.replay.kept["done"][episode, :length].tolist()
        assert done == [False] * (length - 1) + [True] * (length > 0)


def test_the_first_glimpses_of_a_run_are_random(tiny, tmp_path):
    """And each image's are its own, whatever the batch it is in."""
    config = tiny(run=tmp_path / "run", backbone_training_type="disabled", init_random_batches=99)
    one = Bench(config)
    one.play()
    other = Bench(replace(config, run=tmp_path / "other", batch_size=4))
    other.play()
    actions = [bench.learner.replay.kept["actions"][:4] for bench in (one, other)]
    assert torch.equal(*actions)
    assert actions[0].flatten().unique().numel() == 36


def test_a_fixed_scale_holds_for_random_and_drawn_glimpses(tiny, tmp_path):
    bench = Bench(tiny(run=tmp_path / "run", fixed_scale=0.25, backbone_training_type="disabled"))
    bench.play()
    bench.play()
    assert (bench.learner.replay.kept["actions"][:16, :, 2] == 0.25).all()


def test_rates_and_momenta_follow_the_place_in_the_run(tiny, tmp_path):
    bench = Bench(tiny(run=tmp_path / "run", backbone_training_type="disabled"))
    for _ in range(3):
        bench.play()
    group = bench.learner.policy_optimizer.param_groups[0]
    total = 4 * 20 * 4
    plain = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        plain, 1e-3, total, pct_start=0.01, div_factor=1, final_div_factor=1000
    )
    for _ in range(12):
        plain.step()
        cycle.step()
    assert group["lr"] == pytest.approx(plain.param_groups[0]["lr"], rel=1e-9)
    assert group["betas"][0] == pytest.approx(plain.param_groups[0]["betas"][0], rel=1e-9)


def test_three_groups_of_one_optimiser_are_three_optimisers(tiny, tmp_path):
    """Actor, critics and temperature step as the authors' three do, their losses made once before."""
    bench = Bench(tiny(run=tmp_path / "run", backbone_training_type="disabled", rl_batch_size=24))
    learner = bench.learner
    rest = Bench(replace(bench.config, run=tmp_path / "other")).learner
    actor, critics = list(rest.network.actor.parameters()), list(rest.sac.critic_parameters())
    optimizers = [
        torch.optim.AdamW(group, lr=1e-3, weight_decay=0.01)
        for group in (actor, critics, [rest.sac.log_alpha])
    ]
    bench.play()
    batch = learner.replay.sample(24, torch.Generator().manual_seed(0), learner.rewards)
    rest.model.load_state_dict(learner.model.state_dict())
    fresh = torch.optim.AdamW(learner.policy_optimizer.param_groups, lr=1e-3)
    for group in fresh.param_groups:
        group.update(lr=1e-3, betas=(0.9, 0.999))
    learner.policy_optimizer = fresh
    torch.manual_seed(7)
    bench.hands.start("here")
    learner._teach_policy_once(batch, bench.hands)
    torch.manual_seed(7)
    found = rest.sac.losses(batch)
    for name, optimizer in zip(
        ("loss_actor", "loss_qvalue", "loss_alpha"), optimizers, strict=True
    ):
        optimizer.zero_grad()
        found[name].backward()
        optimizer.step()
    rest.sac.update_targets()
    for name, value in rest.model.state_dict().items():
        torch.testing.assert_close(learner.model.state_dict()[name], value, rtol=1e-6, atol=1e-7)


def test_pretraining_teaches_the_backbone_alone(tiny, tmp_path):
    bench = Bench(tiny(task="reconstruction", run=tmp_path / "run", pretraining=True))
    before = bench.weights()
    losses = [float(bench.play().loss) for _ in range(30)]
    assert moved(before, bench.weights()) == {"mae"}
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert bench.learner.replay is None


def test_a_frozen_encoder_learns_nothing_and_the_decoder_does(tiny, tmp_path):
    bench = Bench(
        tiny(task="reconstruction", run=tmp_path / "run", pretraining=True, freeze_encoder=True)
    )
    before = bench.weights()
    bench.play()
    after = bench.weights()
    changed = {name.split(".")[2] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {
        "decoder_embed", "mask_token", "decoder_blocks", "decoder_norm", "decoder_pred"
    }  # fmt: skip


def test_a_vit_teaches_by_its_divergence(tiny, tmp_path, runs):
    """A student that is its own teacher has nothing to learn on whole images; another one has."""
    teacher = GlimpseModel.from_pretrained(runs("classification"))
    path = tmp_path / "teacher.safetensors"
    save_weights(path, teacher.mae.state_dict())
    bench = Bench(
        tiny(
            run=tmp_path / "run",
            teacher_type="vit",
            teacher_path=path,
            backbone_training_type="constant",
        )
    )
    assert not any(p.requires_grad for p in bench.learner.teacher.parameters())
    outcome = bench.play()
    assert float(outcome.logs["backbone_loss"]) > 0
    assert float(outcome.logs["final_score"]) < 0  # minus a divergence, not a probability


def test_a_segmentation_teacher_is_trained_and_kept(tiny, tmp_path):
    """DeepLab with a ResNet-101 is large: one update."""
    config = tiny(
        task="segmentation",
        run=tmp_path / "run",
        teacher_pretraining=True,
        max_steps=1,
        batch_size=4,
    )
    train(config)
    kept = load_weights(tmp_path / "run" / "model" / "teacher.safetensors")
    assert kept["classifier.4.weight"].shape[0] == 150


@pytest.mark.parametrize("task", ["reconstruction", "classification", "segmentation"])
def test_a_run_of_each_task_leaves_a_model_and_its_critics(runs, task):
    run = runs(task)
    model = GlimpseModel.from_pretrained(run)
    assert model.config.task == task
    assert model.config.trained
    assert (run / "model" / FILE).is_file()
    judged = [event for event in read(run) if event["kind"] == "evaluate"]
    assert len(judged) == 2


def test_training_goes_on_from_a_model_with_its_critics(tiny, tmp_path, runs):
    run = runs("classification")
    bench = Bench(tiny(run=tmp_path / "run", pretrained_checkpoint=run))
    held = load_weights(run / "model" / FILE)
    for name, value in bench.learner.sac.state_dict().items():
        assert torch.equal(value, held[name]), name
    earlier = GlimpseModel.from_pretrained(run).state_dict()
    for name, value in bench.learner.network.state_dict().items():
        assert torch.equal(value, earlier[name]), name
    assert not bench.learner.notes
    (tmp_path / "bare").mkdir()
    assert not load_sac(tmp_path / "bare", bench.learner.sac)


def test_a_backbone_alone_starts_a_run(tiny, tmp_path, runs):
    run = runs("classification")
    learner = Bench(tiny(run=tmp_path / "run", pretrained_mae_path=run)).learner
    earlier = GlimpseModel.from_pretrained(run)
    assert torch.equal(learner.network.mae.head.weight, earlier.mae.head.weight)
    assert not torch.equal(learner.network.actor.head[0].weight, earlier.actor.head[0].weight)


def test_a_checkpoint_of_another_model_is_refused(tiny, tmp_path, runs):
    config = tiny(run=tmp_path / "run", pretrained_checkpoint=runs("reconstruction"))
    with pytest.raises(CheckpointError, match="decoder"):
        Bench(config)


# Bad input


def line(tmp_path, scenes, *more):
    return [
        "train", "--data-dir", str(scenes / "classification"), "--dataset", "imagenet", "--task",
        "classification", "--run", str(tmp_path / "run"), *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--num-glimpses", "0"), "num_glimpses: expected 1 or more, found 0"),
        (
            ("--replay-buffer-size", "100"),
            "replay_buffer_size: expected rl_batch_size (128) or more, found 100",
        ),
        (
            ("--replay-buffer-size", "200"),
            "replay_buffer_size: expected 448 or more: batch_size (32) x num_glimpses (14)",
        ),
        (("--image-size", "224", "16"), "image_size: expected 32 or more on the shorter side"),
        (("--image-size", "100", "100"), "image_size: expected multiples of 16 pixels"),
        (("--max-glimpse-size-ratio", "0.1"), "max_glimpse_size_ratio: expected at most 1"),
        (("--task", "segmentation"), "task: expected reconstruction or classification (imagenet)"),
        (("--teacher-type", "deeplab"), "teacher_type: expected none, or the task segmentation"),
        (("--teacher-type", "vit"), "teacher_path: expected the weights of the vit teacher"),
        (("--fixed-scale", "1.5"), "fixed_scale: expected between 0 and 1, or none"),
        (("--extract-latent-layer", "12"), "extract_latent_layer: expected from 0 to 11, or none"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(tmp_path, scenes, capsys, more, told):
    assert main(line(tmp_path, scenes, *more)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_too_few_images_for_a_batch_are_said(tiny, tmp_path):
    with pytest.raises(DataError, match=r"expected 64 training images or more, a batch, found 32"):
        train(tiny(run=tmp_path / "run", batch_size=64, replay_buffer_size=2000))


def test_num_samples_draws_images_several_times(tiny, tmp_path):
    config = tiny(run=tmp_path / "run", num_samples=80, epochs=1, backbone_training_type="disabled")
    assert train(config).steps == 10


def test_micro_batches_of_episodes_are_refused(tiny, tmp_path):
    with pytest.raises(UsageError, match=r"--accumulate: the episodes of a batch"):
        train(tiny(run=tmp_path / "run", accumulate=2))


def test_the_replay_buffer_may_stay_out_of_checkpoints(tiny, tmp_path, capsys, monkeypatch):
    config = tiny(run=tmp_path / "run", save_replay=False, max_steps=3, save_every=1)
    fails_before_update(monkeypatch, GlimpseLearner, 3)
    with pytest.raises(OSError, match="the power is gone"):
        train(config)
    newest = Store(config.run / "checkpoints").latest().folder
    assert not (newest / "rank-0.safetensors").exists()
    train(replace(config, resume=True))
    assert "it is filled anew" in capsys.readouterr().out


def test_images_in_memory_give_the_same_items(tiny, scenes):
    config = tiny(run=scenes / "nowhere")
    samples = read_images(config, "classification", "val").samples
    plain, kept = (
        ImageDataset(samples, task="classification", size=(32, 32), in_memory=value)
        for value in (False, True)
    )
    for _ in range(2):
        for index in range(3):
            key = ItemKey(0, 0, index)
            assert torch.equal(plain[key].images, kept[key].images)


def test_names_of_classes_must_fit_their_number():
    with pytest.raises(ConfigError, match=r"classes: expected num_classes \(3\) names, found 2"):
        GlimpseModelConfig(num_classes=3, classes=("a", "b"))


def test_defaults_are_the_papers():
    config = TrainConfig(data_dir="x")
    assert (config.num_glimpses, config.glimpse_grid_size, config.backbone_size) == (14, 2, "base")
    assert (config.lr, config.backbone_lr, config.backbone_decay) == (1e-3, 1e-5, 1e-4)
    assert (config.rl_batch_size, config.replay_buffer_size) == (128, 10_000)
    assert config.init_random_batches == 10_000
