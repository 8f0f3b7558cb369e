"""Labels and splits: the real VR-VQW's lists and hashes, and what is refused."""

from __future__ import annotations

import io
import zipfile

import pytest

from asal_vrvqa.config import TASKS, Compat, Network, Replay, Scale, SplitsConfig, TrainConfig
from asal_vrvqa.data.check import command as splits_command
from asal_vrvqa.data.labels import read_categories, read_clips
from asal_vrvqa.data.splits import clip_split, few_shot, list_hash, source_split, stream_of
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_json
from shared_core.errors import ConfigError, DataError, UsageError
from shared_core.testing.data import shared_data

CLIP_TRAIN = {
    "CG": (42, "2efbce56c02d"),
    "Landscape": (186, "7df09a0c984f"),
    "Sports": (77, "3f0594dcd679"),
    "Shows": (275, "a9a4bfd01544"),
    "Cityscape": (381, "0fc19f05fae9"),
}
CLIP_TEST = {
    "CG": (10, "17d2d526444b"),
    "Landscape": (46, "9b4620abbe5f"),
    "Sports": (19, "dd89000bf3f6"),
    "Shows": (69, "ba7ad3f71b5e"),
    "Cityscape": (95, "767749d0e3b8"),
}
SOURCE_TRAIN = {
    "CG": (40, "1560af1878b3"),
    "Landscape": (184, "cc3c4cd8a30e"),
    "Sports": (76, "602269f74b5a"),
    "Shows": (276, "bc14742e187f"),
    "Cityscape": (380, "b430acba50f7"),
}
SOURCE_TEST = {
    "CG": (12, "9108bf0b46d9"),
    "Landscape": (48, "00fd2eb8943b"),
    "Sports": (20, "e628db80d792"),
    "Shows": (68, "f3d8d94e2066"),
    "Cityscape": (96, "7f9521ad3b14"),
}
FEW = {
    50: [
        (42, "ff9fdd8f0a90"),
        (48, "4b2e3c4a99d8"),
        (48, "3b0c6a7d9e07"),
        (48, "933970e216e8"),
        (48, "f38ec998b47f"),
    ],
    20: [
        (20, "cec8105fc61c"),
        (20, "a4a85c1fbd3c"),
        (20, "01366bbdea1a"),
        (20, "f35c4b5f7cd9"),
        (20, "0593fa63f588"),
    ],
}


@pytest.fixture(scope="module")
def real():
    """All clips of VR-VQW, with the categories as they are published: as a workbook."""
    return read_clips(shared_data("asal-vrvqa", "vrvqw_labels", "infoAB_all.csv").parent)


def settings(real_folder, **changes):
    return TrainConfig(labels=real_folder, frames=real_folder, **changes)


def pinned(parts):
    return {part.name: (len(part.clips), list_hash(part.clips)) for part in parts}


def test_the_real_labels_are_read(real):
    assert len(real) == 2008
    counts = {name: sum(clip.category == name for clip in real) for name in (*TASKS, "Others")}
    assert counts == {
        "CG": 52, "Landscape": 232, "Sports": 96, "Shows": 344, "Cityscape": 476, "Others": 808
    }  # fmt: skip
    assert sum(clip.score for clip in real) / len(real) == pytest.approx(2.8228, abs=1e-4)
    first = real[0]
    assert (first.name, first.seconds, first.start) == ("7_A_A_Bay.mp4", 7, "A")
    assert (first.source, first.folder, first.category) == ("A_Bay.mp4", "A_A_Bay.mp4", "Landscape")
    fifteen = next(clip for clip in real if clip.name == "15_B_A_Bay.mp4")
    assert (fifteen.folder, fifteen.step, fifteen.condition) == ("B_A_Bay.mp4", 2, "15_B")


def test_acceptance_13_clip_split(real):
    for name in TASKS:
        train, test = clip_split([c for c in real if c.category == name], 0.8)
        assert (len(train), list_hash(train)) == CLIP_TRAIN[name]
        assert (len(test), list_hash(test)) == CLIP_TEST[name]
    assert list_hash([c for c in real if c.category == "Others"]) == "11d6b01e3536"
    for seed, hashes in ((1024, "60c5aef43242/57ede969edb8"), (0, "9bd1a168ef65/fa55ee34db39")):
        train, test = clip_split(real, 0.8, seed)
        assert (len(train), len(test)) == (1606, 402)
        assert f"{list_hash(train)}/{list_hash(test)}" == hashes


def test_acceptance_15_no_source_is_in_both(real):
    folder = shared_data("asal-vrvqa", "vrvqw_labels", "infoAB_all.csv").parent
    stream = stream_of(settings(folder), real)
    for train, test in zip(stream.stages, stream.tests, strict=True):
        assert not {c.source for c in train.clips} & {c.source for c in test.clips}
        assert len(train.clips) + len(test.clips) == sum(c.category == train.name for c in real)


