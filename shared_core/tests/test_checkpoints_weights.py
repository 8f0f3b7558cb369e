"""Weights come back as they were, other people's files run no code, and misfits are named."""

from __future__ import annotations

import io
import pickle
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from shared_core.checkpoints.weights import (
    load_into,
    load_legacy,
    load_metadata,
    load_weights,
    read_legacy,
    save_weights,
)
from shared_core.errors import CheckpointError
from shared_core.testing.faults import flip_bit, hostile_checkpoints, truncate


def test_tied_weights_are_each_saved_in_full(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_weights(tmp_path / "w", model.state_dict(), {"by": "test"})
    loaded = load_weights(tmp_path / "w")
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    assert load_metadata(tmp_path / "w") == {"by": "test"}


def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_weights(tmp_path / "w", {})
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "w")}
    assert len(modes) == 1


def test_saving_where_nobody_can_write_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_weights(tmp_path / "absent" / "w", {"a": torch.zeros(1)})


def test_a_damaged_header_or_a_short_file_is_refused(tmp_path: Path) -> None:
    for damage in (truncate, lambda path: flip_bit(path, 7, 7), lambda path: path.unlink()):
        save_weights(tmp_path / "w", {"a": torch.zeros(9)})
        damage(tmp_path / "w")
        for load in (load_weights, load_metadata):
            with pytest.raises(CheckpointError, match="w: not a readable safetensors file"):
                load(tmp_path / "w")


STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_plain_and_wrapped_pth_files_are_read(
    tmp_path: Path, archive: bool, wrapper: str | None
) -> None:
    path = tmp_path / "net.pth"
    content = STATE if wrapper is None else {wrapper: STATE, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    loaded = load_legacy(path)
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


def test_an_empty_wrapper_is_passed_over(tmp_path: Path) -> None:
    torch.save({"model_state_dict": {}, "model": STATE}, tmp_path / "net.pth")
    assert load_legacy(tmp_path / "net.pth").keys() == STATE.keys()


def test_instances_of_the_classes_named_are_let_in_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"model": STATE, "loss": nn.MSELoss(), "epoch": 3}, path)
    content = read_legacy(path, classes=(nn.MSELoss,))
    assert (type(content["loss"]), content["epoch"]) == (nn.MSELoss, 3)
    assert load_legacy(path, classes=(nn.MSELoss,)).keys() == STATE.keys()
    for classes in ((), (nn.L1Loss,)):
        with pytest.raises(CheckpointError, match="MSELoss, which is code that loading would run"):
            read_legacy(path, classes=classes)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_classes_that_are_let_in_open_the_door_to_nothing_else(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for what, path in hostile_checkpoints(tmp_path, touched).items():
        with pytest.raises(CheckpointError):
            read_legacy(path, classes=(nn.MSELoss,))
        assert not touched.exists(), what


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_hostile_checkpoint_runs(tmp_path: Path) -> None:
    """Each file of the corpus is refused with a remedy, in one message, and nothing is touched."""
    touched = tmp_path / "touched"
    corpus = hostile_checkpoints(tmp_path, touched)
    assert len(corpus) >= 60
    for what, path in corpus.items():
        with pytest.raises(CheckpointError) as raised:
            load_legacy(path)
        assert not touched.exists(), what
        assert str(path) in str(raised.value), what
        assert str(raised.value).count("\n") == 1, what
        assert "weights_only" not in str(raised.value), what  # torch advises to turn it off


def test_the_corpus_would_run_under_an_unguarded_loader(tmp_path: Path) -> None:
    """The test above proves nothing unless the payloads work."""
    touched = tmp_path / "touched"
    corpus = hostile_checkpoints(tmp_path, touched)
    for what in ("eval", "exec", "open", "path", "nested", "in-a-list", "os.system"):
        pickle.load(io.BytesIO(corpus[f"{what} in pickle-2"].read_bytes()))
        assert touched.exists(), what
        touched.unlink()


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("os.system in zip", "system, which is code"),
        ("eval in legacy", "eval, which is code"),
        ("subprocess in pickle-5", r"subprocess\.check_call, which is code"),
        ("exec in tar", "old format"),
        ("exec in bomb", "bytes that unpack to"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_the_refusal_names_what_would_have_run(tmp_path: Path, what: str, named: str) -> None:
    corpus = hostile_checkpoints(tmp_path, tmp_path / "touched")
    with pytest.raises(CheckpointError, match=named):
        load_legacy(corpus[what])


def test_a_pickled_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "m.pth")
    with pytest.raises(
        CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*\n.*safetensors"
    ):
        load_legacy(tmp_path / "m.pth")


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
def test_a_cut_or_flipped_pth_is_one_message(tmp_path: Path, archive: bool) -> None:
    path = tmp_path / "net.pth"
    for length in (0, 1, 10, 100, -200, -1):
        torch.save(STATE, path, _use_new_zipfile_serialization=archive)
        truncate(path, length)
        with pytest.raises(CheckpointError, match=r"net\.pth: "):
            load_legacy(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [([1, 2], "found list"), ({"a": 3}, "int under 'a'"), ({1: torch.zeros(1)}, "under 1")],
)
def test_a_pth_without_tensors_by_name_is_refused(
    tmp_path: Path, content: object, found: str
) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"expected tensors by name, .*{found}"):
        load_legacy(tmp_path / "x.pth")


def test_a_missing_pth_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_legacy(tmp_path / "x.pth")


def test_a_tensor_larger_than_its_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.zeros(1).as_strided((1, 10), (0, 0))}, path)
    data = path.read_bytes()
    # The pickled sizes are BININT1 10; make it a length the storage does not have.
    path.write_bytes(
        data.replace(b"K\x01K\n\x86", b"K\x7fK\x7f\x86").replace(
            b"K\x00K\x00\x86", b"K\x7fK\x01\x86"
        )
    )
    assert path.read_bytes() != data
    with pytest.raises(CheckpointError, match="not a readable torch checkpoint"):
        load_legacy(path)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def test_weights_that_fit_are_put_in(tmp_path: Path) -> None:
    source, target = model(), model()
    load_into(target, source.state_dict(), path=tmp_path)
    assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


def test_misfits_are_all_named_with_shapes_and_nothing_is_changed(tmp_path: Path) -> None:
    target = model()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    state = {name: value + 1 for name, value in before.items() if name != "1.bias"}
    state |= {"0.weight": torch.zeros(2, 5), "head.bias": torch.zeros(4)}
    with pytest.raises(CheckpointError) as raised:
        load_into(target, state, path=tmp_path / "w.safetensors")
    message = str(raised.value)
    for part in (
        "w.safetensors: expected the weights of Sequential",
        "missing 1.bias [1]",
        "unknown head.bias [4]",
        "of wrong shape 0.weight [2, 5] instead of [2, 3]",
    ):
        assert part in message
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_only_the_first_eight_misfits_are_listed(tmp_path: Path) -> None:
    state = {f"x{index}": torch.zeros(1) for index in range(20)}
    with pytest.raises(CheckpointError, match=r"x7 \[1\] and 12 more"):
        load_into(nn.Identity(), state, path=tmp_path)


def test_optional_names_may_be_absent_on_either_side(tmp_path: Path) -> None:
    state = model().state_dict()
    del state["1.bias"]
    state["linear.weight"] = torch.zeros(1)
    load_into(model(), state, path=tmp_path, optional=("1.*", "linear.*"))
    with pytest.raises(CheckpointError, match="unknown linear"):
        load_into(model(), state, path=tmp_path, optional=("1.*",))
