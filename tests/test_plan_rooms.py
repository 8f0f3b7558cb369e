"""Every package plans its training: from the settings alone, with what its own learner does."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from shared_core.launch.plan_measure import Cost
from tools.packages import packages
from tools.plan_check.settings import setting


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.program)
def test_every_package_has_the_room(package):
    import inspect

    room = import_module(f"{package.module}.plan")
    assert list(inspect.signature(room.cost).parameters) == ["config", "folder"]
    assert list(inspect.signature(room.made_up).parameters) == ["config", "folder", "items"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("package", packages(), ids=lambda package: package.program)
def test_the_cost_of_an_update_is_that_of_the_configured_one(package, tmp_path):
    config, _ = setting(package.program, tmp_path / "setting")
    cost: Cost = import_module(f"{package.module}.plan").cost(config, tmp_path)
    assert cost.items == config.batch_size
    assert cost.parameter_bytes == 4 * cost.weights  # fp32
    assert 0 < cost.trained <= cost.weights
    # Adam keeps two numbers for each that has learnt, and a count for each tensor
    assert 0 < cost.optimizer_bytes <= 2 * 4 * cost.trained * 1.01
    assert cost.working_bytes > cost.gradient_bytes
    assert cost.flops > 2 * cost.items * cost.trained / 1000
    assert all(getattr(cost, f.name) >= 0 for f in fields(cost) if "bytes" in f.name)
    assert not (tmp_path / "setting" / "run").exists()


def test_a_language_model_is_planned_from_its_sizes(tmp_path):
    from refine_iqa.config import TrainConfig
    from refine_iqa.model.tiny import build
    from refine_iqa.plan_rule import by_rule

    model = build(tmp_path / "model", width=64, layers=3)
    options: dict[str, Any] = {"model": str(model), "data": (tmp_path,), "max_pixels": 3136}
    config = TrainConfig(**options, gradient_checkpointing=False, batch_size=2, num_generations=4)
    cost = by_rule(config)
    (weights,) = model.glob("*.safetensors")
    assert cost.parameter_bytes == 4 * cost.weights == cost.gradient_bytes
    assert cost.parameter_bytes <= weights.stat().st_size < 1.1 * cost.parameter_bytes
    assert cost.held_bytes == cost.parameter_bytes  # what learning is compared with
    without = by_rule(TrainConfig(**options, gradient_checkpointing=False, beta=0.0, batch_size=2))
    assert without.held_bytes == 0
    twice = by_rule(TrainConfig(**options, gradient_checkpointing=True, batch_size=2))
    once = by_rule(TrainConfig(**options, gradient_checkpointing=False, batch_size=2))
    assert twice.working_bytes < once.working_bytes
    assert twice.flops == once.flops / 5 * 6


def test_a_model_that_is_not_there_is_told(tmp_path):
    from refine_iqa.plan_rule import by_rule
    from shared_core.errors import CheckpointError

    with pytest.raises(CheckpointError, match=r"config\.json"):
        by_rule(SimpleNamespace(model=str(tmp_path)))  # type: ignore[arg-type]
