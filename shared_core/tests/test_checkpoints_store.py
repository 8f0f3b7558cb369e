"""A checkpoint is whole or it is not there, and damage is found before a tensor is used."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shared_core import faultpoints
from shared_core.checkpoints import manifest
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.tree import save_tree
from shared_core.checkpoints.weights import load_weights, save_weights
from shared_core.errors import CheckpointError, ConfigError
from shared_core.testing.faults import fill_disk, flip_bit, small_disk, truncate


def content(step: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        save_weights(folder / "model.safetensors", {"w": torch.full((300,), float(step))})
        save_tree(folder / "state.safetensors", {"step": step})
        (folder / "shards").mkdir()
        (folder / "shards" / "0.bin").write_bytes(bytes([step % 256]) * 64)

    return write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "checkpoints", keep_last=2)


def filled(store: Store, *steps: int, best: int | None = None) -> Store:
    for step in steps:
        store.save(step, content(step), best=step == best, note={"position": step})
    return store


def test_what_was_saved_is_found_with_its_note(store: Store) -> None:
    assert store.latest() is None
    assert store.best() is None
    assert store.steps() == []
    folder = store.save(7, content(7), note={"epoch": 1, "scores": [0.1, None], 3: "int key"})
    saved = store.latest()
    assert saved is not None
    assert (saved.step, saved.folder, saved.best) == (7, folder, False)
    assert saved.note == {"epoch": 1, "scores": [0.1, None], "3": "int key"}
    assert load_weights(folder / "model.safetensors")["w"][0] == 7
    assert folder.name == "step-00000007"


def test_the_last_k_and_the_best_are_kept(store: Store) -> None:
    filled(store, 1, 2, 3, 4, 5, best=2)
    assert store.steps() == [2, 4, 5]
    best, latest = store.best(), store.latest()
    assert best is not None
    assert latest is not None
    assert (best.step, latest.step) == (2, 5)
    filled(store, 6, best=6)
    assert store.steps() == [5, 6]


def test_the_pointers_name_the_latest_and_the_best(store: Store) -> None:
    filled(store, 1, 2, 3, best=2)
    pointers = [json.loads((store.folder / f"{n}.json").read_text()) for n in ("latest", "best")]
    assert pointers == [
        {"step": 3, "folder": "step-00000003"},
        {"step": 2, "folder": "step-00000002"},
    ]


def test_the_manifest_lists_every_file_with_size_and_sha256(store: Store) -> None:
    folder = store.save(1, content(1))
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert sorted(files) == ["model.safetensors", "shards/0.bin", "state.safetensors"]
    for name, entry in files.items():
        tool = subprocess.run(["sha256sum", folder / name], capture_output=True, text=True)
        assert entry == {"bytes": (folder / name).stat().st_size, "sha256": tool.stdout[:64]}


FILES = ("model.safetensors", "state.safetensors", "shards/0.bin", "manifest.json")
DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: truncate(path, 0),
    "half": lambda path: truncate(path),
    "one byte short": lambda path: truncate(path, -1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "first byte": lambda path: flip_bit(path, 0, 3),
    "one bit": flip_bit,
    "last byte": lambda path: flip_bit(path, -2, 1),
    "missing": lambda path: path.unlink(),
}


# The last byte of a manifest is its line end, which carries nothing.
@pytest.mark.parametrize(
    ("name", "damage"),
    sorted(set(itertools.product(FILES, DAMAGE)) - {("manifest.json", "one byte short")}),
)
def test_a_damaged_file_is_named_and_the_previous_checkpoint_taken(
    store: Store, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    filled(store, 1, 2)
    DAMAGE[damage](store.folder / "step-00000002" / name)
    with pytest.raises(CheckpointError, match=Path(name).name):
        store.at(2)
    with caplog.at_level(logging.WARNING):
        saved = store.latest()
    assert saved is not None
    assert saved.step == 1
    assert f"step-00000002/{name}" in caplog.text


def test_every_single_bit_of_a_manifest_counts(store: Store) -> None:
    """A flipped bit is either found, or leaves the same content (a space that became a tab)."""
    folder = store.save(1, content(1), note={"score": 0.25})
    path = folder / "manifest.json"
    whole = path.read_bytes()
    expected = manifest.read_manifest(folder)
    for position in range(len(whole)):
        path.write_bytes(whole)
        flip_bit(path, position, position % 8)
        try:
            assert manifest.read_manifest(folder) == expected
        except CheckpointError:
            continue


def test_an_unlisted_file_is_damage(store: Store) -> None:
    filled(store, 1, 2)
    (store.folder / "step-00000002" / "shards" / "1.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"shards/1\.bin: the manifest does not list"):
        store.at(2)


def test_sizes_are_compared_before_anything_is_hashed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.save(1, content(1))
    truncate(folder / "shards" / "0.bin")
    monkeypatch.setattr(manifest, "sha256_of", lambda path: pytest.fail("hashed"))
    with pytest.raises(CheckpointError, match="expected 64 bytes, found 32"):
        store.at(1)


def test_a_checkpoint_of_another_step_is_refused(store: Store) -> None:
    filled(store, 1)
    (store.folder / "step-00000001").rename(store.folder / "step-00000009")
    with pytest.raises(CheckpointError, match="expected this step, found that of step 1"):
        store.at(9)


def test_when_all_are_damaged_the_run_does_not_start_over_silently(store: Store) -> None:
    filled(store, 1, 2)
    for step in (1, 2):
        truncate(store.folder / f"step-{step:08d}" / "model.safetensors")
    with pytest.raises(CheckpointError, match="all 2 checkpoints are damaged"):
        store.latest()


@pytest.mark.parametrize("pointer", [b"", b"{", b"[]", b'{"step": "x"}', None])
def test_a_damaged_pointer_costs_nothing(store: Store, pointer: bytes | None) -> None:
    filled(store, 1, 2, best=1)
    for name in ("latest.json", "best.json"):
        (store.folder / name).unlink()
        if pointer is not None:
            (store.folder / name).write_bytes(pointer)
    latest, best = store.latest(), store.best()
    assert latest is not None
    assert best is not None
    assert (latest.step, best.step) == (2, 1)


def test_a_checkpoint_that_vanished_is_reported(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    filled(store, 1, 2, best=2)
    (store.folder / "step-00000002").rename(store.folder.parent / "elsewhere")
    with caplog.at_level(logging.WARNING):
        latest = store.latest()
        assert store.best() is None
    assert latest is not None
    assert latest.step == 1
    assert "step-00000002: gone or damaged, though latest.json names it" in caplog.text
    assert "step-00000002: gone or damaged, though best.json names it" in caplog.text


def test_resuming_before_a_damaged_checkpoint_replaces_it(store: Store) -> None:
    filled(store, 1, 2, 4)
    for step in (2, 4):
        truncate(store.folder / f"step-{step:08d}" / "model.safetensors")
    filled(store, 2)
    assert store.steps() == [2]
    assert store.at(2).step == 2
    filled(store, 3)
    assert store.steps() == [2, 3]


def test_leftovers_of_killed_runs_are_ignored_and_swept(store: Store) -> None:
    filled(store, 1)
    for name in (".step-00000002.writing", ".step-00000000.removing"):
        (store.folder / name).mkdir()
        (store.folder / name / "model.safetensors").write_bytes(b"half")
    latest = store.latest()
    assert latest is not None
    assert latest.step == 1
    filled(store, 2)
    assert not list(store.folder.glob(".*"))


def test_several_ranks_write_one_checkpoint_in_phases(store: Store) -> None:
    other = Store(store.folder)
    assert store.begin(3) == other.staging(3)
    for rank, each in enumerate((store, other)):
        with each.writing(3) as folder:
            (folder / f"rank-{rank}.bin").write_bytes(b"x")
    assert other.latest() is None
    store.commit(3, best=True)
    saved = other.best()
    assert saved is not None
    assert sorted(p.name for p in saved.folder.glob("rank*")) == ["rank-0.bin", "rank-1.bin"]


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_a_failed_writer_leaves_nothing(store: Store, error: BaseException) -> None:
    filled(store, 1)

    def fail(folder: Path) -> None:
        (folder / "part").write_bytes(b"x")
        raise error

    with pytest.raises(type(error)):
        store.save(2, fail)
    names = sorted(path.name for path in store.folder.iterdir())
    assert names == ["latest.json", "step-00000001"]


def test_a_note_that_is_not_finite_is_a_bug_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.save(1, content(1), note={"score": float("nan")})
    assert list(store.folder.iterdir()) == []


def big(folder: Path) -> None:
    save_weights(folder / "model.safetensors", {"w": torch.zeros(100_000)})


def torch_writes(folder: Path) -> None:
    torch.save(torch.zeros(100_000), folder / "shard.pt")


def fills_first(folder: Path) -> None:
    fill_disk(folder.parent.parent)  # the checkpoint fits, its manifest does not
    (folder / "empty").touch()


@pytest.mark.parametrize("write", [big, torch_writes, fills_first])
def test_a_full_disk_leaves_the_old_checkpoint_and_says_bytes(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    with small_disk(tmp_path / "disk", 320 << 10) as disk:
        store = filled(Store(disk / "checkpoints"), 1)
        message = r"disk is full.* \d+ bytes, \d+ were left.\n.*free some space"
        with pytest.raises(CheckpointError, match=message) as raised:
            store.save(2, write)
        assert store.at(1).step == 1
        assert store.steps() == [1]
        assert not list(store.folder.glob(".*"))
        del raised  # torch's writer keeps its removed file open as long as its traceback lives
        gc.collect()
        (disk / "filler").unlink(missing_ok=True)
        filled(store, 2)


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written \(Not a directory\)"):
        Store(tmp_path / "file" / "checkpoints").save(1, content(1))


def test_no_permission_to_write_is_one_message(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store, 1)

    def refuse(path: Path, *rest: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(CheckpointError, match=r"Permission denied\).*\nMake the folder"):
            store.save(2, content(2))
    latest = store.latest()
    assert latest is not None
    assert latest.step == 1


def test_at_least_one_checkpoint_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep_last: expected 1 or more"):
        Store(tmp_path, keep_last=0)


POINTS = (
    *(f"{when}:{name}" for name in FILES if "/" not in name for when in ("before", "after")),
    *("before-seal", "before-rename", "before-pointer", "after-pointer", "after-prune"),
)


def save_twice(folder: Path, point: str) -> None:
    os.environ["SHARED_CORE_FAULT_AT"] = f"{point}:2"
    store = Store(folder, keep_last=1)
    for step in (1, 2):
        store.save(step, content(step), best=step == 2)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_of_saving_a_whole_checkpoint_remains(
    tmp_path: Path, point: str
) -> None:
    process = multiprocessing.get_context("fork").Process(target=save_twice, args=(tmp_path, point))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = Store(tmp_path, keep_last=1)
    latest = store.latest()
    assert latest is not None
    renamed = point in ("before-pointer", "after-pointer", "after-prune")
    assert latest.step == (2 if renamed else 1)
    store.save(3, lambda folder: (folder / "x").touch())
    assert store.steps() == ([2, 3] if renamed else [3])
    assert not list(tmp_path.glob(".*"))


def reach_thrice(wanted: str) -> None:
    os.environ["SHARED_CORE_FAULT_AT"] = wanted
    for point in ("load", "before:a", "load", "before:a", "load"):
        faultpoints.reach(point)
    os._exit(5)


@pytest.mark.parametrize(
    ("wanted", "dies"),
    [("load", True), ("load:3", True), ("load:4", False), ("before:a:2", True), ("b", False)],
)
def test_a_fault_point_kills_at_the_named_occurrence_only(wanted: str, dies: bool) -> None:
    process = multiprocessing.get_context("fork").Process(target=reach_thrice, args=(wanted,))
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if dies else 5)