def test_acceptance_13_source_split(real):
    for name in TASKS:
        train, test = source_split([c for c in real if c.category == name], 0.8)
        assert (len(train), list_hash(train)) == SOURCE_TRAIN[name]
        assert (len(test), list_hash(test)) == SOURCE_TEST[name]
    train, test = source_split(real, 0.8)
    assert (len(train), list_hash(train)) == (1608, "b7caf4f71e51")
    assert (len(test), list_hash(test)) == (400, "fb1dbef38d10")
    assert (
        len({c.source for c in source_split([c for c in real if c.category == "CG"], 0.8)[1]}) == 3
    )


def test_the_clip_split_leaks_nearly_every_source(real):
    """235 of 239 test clips show a source video of the training set."""
    leaked = 0
    for name in TASKS:
        train, test = clip_split([c for c in real if c.category == name], 0.8)
        seen = {clip.source for clip in train}
        leaked += sum(clip.source in seen for clip in test)
    assert leaked == 235


@pytest.mark.parametrize("count", [50, 20])
def test_acceptance_14_few_shot(real, count):
    found = []
    for name in TASKS:
        train, _ = clip_split([c for c in real if c.category == name], 0.8)
        few = few_shot(train, count)
        assert len({clip.name for clip in few}) == len(few)
        found.append((len(few), list_hash(few)))
    assert found == FEW[count]


def test_streams_of_the_real_labels(real):
    folder = shared_data("asal-vrvqa", "vrvqw_labels", "infoAB_all.csv").parent
    stream = stream_of(settings(folder), real)
    assert pinned(stream.stages) == SOURCE_TRAIN
    assert pinned(stream.tests) == SOURCE_TEST
    upstream = stream_of(settings(folder, split_unit="clip", few_shot=50), real)
    assert list(pinned(upstream.stages).values()) == FEW[50]
    assert pinned(upstream.tests) == CLIP_TEST
    joint = stream_of(settings(folder, mode="joint-wo-base", split_unit="clip"), real)
    assert len(joint.stages[0].clips) == 961
    assert sum(len(part.clips) for part in joint.tests) == 239
    everything = stream_of(settings(folder, mode="joint", split_unit="clip"), real)
    assert len(everything.stages[0].clips) == 1606
    assert sum(len(part.clips) for part in everything.tests) == 402
    base = stream_of(settings(folder, mode="base", val_ratio=0.1), real)
    assert len(base.stages[0].clips) + len(base.val) == 808
    assert not {c.source for c in base.val} & {c.source for c in base.stages[0].clips}
    authors = stream_of(settings(folder, mode="base", compat=Compat(select_on_test=True)), real)
    assert list_hash(authors.val) == list_hash(authors.stages[0].clips) == "11d6b01e3536"


def test_prepare_splits_writes_the_hashes(tmp_path, capsys):
    folder = shared_data("asal-vrvqa", "vrvqw_labels", "infoAB_all.csv").parent
    out = tmp_path / "splits.json"
    assert not splits_command(SplitsConfig(train=settings(folder), out=out, look=False))
    content = read_json(out)
    assert {p["name"]: (len(p["clips"]), p["hash"]) for p in content["test"]} == SOURCE_TEST
    assert "1560af1878b3" in capsys.readouterr().out


def test_prepare_splits_names_clips_without_frames(dataset, tiny, tmp_path, capsys):
    config = SplitsConfig(train=tiny(frames=tmp_path / "nowhere"), out=tmp_path / "splits.json")
    assert splits_command(config) == 1
    assert "prepare frames" in capsys.readouterr().out or read_json(config.out)["missing"]


def write(folder, rows, categories="A_x.mp4,CG"):
    folder.mkdir(exist_ok=True)
    (folder / "infoAB_all.csv").write_text("VideoName,MOS\n" + "\n".join(rows) + "\n")
    (folder / "categorized_videos.csv").write_text(f"Video Names,Category\n{categories}\n")
    return folder


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("9_A_A_x.mp4,3", "expected a name of the form 7_A_<video>"),
        ("A_x.mp4,3", "expected a name of the form"),
        ("7_A_A_x.mp4,nan", "7_A_A_x.mp4: expected a score .MOS. from 1 to 5"),
        ("7_A_A_x.mp4,6.5", "7_A_A_x.mp4: expected a score .MOS. from 1 to 5, found '6.5'"),
        ("7_A_A_x.mp4,", "expected a score"),
        ("7_A_A_x.mp4", "1 fields, expected|expected 2, found 1"),
    ],
)
def test_acceptance_27_bad_rows_name_the_clip(tmp_path, row, message):
    folder = write(tmp_path / "labels", ["7_B_A_x.mp4,2", row])
    with pytest.raises(DataError, match=message) as failure:
        read_clips(folder)
    assert "row 3" in str(failure.value)


