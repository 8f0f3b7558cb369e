"""Weights of others: the authors' checkpoints by the last name, MAE's backbones, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaglimpse.config import RL_INPUTS, SIZES, ConvertConfig, GlimpseModelConfig
from adaglimpse.method.sac import FILE, Sac, load_sac
from adaglimpse.model.network import GlimpseModel
from adaglimpse.teachers import DeepLab, VitTeacher, deeplab_teacher, vit_teacher
from adaglimpse.weights import Glimpses, command, from_upstream, load_backbone
from shared_core.checkpoints.weights import load_weights
from shared_core.errors import CheckpointError, ConfigError

TINY = GlimpseModelConfig(
    backbone_size="tiny",
    image_size=(64, 64),
    num_glimpses=4,
    max_glimpse_size_ratio=0.75,
)
SETTINGS = {"num_glimpses": 4, "glimpse_grid_size": 2, "max_glimpse_size_ratio": 0.75, "lr": 1e-3}
REST = {
    "epoch": 9,
    "global_step": 20,
    "real_train_step": 5,
    "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-3}]}] * 4,
    "lr_schedulers": [{}] * 4,
    "loops": {},
    "callbacks": {},
    "pytorch-lightning_version": "2.2.0",
}
"""What Lightning writes beside the weights."""


def shaken(state: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Other values everywhere, so that a tensor in a wrong place is found out."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: value + 0.1 * torch.rand(value.shape, generator=draw)
        if value.is_floating_point() and "pos_embed" not in name
        else value
        for name, value in state.items()
    }


def made(config: GlimpseModelConfig = TINY) -> tuple[GlimpseModel, dict[str, Tensor]]:
    """A model, and the state of its SAC."""
    torch.manual_seed(0)
    model = GlimpseModel(config)
    model.load_state_dict(shaken(model.state_dict(), 1))
    sac = Sac(model.actor, model.new_critic())
    return model.eval(), shaken(dict(sac.state_dict()), 2)


def upstream(
    model: GlimpseModel, sac: dict[str, Tensor], prefix: str = "mae._orig_mod."
) -> dict[str, Any]:
    """Entries of the authors' `state_dict`, those of torchrl 0.3.1 that are no tensors included."""
    actor, template = model.actor.state_dict(), model.new_critic().state_dict()
    loss = "rl_loss_module."
    state: dict[str, Any] = {prefix + name: value for name, value in model.mae.state_dict().items()}
    for place, part in (
        ("actor_critic.actor_net.", actor),
        ("actor_critic.policy_module.module.0.module.", actor),
        ("actor_critic.qvalue_net.", template),
        ("actor_critic.qvalue_module.module.", template),
        (loss + "actor_network_params.module.0.module.", actor),
    ):
        state |= {place + name: value for name, value in part.items()}
    for ours, theirs in (("critics", "qvalue"), ("targets", "target_qvalue")):
        state |= {
            name.replace(f"{ours}.", f"{loss}{theirs}_network_params."): value
            for name, value in sac.items()
            if name.startswith(f"{ours}.")
        }
    state[loss + "log_alpha"] = sac["log_alpha"]
    state[loss + "alpha_init"] = torch.tensor(1.0)
    state[loss + "_target_entropy"] = torch.tensor(-3.0)
    state[loss + "_value_estimator.gamma"] = torch.tensor(0.99)
    sizes = {"actor": torch.Size([]), "qvalue": torch.Size([2]), "target_qvalue": torch.Size([2])}
    for name, size in sizes.items():
        state[f"{loss}{name}_network_params.__batch_size"] = size
        state[f"{loss}{name}_network_params.__device"] = (
            None if name == "actor" else torch.device("cpu")
        )
    return state


def lightning(folder: Path, state: dict[str, Any], settings: dict[str, Any] | None = None) -> Path:
    path = folder / "last.ckpt"
    content = {"state_dict": state, "hyper_parameters": SETTINGS if settings is None else settings}
    torch.save(REST | content, path)
    return path


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(value, expected[name]) for name, value in found.items()
    )


@pytest.fixture(scope="module")
def source() -> tuple[GlimpseModel, dict[str, Tensor]]:
    return made()


@pytest.fixture
def checkpoint(source, tmp_path) -> Path:
    return lightning(tmp_path, upstream(*source))


# The authors' checkpoints.


