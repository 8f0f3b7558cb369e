"""Soft Actor-Critic beside its equations, written out for each critic by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from adaglimpse.config import RL_INPUTS
from adaglimpse.method.sac import GAMMA, KEEP, Sac, Transitions, load_sac, model_folder, save_sac
from adaglimpse.model.policy import Actor, Critic, Observation
from shared_core.errors import CheckpointError

WIDTH = 64
SEED = 11
LOG_ALPHA = -0.7


def observed(count: int, draw: torch.Generator) -> Observation:
    """Observations of 1 to 4 glimpses of one patch."""
    filled = torch.randint(1, 5, (count, 1), generator=draw)
    empty = (torch.arange(4) >= filled).unsqueeze(-1)
    fields = (
        torch.randn(count, 4, 3, 16, 16, generator=draw),
        torch.rand(count, 4, 1, generator=draw),
        torch.rand(count, 4, 4, generator=draw) * 64,
        torch.randn(count, 4, WIDTH, generator=draw),
    )
    emptied = (f.masked_fill(empty.view(count, 4, *[1] * (f.dim() - 2)), 0.0) for f in fields)
    return Observation(*emptied, empty)


@pytest.fixture
def batch() -> Transitions:
    draw = torch.Generator().manual_seed(5)
    return Transitions(
        before=observed(16, draw),
        action=torch.rand(16, 3, generator=draw),
        reward=torch.randn(16, generator=draw) * 3,
        after=observed(16, draw),
        done=torch.rand(16, generator=draw) < 0.3,
    )


def new_sac(**options) -> tuple[Actor, Sac]:
    """Actor and critics with weights that matter; targets apart from the critics."""
    torch.manual_seed(SEED)
    actor = Actor(WIDTH, RL_INPUTS, "batch")
    sac = Sac(actor, Critic(WIDTH, RL_INPUTS, "batch"), **options)
    with torch.no_grad():
        for value in (*actor.parameters(), *sac.critic_parameters()):
            value.add_(0.05 * torch.randn_like(value))
        for value in sac.targets.parameters():
            value.data.add_(0.05 * torch.randn_like(value))
        sac.log_alpha.fill_(LOG_ALPHA)
    return actor, sac


def in_training(sac: Sac, actor: Actor, training: bool) -> None:
    """Whether batch norms use the batch; torchrl keeps its copies of the networks beside the modules."""
    actor.train(training)
    for name in ("actor_network", "qvalue_network"):
        sac.__dict__["loss"].__dict__[name].train(training)


def each(parameters: torch.nn.Module) -> Iterator[dict[str, Tensor]]:
    """Weights and statistics of each critic."""
    state = {name.removeprefix("module."): value for name, value in parameters.state_dict().items()}
    for number in range(2):
        yield {name: value[number].detach().clone() for name, value in state.items()}


def values(
    critics: torch.nn.Module, seen: Observation, action: Tensor, *, training: bool
) -> Tensor:
    """[2, n]."""
    network = Critic(WIDTH, RL_INPUTS, "batch").train(training)
    return torch.stack(
        [functional_call(network, state, (*seen, action))[:, 0] for state in each(critics)]
    )


def drawn(actor: Actor, seen: Observation, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions in [0, 1] and the logarithm of their density."""
    loc, scale = actor(*seen)
    n = loc + scale * noise
    normal = -0.5 * noise**2 - scale.log() - 0.5 * math.log(2 * math.pi)
    log_slope = math.log(0.5) + 2 * (
        math.log(2) - n - functional.softplus(-2 * n)
    )  # log of (1 - tanh^2)/2
    return 0.5 + 0.5 * n.tanh(), (normal - log_slope).sum(dim=1)


def restated(
    actor: Actor, sac: Sac, batch: Transitions, distance: str, entropy: float, *, training: bool
):
    """The losses, with the noise that `losses` draws after the same seed."""
    torch.manual_seed(SEED)
    of_next, of_this = torch.randn(len(batch), 3), torch.randn(len(batch), 3)
    alpha = math.exp(LOG_ALPHA)
    with torch.no_grad():
        next_action, next_log = drawn(actor, batch.after, of_next)
        value = values(sac.targets, batch.after, next_action, training=training).min(dim=0).values
        aim = batch.reward + 0.99 * (~batch.done).float() * (value - alpha * next_log)
        found = values(sac.critics, batch.before, batch.action, training=training)
        apart = found - aim
        losses = {
            "l2": apart**2,
            "l1": apart.abs(),
            "smooth_l1": torch.where(apart.abs() < 1, 0.5 * apart**2, apart.abs() - 0.5),
        }[distance]
        action, log = drawn(actor, batch.before, of_this)
        best = values(sac.critics, batch.before, action, training=training).min(dim=0).values
    return {
        "loss_qvalue": losses.sum(dim=0).mean(),
        "loss_actor": (alpha * log - best).mean(),
        "loss_alpha": (-LOG_ALPHA * (log + entropy)).mean(),
        "alpha": torch.tensor(alpha),
        "entropy": -log.mean(),
    }


