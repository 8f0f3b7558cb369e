"""Depth from models of transformers: real loading of a tiny one, batches, resuming, real formats."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

from gaze_da.cli import main
from gaze_da.data.depth import NOTE
from gaze_da.data.pictures import read_depth
from gaze_da.depth_models import DepthModel
from gaze_da.predict import predict
from shared_core.errors import CheckpointError, UsageError
from shared_core.testing.media import draw_face, write_media


@pytest.fixture(scope="module")
def tiny_dpt(tmp_path_factory):
    """A DPT with random weights and its processor, as a folder."""
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        reassemble_factors=[4, 2, 1, 0.5],
    )
    folder = tmp_path_factory.mktemp("dpt")
    model = DPTForDepthEstimation(config)
    with torch.no_grad():  # as torch draws them, its last layers say 0 of every picture
        for weight in model.head.parameters():
            weight.normal_(0, 0.3)
        model.head.head[-2].bias.fill_(3.0)
    model.save_pretrained(folder)
    processor = DPTImageProcessor(size={"height": 32, "width": 32}, ensure_multiple_of=8)
    processor.save_pretrained(folder)
    return folder


def depth(line, **config):
    return main(["prepare", "depth", *[str(word) for word in line]])


def pictures(count, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (40 + n, 60, 3), dtype=np.uint8) for n in range(count)]


def test_depth_has_the_size_of_each_picture_whatever_the_batch(tiny_dpt):
    model = DepthModel(str(tiny_dpt))
    some = pictures(4)
    together = model(some)
    for picture, found in zip(some, together, strict=True):
        assert found.shape == picture.shape[:2]
        np.testing.assert_allclose(found, model([picture])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("revision", [None, "main", "refs/pr/1"])
def test_a_hub_id_needs_its_revision(revision):
    with pytest.raises(UsageError, match="needs the commit"):
        DepthModel("Intel/dpt-large", revision=revision)


def test_a_folder_has_no_revision(tiny_dpt):
    with pytest.raises(UsageError, match="for models on the hub"):
        DepthModel(str(tiny_dpt), revision="0123456")


def test_code_that_a_model_brings_is_never_run(tiny_dpt, tmp_path):
    """Nor asked about, as transformers would at a terminal."""
    folder = tmp_path / "dpt"
    shutil.copytree(tiny_dpt, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "foreign",
        "auto_map": {"AutoConfig": "foreign.C", "AutoModelForDepthEstimation": "foreign.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "foreign.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DepthModel(str(folder))
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_cut_short_or_pickled_are_said(tiny_dpt, tmp_path):
    folder = tmp_path / "dpt"
    shutil.copytree(tiny_dpt, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DepthModel(str(folder))
    weights.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DepthModel(str(folder))


def test_a_folder_that_holds_no_model_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DepthModel(str(tmp_path))


@pytest.mark.parametrize("dataset", ["gazefollow", "videoattentiontarget", "goo"])
def test_depth_of_a_data_set_lies_where_it_is_looked_for(
    dataset, tiny_dpt, tmp_path, gazefollow_root, vat_root, goo_root
):
    roots = {"gazefollow": gazefollow_root, "videoattentiontarget": vat_root, "goo": goo_root}
    source = roots[dataset]
    root = tmp_path / "data" / source.name
    shutil.copytree(source.parent if dataset == "goo" else source, tmp_path / "data" / "x")
    root = tmp_path / "data" / "x" / (source.name if dataset == "goo" else "")
    for made in ("depth", "depth2", "depths"):
        shutil.rmtree(root / made, ignore_errors=True)
    shutil.rmtree(root.with_name(f"{root.name}_depth"), ignore_errors=True)
    line = ["--data", root, "--model", tiny_dpt, "--dataset", dataset]
    assert depth([*line, "--format", "png" if dataset == "goo" else "jpg"]) == 0
    assert main(["prepare", "check", "--data", str(root), "--dataset", dataset]) == 0


def test_a_second_run_makes_only_what_is_missing_and_never_mixes(tiny_dpt, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures(5)):
        Image.fromarray(picture).save(folder / f"{number}.jpg")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    line = ["--data", folder, "--model", tiny_dpt, "--batch-size", 2]
    assert depth(line) == 1
    assert "5 depth pictures written, 1 pictures cannot be read" in capsys.readouterr().out
    out = folder.with_name("pictures_depth")
    kept = (out / "3.jpg").stat().st_mtime_ns
    (out / "1.jpg").unlink()
    (folder / "bad.jpg").unlink()
    assert depth(line) == 0
    assert "1 depth pictures written, 0" in capsys.readouterr().out
    assert (out / "3.jpg").stat().st_mtime_ns == kept
    assert json.loads((out / NOTE).read_text())["model"] == str(tiny_dpt)
    assert depth([*line, "--format", "png"]) == 2
    assert "its depth was made by" in capsys.readouterr().err


def test_depth_below_its_pictures_is_not_taken_for_pictures(tiny_dpt, tmp_path, capsys):
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.jpg")
    line = ["--data", tmp_path, "--model", tiny_dpt, "--out", tmp_path / "depth"]
    assert depth(line) == 0
    assert depth(line) == 0
    assert "0 depth pictures written" in capsys.readouterr().out
    assert not (tmp_path / "depth" / "depth").exists()


def test_depth_of_a_turned_photo_lies_on_it_as_it_is_looked_at(tiny_dpt, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    (tmp_path / "photos").mkdir()
    Image.fromarray(pictures(1)[0]).save(tmp_path / "photos/a.jpg", exif=exif)
    line = ["--data", tmp_path / "photos", "--model", tiny_dpt, "--out", tmp_path / "depth"]
    assert depth(line) == 0
    assert read_depth(tmp_path / "depth/a.jpg").shape == (60, 40)


def test_two_pictures_never_share_a_file_of_depth(tiny_dpt, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "a.png"):
        Image.fromarray(pictures(1)[0]).save(folder / name)
    line = ["--data", folder, "--model", tiny_dpt]
    assert depth([*line, "--format", "png"]) == 1
    assert "the same a.png" in capsys.readouterr().err
    assert depth(line) == 0


def test_a_folder_without_pictures_is_said(tiny_dpt, tmp_path, capsys):
    assert depth(["--data", tmp_path, "--model", tiny_dpt, "--out", tmp_path / "depth"]) == 1
    assert "expected pictures" in capsys.readouterr().err
    assert not (tmp_path / "depth").exists()


def test_sixteen_bits_keep_what_eight_lose(tiny_dpt, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(pictures(1)[0]).save(folder / "a.jpg")
    line = ["--data", folder, "--model", tiny_dpt, "--format"]
    assert depth([*line, "png16", "--out", tmp_path / "fine"]) == 0
    assert depth([*line, "png", "--out", tmp_path / "coarse"]) == 0
    fine, coarse = read_depth(tmp_path / "fine/a.jpg"), read_depth(tmp_path / "coarse/a.jpg")
    assert (fine.dtype, coarse.dtype) == (np.uint16, np.uint8)
    assert (fine.max(), coarse.max()) == (65535, 255)
    assert np.abs(fine / 257 - coarse).max() < 1.01


def test_prediction_takes_a_depth_model(tiny_dpt, tiny, gazefollow_root, tmp_path):
    from gaze_da.config import GazeModelConfig
    from gaze_da.model.initial import initialise
    from gaze_da.model.network import GazeModel

    model = GazeModel(GazeModelConfig(network=tiny().network))
    initialise(model, torch.Generator().manual_seed(0))
    path = gazefollow_root / "train/00000000/00000000.jpg"
    (with_model,) = predict(
        model.eval(), path, [(0.1, 0.1, 0.3, 0.4)], depth=DepthModel(str(tiny_dpt))
    )
    (without,) = predict(model, path, [(0.1, 0.1, 0.3, 0.4)])
    assert not np.allclose(with_model.heatmap, without.heatmap)
    model.save_pretrained(tmp_path / "model")
    line = ["predict", path, "--checkpoint", tmp_path / "model", "--out", tmp_path / "out"]
    line += ["--head", "12,9,36,36", "--depth-model", tiny_dpt]
    assert main([str(word) for word in line]) == 0
    told = json.loads((tmp_path / "out" / "00000000.json").read_text())
    assert told["notes"] == []
    assert told["frames"][0]["people"][0]["point"] == pytest.approx(with_model.point, abs=1e-6)


def test_people_of_a_video_are_found_followed_and_given_depth(tiny_dpt, tiny, tmp_path):
    """Two faces that move keep their numbers; depth changes what the network says of every frame."""
    from gaze_da.config import GazeModelConfig
    from gaze_da.model.initial import initialise
    from gaze_da.model.network import GazeModel

    model = GazeModel(GazeModelConfig(network=tiny().network))
    initialise(model, torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "model")
    draw = np.random.default_rng(0)
    ground = draw.integers(90, 140, (240, 400, 3), dtype=np.uint8)
    moving = [
        draw_face(draw_face(ground, (0.1 + s, 0.2, 0.3 + s, 0.55)), (0.6 + s, 0.3, 0.8 + s, 0.65))
        for s in np.arange(11) / 200
    ]
    clip = write_media(tmp_path / "clip.mp4", moving)

    def people(out, *line):
        words = ["predict", clip, "--checkpoint", tmp_path / "model", "--out", out, *line]
        assert main([str(word) for word in words]) == 0
        return json.loads((out / "clip.json").read_text())

    seen = people(tmp_path / "deep", "--depth-model", tiny_dpt)
    assert seen["notes"] == []
    assert [[p["person"] for p in f["people"]] for f in seen["frames"]] == [["0", "1"]] * 11
    for first, last in zip(*(seen["frames"][n]["people"] for n in (0, 10)), strict=True):
        assert last["box"][0] - first["box"][0] == pytest.approx(0.05, abs=0.03)
    blind = people(tmp_path / "blind", "--no-overlay")
    for deep, flat in zip(seen["frames"], blind["frames"], strict=True):
        assert deep["people"][0]["inside"] != flat["people"][0]["inside"]