def test_acceptance_24_the_644_entries_of_a_base_reconstruction_all_have_a_place(tmp_path):
    config = GlimpseModelConfig()
    with torch.device("meta"):
        model = GlimpseModel(config)
    critic = {
        name: torch.empty((2, *value.shape), device="meta")
        for name, value in model.new_critic().state_dict().items()
    }
    sac = {
        f"{part}.module.{name}": value
        for part in ("critics", "targets")
        for name, value in critic.items()
    }
    state = upstream(model, sac | {"log_alpha": torch.tensor(0.0)})
    assert len(state) == 644
    assert sum(not isinstance(value, Tensor) for value in state.values()) == 6
    flat = {  # of one stored number each, so that the file is small
        name: torch.tensor(0.5).to(value.dtype).expand(value.shape)
        if isinstance(value, Tensor)
        else value
        for name, value in state.items()
    }
    found = from_upstream(lightning(tmp_path, flat, {}))
    assert found.config == config
    assert all(bool((value == 0.5).all()) for value in found.parameters())


def test_acceptance_24_a_scripted_episode_is_that_of_the_weights_before(source, checkpoint):
    model, _ = source
    found = from_upstream(checkpoint)
    assert equal(found.state_dict(), model.state_dict())
    assert found.config == model.config
    assert not found.training
    draw = torch.Generator().manual_seed(5)
    images = torch.randn(2, 3, 64, 64, generator=draw)
    answers = []
    for network in (model, found):
        views = network.views(images)
        for action in torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(6)):
            views.look(action)
        encoded = network.encode(views)
        policy = network.policy(network.observation(views, encoded))
        answers.append((network.mae.reconstruct(encoded.tokens), *policy))
    for before, after in zip(*answers, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("prefix", ["mae._orig_mod.", "mae."])
@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, task="classification", num_classes=26),
        replace(TINY, task="segmentation", num_classes=7),
        replace(TINY, image_size=(96, 96), exclude_rl_inputs=("patches", "observation")),
        replace(TINY, exclude_rl_inputs=RL_INPUTS[1:]),
    ],
    ids=["classification", "segmentation", "two inputs", "patches alone"],
)
def test_task_classes_and_sizes_follow_from_names_and_shapes(config, prefix, tmp_path):
    model, sac = made(config)
    found = from_upstream(lightning(tmp_path, upstream(model, sac, prefix)))
    assert found.config == config
    assert equal(found.state_dict(), model.state_dict())


def test_the_checkpoint_says_how_it_looked_and_the_user_may_say_otherwise(source, tmp_path):
    more = {"fixed_scale": 0.25, "extract_latent_layer": 1, "glimpse_grid_size": 3}
    path = lightning(tmp_path, upstream(*source), SETTINGS | more | {"max_glimpse_size_ratio": 1.0})
    config = from_upstream(path).config
    assert (config.fixed_scale, config.extract_latent_layer) == (0.25, 1)
    assert (config.num_glimpses, config.glimpse_grid_size) == (4, 3)
    chosen = from_upstream(path, Glimpses(task="segmentation", num_glimpses=9, glimpse_grid_size=2))
    assert (chosen.config.num_glimpses, chosen.config.glimpse_grid_size) == (9, 2)
    assert chosen.config.task == "reconstruction"


def test_images_that_are_not_square_are_as_the_checkpoint_says(tmp_path):
    config = replace(TINY, image_size=(48, 96))
    path = lightning(tmp_path, upstream(*made(config)), SETTINGS | {"image_size": [48, 96]})
    assert from_upstream(path).config == config