@pytest.mark.parametrize("distance", ["l2", "l1", "smooth_l1"])
def test_acceptance_14_the_losses_are_their_equations(batch, distance):
    actor, sac = new_sac(distance=distance)
    in_training(sac, actor, False)
    expected = restated(actor, sac, batch, distance, -3.0, training=False)
    torch.manual_seed(SEED)
    found = sac.losses(batch)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].detach(),
            value,
            atol=1e-5,
            rtol=1e-5,
            msg=lambda m, name=name: f"{name}: {m}",
        )
    assert found["alpha"].item() == pytest.approx(0.49659, abs=1e-5)


def test_acceptance_14_another_target_entropy_moves_the_temperature_alone(batch):
    found = {}
    for entropy in (None, -1.0):
        actor, sac = new_sac(target_entropy=entropy)
        in_training(sac, actor, False)
        torch.manual_seed(SEED)
        found[entropy] = sac.losses(batch)
    assert torch.equal(found[None]["loss_qvalue"], found[-1.0]["loss_qvalue"])
    moved = found[-1.0]["loss_alpha"] - found[None]["loss_alpha"]
    assert moved.item() == pytest.approx(-LOG_ALPHA * 2.0, rel=1e-5)


def test_acceptance_14_entropy_is_that_of_the_action_in_the_unit_cube(batch):
    """Of an action in [-1, 1] it would be 3 ln 2 larger."""
    actor, sac = new_sac()
    in_training(sac, actor, False)
    torch.manual_seed(SEED)
    found = sac.losses(batch)["entropy"]
    torch.manual_seed(SEED)
    torch.randn(len(batch), 3)  # of the next action
    noise = torch.randn(len(batch), 3)
    loc, scale = actor(*batch.before)
    n = (loc + scale * noise).detach()
    wide = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(loc, scale), torch.distributions.TanhTransform(cache_size=1)
    )
    entropy = -wide.log_prob(n.tanh()).sum(dim=1).mean()
    assert found.item() == pytest.approx(entropy.item() - 3 * math.log(2), abs=1e-3)


def test_acceptance_15_in_training_batch_norms_use_the_batch_and_count(batch):
    actor, sac = new_sac()
    expected = restated(actor, sac, batch, "l2", -3.0, training=True)
    actor, sac = new_sac()  # the statistics that the restatement moved
    torch.manual_seed(SEED)
    found = sac.losses(batch)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].detach(),
            value,
            atol=1e-5,
            rtol=1e-5,
            msg=lambda m, name=name: f"{name}: {m}",
        )
    counts = {
        part: {
            int(n)
            for name, b in module.named_buffers()
            if name.endswith("tracked")
            for n in b.flatten()
        }
        for part, module in (("critics", sac.critics), ("targets", sac.targets), ("actor", actor))
    }
    assert counts == {"critics": {2}, "targets": {1}, "actor": {2}}


def test_acceptance_15_running_statistics_are_those_of_each_call(batch):
    """Each of the two critics sees the same patches: of the transitions, then again for the actor's loss."""
    _, sac = new_sac()
    states = list(each(sac.critics))
    sac.losses(batch)
    for number, state in enumerate(states):
        x = functional.conv2d(
            batch.before.patches.flatten(0, 1),
            state["patch_net_conv.0.weight"],
            state["patch_net_conv.0.bias"],
        )
        mean = torch.zeros(8)
        for _ in range(2):
            mean = 0.9 * mean + 0.1 * x.mean(dim=(0, 2, 3))
        found = dict(sac.critics.named_buffers())["module.patch_net_conv.1.running_mean"][number]
        torch.testing.assert_close(found, mean, atol=1e-5, rtol=0)


def test_each_loss_teaches_its_own_part(batch):
    actor, sac = new_sac()
    parts = {
        "loss_actor": list(actor.parameters()),
        "loss_qvalue": list(sac.critic_parameters()),
        "loss_alpha": [sac.log_alpha],
    }
    for name in parts:
        sac.zero_grad()
        actor.zero_grad()
        sac.losses(batch)[name].backward()
        for other, parameters in parts.items():
            assert any(p.grad is not None and p.grad.any() for p in parameters) == (
                other == name
            ), (name, other)
    assert len(parts["loss_qvalue"]) == len(list(Critic(WIDTH, RL_INPUTS, "batch").parameters()))
    assert not any(p.requires_grad for p in sac.targets.parameters())


def test_the_temperature_falls_where_the_policy_is_less_certain_than_it_aims_at(batch):
    _, sac = new_sac(target_entropy=-50.0)
    sac.losses(batch)["loss_alpha"].backward()
    assert sac.log_alpha.grad > 0


