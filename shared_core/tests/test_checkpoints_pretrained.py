"""A model folder gives the model back, or says why not; the hub is a fake."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from shared_core.checkpoints import hub as hub_module
from shared_core.checkpoints import pretrained
from shared_core.checkpoints.pretrained import Pretrained
from shared_core.errors import CheckpointError, UsageError
from shared_core.testing.faults import fill_disk, flip_bit, small_disk, truncate


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    width: int = 3
    dropout: float = 0.5


class Tiny(nn.Module, Pretrained):
    config_class = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(nn.Linear(2, config.width), nn.Dropout(config.dropout))


class Other(Tiny):
    pass


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    return Tiny(TinyConfig(width=5))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


def test_a_model_comes_back_ready_to_predict(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path / "new" / "model")
    loaded = Tiny.from_pretrained(tmp_path / "new" / "model")
    assert isinstance(loaded, Tiny)
    assert loaded.config == model.config
    assert same(loaded, model)
    assert not loaded.training
    files = sorted(path.name for path in (tmp_path / "new" / "model").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]


def test_a_run_folder_stands_for_its_exported_model(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path / "run" / "model")
    assert same(Tiny.from_pretrained(str(tmp_path / "run")), model)


def test_loading_moves_no_random_number(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path)
    before = torch.get_rng_state()
    Tiny.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_again_replaces_the_model_and_leaves_other_files(
    tmp_path: Path, model: Tiny
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    Tiny(TinyConfig()).save_pretrained(tmp_path, card="first")
    model.save_pretrained(tmp_path, card="second")
    assert same(Tiny.from_pretrained(tmp_path), model)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert (tmp_path / "README.md").read_text() == "second"


def test_the_model_of_another_class_is_refused_by_both_names(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path)
    here = Tiny.__module__.partition(".")[0]
    message = rf"a model of the class {here}\.Other, found {here}\.Tiny"
    with pytest.raises(CheckpointError, match=message):
        Other.from_pretrained(tmp_path)


def edited(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_of_other_settings_are_refused_by_shape(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path)
    edited(tmp_path, config={"width": 4})
    with pytest.raises(CheckpointError, match=r"body\.0\.weight \[5, 2\] instead of \[4, 2\]"):
        Tiny.from_pretrained(tmp_path)


def test_an_unknown_setting_is_refused_by_name_and_file(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path)
    edited(tmp_path, config={"widht": 4})
    with pytest.raises(UsageError, match=r"config\.json.*widht.*width"):
        Tiny.from_pretrained(tmp_path)


@pytest.mark.parametrize("damage", [truncate, flip_bit, lambda path: path.unlink()])
def test_damaged_weights_are_found_before_a_tensor_is_used(
    tmp_path: Path, model: Tiny, damage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path)
    damage(tmp_path / "model.safetensors")
    monkeypatch.setattr(pretrained, "load_weights", lambda path: pytest.fail("used"))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*\nGet the folder again"):
        Tiny.from_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "1"}', "[" * 100_000])
def test_a_damaged_config_is_one_message(tmp_path: Path, model: Tiny, text: str) -> None:
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: expected what save_pretrained"):
        Tiny.from_pretrained(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path, model: Tiny) -> None:
    model.save_pretrained(tmp_path)
    edited(tmp_path, format=2)
    with pytest.raises(CheckpointError, match="expected format 1, found 2"):
        Tiny.from_pretrained(tmp_path)


def test_a_pth_file_gets_the_remedy(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="must be converted first"):
        Tiny.from_pretrained(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["absent", "a/b/c", "/absent/model", "../x y/z"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="no such folder, and not a hub id"):
        Tiny.from_pretrained(name)


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a revision is for models on the hub"):
        Tiny.from_pretrained(tmp_path, revision="main")


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path, model: Tiny) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        fill_disk(disk)
        with pytest.raises(CheckpointError, match=r"cannot be written .*No space left"):
            model.save_pretrained(disk / "model")
        assert not list((disk / "model").glob("*"))


class FakeHub:
    """As much of huggingface_hub as is used, over a local folder."""

    class HTTPError(Exception):
        """What a connection that fails raises: no OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[str, Any]] = []

    def HfApi(self) -> FakeHub:
        return self

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        self.calls.append(("create_repo", (repo_id, private, exist_ok)))

    def create_branch(self, repo_id: str, *, branch: str, exist_ok: bool) -> None:
        self.calls.append(("create_branch", (repo_id, branch, exist_ok)))

    def upload_folder(
        self, *, repo_id: str, folder_path: str, revision: str | None, commit_message: str
    ) -> SimpleNamespace:
        self.calls.append(("upload_folder", (repo_id, revision, commit_message)))
        target = self.folder / "c0ffee"
        target.mkdir()
        for path in Path(folder_path).iterdir():
            (target / path.name).write_bytes(path.read_bytes())
        return SimpleNamespace(oid="c0ffee")

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, allow_patterns: list[str]
    ) -> str:
        self.calls.append(("snapshot_download", (repo_id, revision, sorted(allow_patterns))))
        return str(self.folder / (revision or "c0ffee"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path)
    for module in (pretrained, hub_module):
        monkeypatch.setattr(module, "require", lambda module, extra: fake)
    return fake


def test_what_was_pushed_is_taken_back_by_its_commit(hub: FakeHub, model: Tiny) -> None:
    commit = model.push_to_hub("me/tiny", private=True, revision="dev")
    assert same(Tiny.from_pretrained("me/tiny", revision=commit), model)
    assert hub.calls == [
        ("create_repo", ("me/tiny", True, True)),
        ("create_branch", ("me/tiny", "dev", True)),
        ("upload_folder", ("me/tiny", "dev", "Upload model")),
        (
            "snapshot_download",
            ("me/tiny", "c0ffee", ["README.md", "config.json", "model.safetensors"]),
        ),
    ]
    assert "# Tiny" in (hub.folder / "c0ffee" / "README.md").read_text()


def test_without_a_revision_the_commit_taken_is_named(
    hub: FakeHub, model: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    model.push_to_hub("me/tiny")
    with caplog.at_level("INFO"):
        Tiny.from_pretrained("me/tiny")
    assert 'me/tiny: took revision="c0ffee"' in caplog.text


def test_a_hub_that_cannot_be_reached_is_one_message(
    hub: FakeHub, model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: Any, **more: Any) -> None:
        raise OSError("offline mode is enabled\nlong story")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    monkeypatch.setattr(hub, "create_repo", offline)
    with pytest.raises(CheckpointError, match=r"\(offline mode is enabled\)\.\n.*local folder"):
        Tiny.from_pretrained("me/tiny")
    with pytest.raises(CheckpointError, match=r"does not take it \(offline mode.*\n.*hf auth"):
        model.push_to_hub("me/tiny")


def test_a_connection_that_fails_is_one_message(
    hub: FakeHub, model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any, **more: Any) -> None:
        raise FakeHub.HTTPError("connection refused")

    monkeypatch.setattr(hub, "upload_folder", refused)
    with pytest.raises(CheckpointError, match=r"does not take it \(connection refused\)"):
        model.push_to_hub("me/tiny")


def test_a_real_connection_that_fails_is_one_message(
    model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("huggingface_hub")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    api = library.HfApi(endpoint="http://127.0.0.1:9", token="none")  # nobody listens there
    monkeypatch.setattr(library, "HfApi", lambda: api)
    with pytest.raises(CheckpointError, match="does not take it"):
        model.push_to_hub("me/tiny")


def test_the_real_library_offline_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="and the hub does not give it"):
        Tiny.from_pretrained("nobody/nothing", revision="0" * 40)
