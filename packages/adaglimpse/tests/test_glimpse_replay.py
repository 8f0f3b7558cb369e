"""The replay buffer beside a plain list of everything that was played."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from scipy import stats
from torch import Tensor

from adaglimpse.config import SIZES, GlimpseModelConfig
from adaglimpse.model.mae import Encoded
from adaglimpse.model.network import Views
from adaglimpse.replay import Replay, Rewards

CONFIG = GlimpseModelConfig(
    backbone_size="tiny", image_size=(32, 48), num_glimpses=4, glimpse_grid_size=2, num_classes=3,
    task="classification",
)  # fmt: skip
WIDTH = SIZES["tiny"].width
PLAIN = Rewards()


@dataclass
class State:
    """What was known of one image, filled up with zeros."""

    patches: Tensor
    coords: Tensor
    observation: Tensor
    attention: Tensor
    filled: int
    score: Tensor


@dataclass
class Transition:
    before: State
    action: Tensor
    after: State
    done: bool
    next_scale: float = 0.0


def half(tensor: Tensor) -> Tensor:
    return tensor.half().float()


def known(
    config: GlimpseModelConfig, views: Views, encoded: Encoded, score: Tensor, row: int
) -> State:
    places, filled = config.max_patches, views.count

    def padded(rows: Tensor) -> Tensor:
        return torch.cat((rows, torch.zeros(places - filled, *rows.shape[1:])))

    return State(
        padded(half(views.patches[row, :filled])),
        padded(views.boxes[row, :filled].float()),
        padded(half(encoded.latents[row, 1:])),
        padded(half(encoded.importance[row])),
        filled,
        score[row],
    )


def play(
    replay: Replay,
    count: int,
    draw: torch.Generator,
    config=CONFIG,
    *,
    stopping: float = 0.0,
    glimpses=None,
) -> dict[int, list[Transition]]:
    """Play a batch of episodes of noise; returns the transitions of each episode's number.

    Args:
        stopping: share of images that stop with each state.
        glimpses: leave off after so many; None: whole episodes.
    """
    numbers = replay.begin(count)
    views = Views(
        torch.randn(count, 3, *config.image_size, generator=draw), config, config.num_glimpses
    )
    stopped = torch.zeros(count, dtype=torch.bool)
    episodes: dict[int, list[Transition]] = {number: [] for number in numbers.tolist()}
    latest: list[tuple[State, Tensor] | None] = [None] * count
    for step in range((config.num_glimpses if glimpses is None else glimpses) + 1):
        final = step == config.num_glimpses
        encoded = Encoded(
            torch.zeros(count, 1 + views.count, WIDTH),
            torch.randn(count, 1 + views.count, WIDTH, generator=draw),
            torch.rand(count, views.count, 1, generator=draw),
        )
        score, action = torch.randn(count, generator=draw), torch.rand(count, 3, generator=draw)
        done = (torch.rand(count, generator=draw) < stopping) & ~stopped
        replay.write(
            numbers, views, encoded, score, None if final else action,
            playing=~stopped if stopping else None, done=done if stopping and not final else None,
        )  # fmt: skip
        for row in range(count):
            if stopped[row]:
                continue
            state = known(config, views, encoded, score, row)
            if latest[row] is not None:
                before, taken = latest[row]
                ends = final or bool(done[row])
                scale = 0.0 if ends else float(action[row, 2])
                episodes[int(numbers[row])].append(Transition(before, taken, state, ends, scale))
            latest[row] = state, action[row]
        stopped = stopped | done
        if not final:
            views.look(action, stopped if stopping else None)
    return episodes


def assert_is(
    replay: Replay, expected: dict[int, list[Transition]], rewards: Rewards = PLAIN
) -> None:
    """Whatever is drawn was played, each part of it, and everything that was played is drawn."""
    everything = {tuple(t.action.tolist()): t for of in expected.values() for t in of}
    assert len(replay) == len(everything) == sum(map(len, expected.values()))
    found = replay.sample(40 * len(everything), torch.Generator().manual_seed(1), rewards)
    drawn = [tuple(action) for action in found.action.tolist()]
    assert set(drawn) == set(everything)
    for row, key in enumerate(drawn[: 3 * len(everything)]):
        transition = everything[key]
        assert bool(found.done[row]) == transition.done
        gained = transition.after.score - transition.before.score
        scale = transition.next_scale if rewards.of_next_action else transition.action[2]
        torch.testing.assert_close(found.reward[row], gained - rewards.penalty * scale)
        for state, seen in ((transition.before, found.before), (transition.after, found.after)):
            assert (~seen.mask[row, :, 0]).sum() == state.filled
            assert not seen.mask[row, : state.filled].any()
            for name in ("patches", "coords", "observation", "attention"):
                value = getattr(seen, name)
                assert value.dtype == torch.float32
                assert torch.equal(value[row], getattr(state, name)), name


def test_what_is_drawn_was_played():
    replay, draw = Replay(24, CONFIG), torch.Generator().manual_seed(0)
    assert_is(replay, play(replay, 5, draw))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_drawn_was_played_with_images_that_stop_early(seed):
    replay, draw = Replay(100, CONFIG), torch.Generator().manual_seed(seed)
    played = play(replay, 9, draw, stopping=0.3)
    assert len({len(of) for of in played.values()}) > 2
    assert_is(replay, played)


def test_a_full_ring_forgets_its_oldest_episodes():
    replay, draw = Replay(31, CONFIG), torch.Generator().manual_seed(0)  # room for 7 episodes
    expected: dict[int, list[Transition]] = {}
    for count in (3, 3, 3, 1, 7, 2):
        expected |= play(replay, count, draw, stopping=0.2)
        assert_is(replay, expected)
    assert replay.episodes == 7


def test_episodes_that_are_being_played_can_be_drawn_as_far_as_they_are():
    replay, draw = Replay(40, CONFIG), torch.Generator().manual_seed(0)
    expected = play(replay, 3, draw)
    for glimpses in range(CONFIG.num_glimpses):
        part = play(replay, 3, draw, glimpses=glimpses)
        assert_is(replay, expected | part)
        replay.next = 3
    assert all(len(of) == 3 for of in part.values())


def test_images_that_stop_before_their_first_glimpse_leave_nothing_behind():
    replay, draw = Replay(40, CONFIG), torch.Generator().manual_seed(0)
    played = play(replay, 4, draw, stopping=1.0)
    assert not any(played.values())
    assert len(replay) == 0


@pytest.mark.parametrize("of_next", [False, True])
def test_acceptance_27_the_penalty_is_of_the_action_taken_or_as_the_authors_had_it(of_next):
    replay, draw = Replay(40, CONFIG), torch.Generator().manual_seed(0)
    played = play(replay, 6, draw, stopping=0.2)
    assert_is(replay, played, Rewards(penalty=0.7, of_next_action=of_next))


def test_acceptance_27_rewards_of_an_episode_add_up_to_its_gain():
    replay, draw = Replay(40, CONFIG), torch.Generator().manual_seed(0)
    played = play(replay, 1, draw)
    ((number, transitions),) = played.items()
    steps = torch.arange(4)
    found = replay.padded(replay.gather(torch.full((4,), number), steps), PLAIN)
    gain = transitions[-1].after.score - transitions[0].before.score
    torch.testing.assert_close(found.reward.sum(), gain)
    assert found.done.tolist() == [False, False, False, True]


def test_rewards_in_standard_deviations_are_of_the_batch_that_is_drawn():
    replay, draw = Replay(40, CONFIG), torch.Generator().manual_seed(0)
    play(replay, 6, draw)
    simple, auto = (
        replay.sample(50, torch.Generator().manual_seed(3), Rewards(kind=kind)).reward
        for kind in ("simple", "autonorm")
    )
    torch.testing.assert_close(auto, (simple - simple.mean()) / simple.std(correction=0))


def test_every_transition_is_as_likely_as_any_other():
    replay, draw = Replay(80, CONFIG), torch.Generator().manual_seed(0)
    played = play(replay, 12, draw, stopping=0.25)
    total = sum(map(len, played.values()))
    episode, step = replay.draw(200 * total, torch.Generator().manual_seed(1))
    counts = (episode * CONFIG.num_glimpses + step).bincount()
    assert (counts > 0).sum() == total
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-3
    again, _ = replay.draw(200 * total, torch.Generator().manual_seed(1))
    assert torch.equal(again, episode)


@pytest.mark.parametrize(
    ("left_out", "empty"),
    [(("patches",), {"patches"}), (("observation", "attention"), {"observation"})],
)
def test_what_the_policy_does_not_see_takes_no_memory(left_out, empty):
    config = dataclasses.replace(CONFIG, exclude_rl_inputs=left_out)
    replay, draw = Replay(40, config), torch.Generator().manual_seed(0)
    assert replay.bytes < Replay(40, CONFIG).bytes
    for name in empty:
        key = "latents" if name == "observation" else name
        assert replay.kept[key].numel() == 0
    play(replay, 4, draw, config)
    found = replay.sample(10, draw, PLAIN)
    assert all(getattr(found.before, name).numel() == 0 for name in empty)
    assert len(found) == 10


def test_a_restored_buffer_draws_the_same_and_goes_on_at_the_same_place():
    draw = torch.Generator().manual_seed(0)
    replay, again = Replay(31, CONFIG), Replay(31, CONFIG)
    expected: dict[int, list[Transition]] = {}
    for _ in range(3):
        expected |= play(replay, 3, draw, stopping=0.2)
    state = replay.state()
    again.load_state(
        {**state, "kept": {name: value.clone() for name, value in state["kept"].items()}}
    )
    assert_is(again, expected)
    mine, other = (r.sample(20, torch.Generator().manual_seed(7), PLAIN) for r in (replay, again))
    assert torch.equal(mine.before.observation, other.before.observation)
    assert torch.equal(again.begin(4), replay.begin(4))


def test_a_cleared_buffer_is_empty_and_fills_anew():
    replay, draw = Replay(40, CONFIG), torch.Generator().manual_seed(0)
    play(replay, 5, draw)
    replay.clear()
    assert len(replay) == 0
    assert_is(replay, play(replay, 2, draw))


def test_more_episodes_at_once_than_there_is_room_for_are_refused():
    replay = Replay(11, CONFIG)
    assert replay.episodes == 2
    with pytest.raises(ValueError, match="3 episodes at once into a buffer of 2"):
        replay.begin(3)


def test_acceptance_30_ten_thousand_transitions_take_less_than_two_gigabytes():
    config = GlimpseModelConfig(backbone_size="base", num_glimpses=12, glimpse_grid_size=2)
    replay = Replay(10_000, config, device="meta")
    real = Replay(24, config)
    assert replay.episodes * 12 > 10_000 - 12
    assert (
        replay.bytes
        == replay.episodes // real.episodes * real.bytes + replay.episodes % 2 * real.bytes // 2
    )
    assert replay.bytes < 2e9
    # one copy in float32 of each observation beside its next one, as it is usually done
    usual = 10_000 * 2 * 4 * (48 * (768 + 768 + 1 + 4 + 1))
    assert replay.bytes < usual / 4