def test_critics_are_drawn_anew_between_the_smallest_and_largest_value_of_the_template():
    torch.manual_seed(0)
    template = Critic(WIDTH, RL_INPUTS, "batch")
    state = {name: value.clone() for name, value in template.state_dict().items()}
    sac = Sac(Actor(WIDTH, RL_INPUTS, "batch"), template)
    first, second = each(sac.critics)
    for name, value in state.items():
        for critic in (first, second):
            assert critic[name].shape == value.shape
            assert value.min() <= critic[name].min()
            assert critic[name].max() <= value.max()
        if value.min() < value.max() and value.numel() > 100:
            assert not torch.equal(first[name], second[name])
            uniform = (first[name] - value.min()) / (value.max() - value.min())
            assert uniform.mean().item() == pytest.approx(
                0.5, abs=5 / math.sqrt(12 * value.numel())
            )
    targets = list(each(sac.targets))
    assert all(torch.equal(targets[0][name], first[name]) for name in state)
    assert all(torch.equal(targets[1][name], second[name]) for name in state)
    assert sac.log_alpha == 0


def test_targets_follow_the_critics_by_half_a_percent_statistics_included(batch):
    _, sac = new_sac()
    sac.losses(batch)
    before = {name: value.clone() for name, value in sac.targets.state_dict().items()}
    online = sac.critics.state_dict()
    sac.update_targets()
    after = sac.targets.state_dict()
    for name, value in before.items():
        if value.is_floating_point():
            torch.testing.assert_close(
                after[name],
                0.995 * value + 0.005 * online[name],
                msg=lambda m, name=name: f"{name}: {m}",
            )
    assert (GAMMA, KEEP) == (0.99, 0.995)


@pytest.mark.parametrize("norm", ["batch", "masked", "group", "frozen"])
def test_every_norm_learns(batch, norm):
    torch.manual_seed(SEED)
    actor = Actor(WIDTH, RL_INPUTS, norm)
    sac = Sac(actor, Critic(WIDTH, RL_INPUTS, norm))
    torch.manual_seed(SEED)
    found = sac.losses(batch)
    sum(found[name] for name in ("loss_actor", "loss_qvalue", "loss_alpha")).backward()
    assert all(value.isfinite() for value in found.values())
    assert actor.patch_net_conv[0].weight.grad.any()
    sac.update_targets()
    statistics = [b for name, b in sac.critics.named_buffers() if name.endswith("running_mean")]
    moved = [bool(b.any()) for b in statistics]
    assert (
        moved
        == {"batch": [True] * 2, "masked": [True] * 2, "group": [], "frozen": [False] * 2}[norm]
    )


def test_masked_norms_of_two_critics_are_those_of_each_alone(batch):
    torch.manual_seed(SEED)
    sac = Sac(Actor(WIDTH, RL_INPUTS, "masked"), Critic(WIDTH, RL_INPUTS, "masked"))
    states = list(each(sac.critics))
    sac.losses(batch)
    there = ~batch.before.mask.flatten()
    for number, state in enumerate(states):
        x = functional.conv2d(
            batch.before.patches.flatten(0, 1)[there],
            state["patch_net_conv.0.weight"], state["patch_net_conv.0.bias"],
        )  # fmt: skip
        expected = (1 - 0.9**2) * x.mean(dim=(0, 2, 3))
        found = dict(sac.critics.named_buffers())["module.patch_net_conv.1.running_mean"][number]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_is_saved_goes_on_where_it_was(batch, tmp_path):
    actor, sac = new_sac()
    sac.losses(batch)
    save_sac(tmp_path, sac.state_dict())
    torch.manual_seed(99)
    again = Sac(actor, Critic(WIDTH, RL_INPUTS, "batch"))
    assert load_sac(tmp_path, again)
    for name, value in sac.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    losses = []
    for of in (sac, again):
        in_training(of, actor, False)
        torch.manual_seed(SEED)
        losses.append(of.losses(batch))
        of.update_targets()
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    assert torch.equal(*(s.targets.state_dict()["module.head.0.weight"] for s in (sac, again)))


def test_a_folder_without_critics_is_told_and_another_models_are_refused(tmp_path):
    _, sac = new_sac()
    assert not load_sac(tmp_path, sac)
    other = Sac(Actor(32, RL_INPUTS, "batch"), Critic(32, RL_INPUTS, "batch"))
    save_sac(tmp_path, other.state_dict())
    with pytest.raises(CheckpointError):
        load_sac(tmp_path, sac)
    assert model_folder(tmp_path) == tmp_path
    (tmp_path / "model").mkdir()
    assert model_folder(tmp_path) == tmp_path / "model"


def test_the_actor_of_the_losses_is_the_models(batch):
    """A step along the actor's loss changes what the model does."""
    actor, sac = new_sac()
    actor.eval()
    loc = actor(*batch.before)[0].detach()
    sac.losses(batch)["loss_actor"].backward()
    torch.optim.SGD(actor.parameters(), lr=0.1).step()
    assert not torch.equal(actor(*batch.before)[0], loc)
    assert not any(name.startswith("loss") for name, _ in sac.named_parameters())