def test_a_backbone_that_was_pretrained_alone_did_not_learn_to_look(source, tmp_path, caplog):
    path = lightning(tmp_path, upstream(*source), SETTINGS | {"pretraining": True})
    assert not from_upstream(path).config.trained
    assert "nobody taught where to look" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mae._orig_mod.norm.bias": None}, r"missing mae\.norm\.bias \[64\]"),
        ({"mae._orig_mod.fc_norm.bias": torch.ones(3)}, r"unknown mae\.fc_norm\.bias \[3\]"),
        ({"mae._orig_mod.norm.bias": torch.ones(3)}, r"mae\.norm\.bias \[3\] instead of \[64\]"),
        ({"gan.weight": torch.ones(3)}, r"unknown gan\.weight"),
        (
            {"rl_loss_module.actor_network_params.module.0.module.head.0.bias": None},
            r"missing actor\.head\.0\.bias",
        ),
        (
            {"rl_loss_module.qvalue_network_params.module.head.0.bias": None},
            r"missing critics\.module\.head\.0\.bias",
        ),
        ({"rl_loss_module.log_alpha": None}, "missing log_alpha"),
        ({"mae._orig_mod.cls_token": torch.ones(1, 1, 80)}, "a width of 64, 384, 768, 1024"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_checkpoint_that_does_not_match_is_refused_with_its_names(
    source, change, message, tmp_path
):
    removed = {name for name, value in change.items() if value is None}
    state = {n: v for n, v in (upstream(*source) | change).items() if n not in removed}
    path = lightning(tmp_path, state)
    with pytest.raises(CheckpointError, match=message):
        from_upstream(path)


@pytest.mark.parametrize("settings", [{"num_glimpses": 0}, {"num_glimpses": "many"}])
def test_settings_that_cannot_be_are_refused(source, settings, tmp_path):
    path = lightning(tmp_path, upstream(*source), SETTINGS | settings)
    with pytest.raises(CheckpointError, match="settings of no model that can be"):
        from_upstream(path)


# Backbones.


def as_mae(model: GlimpseModel) -> dict[str, Tensor]:
    """The names of MAE's published files: no scales, no head, a position for the class token."""
    state = {
        name: value
        for name, value in model.mae.state_dict().items()
        if "gamma" not in name and not name.startswith("head.")
    }
    places = 1 + state["pos_embed"].shape[1]
    return state | {"pos_embed": torch.randn(1, places, state["pos_embed"].shape[2])}


def plain(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "mae.pth"
    torch.save({"model": state, "epoch": 3}, path)
    return path


def test_maes_files_have_no_scales_and_their_position_code_is_not_used(source, tmp_path):
    model, _ = source
    state = as_mae(model)
    fresh = GlimpseModel(TINY)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    notes = load_backbone(fresh.mae, plain(tmp_path, state))
    assert notes == [
        "its position code pos_embed is not used: it follows from boxes",
        "it has no gamma_1 and gamma_2: they are 1",
        "not in it, left as they were: head",
    ]
    for name, value in fresh.state_dict().items():
        own = name.removeprefix("mae.")
        if own in state and own != "pos_embed":
            assert torch.equal(value, state[own])
        elif "gamma" in name:
            assert bool((value == 1).all())
        else:
            assert torch.equal(value, before[name])


def test_an_encoder_alone_leaves_the_decoder_as_it_was(source, tmp_path):
    model, _ = source
    state = {n: v for n, v in as_mae(model).items() if not n.startswith(("decoder", "mask"))}
    fresh = GlimpseModel(TINY)
    decoder = fresh.mae.decoder_blocks[1].gamma_1.clone()
    notes = load_backbone(fresh.mae, plain(tmp_path, state))
    assert torch.equal(fresh.mae.decoder_blocks[1].gamma_1, decoder)
    left = "head, mask_token, decoder_embed, decoder_blocks, decoder_norm, decoder_pred"
    assert sorted(notes[-1].partition(": ")[2].split(", ")) == sorted(left.split(", "))


def test_a_last_layer_of_another_size_is_left_out_and_said(source, tmp_path):
    model, _ = source
    state = model.mae.state_dict()
    state["decoder_pred.weight"] = torch.ones(256, 64)
    fresh = GlimpseModel(TINY)
    own = fresh.mae.decoder_pred.bias.clone() + 1
    with torch.no_grad():
        fresh.mae.decoder_pred.bias.copy_(own)
    notes = load_backbone(fresh.mae, plain(tmp_path, state))
    assert notes[0].endswith("decoder_pred.weight [256, 64], decoder_pred.bias [768]")
    assert torch.equal(fresh.mae.decoder_pred.bias, own)
    assert torch.equal(fresh.mae.norm.bias, model.mae.norm.bias)


def test_a_decoder_that_the_backbone_has_not_is_left_out_and_said(source, tmp_path):
    model, _ = source
    classifier = GlimpseModel(replace(TINY, task="classification", num_classes=26))
    notes = load_backbone(classifier.mae, plain(tmp_path, model.mae.state_dict()))
    assert any(note.startswith("not taken, this model has none: ") for note in notes)
    assert any("head.weight [1000, 64]" in note for note in notes)
    assert torch.equal(classifier.mae.cls_token, model.mae.cls_token)


@pytest.mark.parametrize("home", ["model folder", "run folder", "checkpoint"])
def test_a_backbone_comes_from_our_folders_and_from_checkpoints_too(source, home, tmp_path):
    model, sac = source
    path = tmp_path / "run"
    if home == "checkpoint":
        path = lightning(tmp_path, upstream(model, sac))
    else:
        model.save_pretrained(path if home == "model folder" else path / "model")
    fresh = GlimpseModel(TINY)
    assert load_backbone(fresh.mae, path) == []
    assert equal(fresh.mae.state_dict(), model.mae.state_dict())
    assert not equal(fresh.actor.state_dict(), model.actor.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.attn.qkv.weight": None}, r"missing blocks\.0\.attn\.qkv\.weight"),
        ({"fc_norm.weight": torch.ones(64)}, r"unknown fc_norm\.weight"),
        ({"decoder_embed.weight": torch.ones(5, 64)}, r"decoder_embed\.weight \[5, 64\]"),
    ],
    ids=["missing", "unknown", "decoder of another width"],
)
def test_a_backbone_that_does_not_match_is_refused_and_nothing_changes(
    source, change, message, tmp_path
):
    state = as_mae(source[0]) | change
    path = plain(tmp_path, {name: value for name, value in state.items() if value is not None})
    fresh = GlimpseModel(TINY)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_backbone(fresh.mae, path)
    assert equal(fresh.state_dict(), before)


def test_converting_moves_nobodys_random_numbers_and_is_the_same_each_time(source, tmp_path):
    path = plain(tmp_path, as_mae(source[0]))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = from_upstream(path)
    assert torch.equal(torch.rand(2), expected)
    assert equal(first.state_dict(), from_upstream(path).state_dict())


# The command.


def test_the_command_writes_a_model_and_what_training_needs(source, checkpoint, tmp_path, capsys):
    model, sac = source
    command(ConvertConfig(source=checkpoint, out=tmp_path / "model"))
    found = GlimpseModel.from_pretrained(tmp_path / "model")
    assert equal(found.state_dict(), model.state_dict())
    assert equal(load_weights(tmp_path / "model" / FILE), sac)
    fresh = Sac(found.actor, found.new_critic())
    assert load_sac(tmp_path / "model", fresh)
    assert equal(dict(fresh.state_dict()), sac)
    assert "NOTE" not in capsys.readouterr().out


def test_the_command_makes_a_model_of_a_backbone_and_says_that_its_policy_is_random(
    source, checkpoint, tmp_path, capsys
):
    out = tmp_path / "model"
    command(ConvertConfig(source=checkpoint, out=out))
    command(
        ConvertConfig(
            source=plain(tmp_path, as_mae(source[0])), out=out, task="segmentation", num_glimpses=6
        )
    )
    config = GlimpseModel.from_pretrained(out).config
    assert (config.task, config.num_classes, config.num_glimpses) == ("segmentation", 150, 6)
    assert not config.trained
    assert not (out / FILE).exists()
    said = capsys.readouterr().out
    assert "NOTE: it has no gamma_1 and gamma_2: they are 1" in said
    assert "NOTE: it holds a backbone that nobody taught where to look" in said


def test_of_a_checkpoint_the_command_takes_the_backbone_alone_where_asked(
    source, checkpoint, tmp_path
):
    command(ConvertConfig(source=checkpoint, out=tmp_path / "model", kind="mae"))
    found = GlimpseModel.from_pretrained(tmp_path / "model")
    assert not found.config.trained
    assert equal(found.mae.state_dict(), source[0].mae.state_dict())


def test_a_backbone_is_no_checkpoint(source, tmp_path):
    path = plain(tmp_path, as_mae(source[0]))
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint .* found weights named blocks\.0"
    ):
        command(ConvertConfig(source=path, out=tmp_path / "model", kind="checkpoint"))


def test_the_command_converts_teachers(tmp_path):
    torch.manual_seed(0)
    vit, deeplab = VitTeacher(SIZES["tiny"], 5, 48), DeepLab(5)
    out = tmp_path / "teacher.safetensors"
    path = lightning(tmp_path, {f"teacher_model.{n}": v for n, v in vit.state_dict().items()})
    command(ConvertConfig(source=path, out=out, kind="vit-teacher"))
    assert equal(vit_teacher(out, 5).state_dict(), vit.state_dict())
    flat = {n: torch.tensor(2).to(v.dtype).expand(v.shape) for n, v in deeplab.state_dict().items()}
    path = lightning(tmp_path, {f"teacher_model._orig_mod.{n}": v for n, v in flat.items()})
    command(ConvertConfig(source=path, out=out))
    assert equal(deeplab_teacher(out, 5).state_dict(), flat)


def test_a_teacher_is_written_into_a_safetensors_file_only(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match=r"a \.safetensors file"):
        command(ConvertConfig(source=checkpoint, out=tmp_path / "model", kind="vit-teacher"))