def test_a_bad_row_can_be_left_out_and_another_range_declared(tmp_path):
    rows = [f"{t}_{s}_A_{n}.mp4,2" for n in range(6) for t in (7, 15) for s in "AB"]
    folder = write(tmp_path / "labels", [*rows, "7_A_A_9.mp4,50"])
    quarantine = Quarantine("quarantine")
    assert len(read_clips(folder, quarantine=quarantine)) == 24
    assert "7_A_A_9.mp4" in quarantine.rows[0].message
    assert len(read_clips(folder, Scale(name="points", low=0, high=100))) == 25


def test_a_clip_twice_and_an_empty_table_are_refused(tmp_path):
    with pytest.raises(DataError, match="a second row"):
        read_clips(write(tmp_path / "twice", ["7_A_A_x.mp4,2", "7_A_A_x.mp4,3"]))
    with pytest.raises(DataError, match="no clips"):
        read_clips(write(tmp_path / "none", []))
    with pytest.raises(DataError, match=r"infoAB_all\.csv"):
        read_clips(tmp_path / "nowhere")


def test_both_spellings_of_the_categories_and_both_formats(tmp_path):
    folder = write(tmp_path / "labels", ["7_A_A_x.mp4,2"])
    assert read_categories(folder) == {"A_x.mp4": "CG"}
    (folder / "categorized_videos.csv").write_text("video_names,category\nA_x.mp4,Shows\n")
    assert read_categories(folder) == {"A_x.mp4": "Shows"}
    (folder / "categorized_videos.csv").unlink()
    write_workbook(folder / "categorized_videos.xlsx")
    assert read_categories(folder) == {"A_x.mp4": "Sports"}
    (folder / "categorized_videos.xlsx").unlink()
    assert read_categories(folder) == {}


def write_workbook(path, prologue=""):
    texts = ["Video Names", "Category", "A_x.mp4", "Sports"]
    shared = prologue + "<sst>" + "".join(f"<si><t>{t}</t></si>" for t in texts) + "</sst>"
    cells = "".join(
        f'<row r="{r + 1}"><c r="A{r + 1}" t="s"><v>{2 * r}</v></c>'
        f'<c r="B{r + 1}" t="s"><v>{2 * r + 1}</v></c></row>'
        for r in range(2)
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", shared)
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet>{cells}</worksheet>")
    path.write_bytes(content.getvalue())


def test_a_hostile_or_damaged_workbook_is_refused(tmp_path):
    path = tmp_path / "categorized_videos.xlsx"
    write_workbook(path, '<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]>')
    with pytest.raises(DataError, match="entities"):
        read_categories(tmp_path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"categorized_videos\.csv"):
        read_categories(tmp_path)


def test_a_category_with_too_few_clips_is_named(tmp_path, tiny):
    rows = [f"{t}_A_A_{n}.mp4,2" for n in range(4) for t in (7, 15)]
    folder = write(tmp_path / "labels", rows, "\n".join(f"A_{n}.mp4,CG" for n in range(4)))
    config = tiny(labels=folder, tasks=("CG",))
    with pytest.raises(DataError, match=r"category CG: expected at least 2 .* found 6 and 2"):
        stream_of(config, read_clips(folder))
    with pytest.raises(DataError, match=r"category Shows: .* found 0 and 0"):
        stream_of(tiny(labels=folder, tasks=("Shows",)), read_clips(folder))
    with pytest.raises(DataError, match=r"all categories: .* found 8 and 0"):
        stream_of(tiny(labels=folder, mode="joint", train_ratio=0.9), read_clips(folder))


def test_too_few_clips_to_choose_the_checkpoint_by(dataset, tiny):
    config = tiny(mode="base", val_ratio=0.01)
    with pytest.raises(UsageError, match="to choose the checkpoint by"):
        stream_of(config, read_clips(config.labels))


def test_settings_that_contradict_one_another(tiny):
    with pytest.raises(ConfigError, match="buffer_size: expected 3 or more"):
        tiny(replay=Replay(buffer_size=2))
    tiny(replay=Replay(buffer_size=2), strategy="finetune")
    with pytest.raises(ConfigError, match="icarl cannot be adapted to scores"):
        tiny(strategy="icarl")
    with pytest.raises(ConfigError, match="one of finetune, joint"):
        tiny(strategy="nothing")
    with pytest.raises(ConfigError, match="a single task"):
        tiny(mode="joint", strategy="er")
    with pytest.raises(ConfigError, match="val_ratio"):
        tiny(val_ratio=0.1)
    with pytest.raises(ConfigError, match="few_shot"):
        tiny(few_shot=2)
    with pytest.raises(ConfigError, match="key_frames"):
        Network(key_frames=8)
