"""Protocols by their names, tables that add up over processes, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaze_da.cli import main
from gaze_da.config import GazeModelConfig, Reading
from gaze_da.data.items import GazeDataset
from gaze_da.data.samples import Objects, read_annotations
from gaze_da.evaluate import Prior, centre_prior, evaluate, measures_of, score_tables
from gaze_da.model.initial import initialise
from gaze_da.model.network import GazeModel
from gaze_da.protocols import COLUMNS, RADII, USUAL, block, block_auc, item_scores, quantised
from shared_core.data.loader import ItemKey
from shared_core.errors import NonFiniteError
from shared_core.testing.commands import modules_after

CELLS = 24


@pytest.fixture(scope="module")
def small(tiny):
    """Sizes of the network."""
    return tiny().network


@pytest.fixture(scope="module")
def dataset(gazefollow_root, small):
    people = read_annotations("gazefollow", gazefollow_root, "test").samples
    return GazeDataset(people, small, Reading())


@pytest.fixture(scope="module")
def saved(tmp_path_factory, small):
    """A network with random weights, as a folder."""
    model = GazeModel(GazeModelConfig(network=small))
    initialise(model, torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


class Knowing:
    """A predictor that knows the first annotator's gaze, and who looks inside."""

    def __call__(self, batch):
        heatmaps = torch.zeros(len(batch.names), CELLS, CELLS)
        for row, (x, y) in enumerate(batch.gazes[:, 0].tolist()):
            if (x, y) != (-1, -1):
                cell = [min(int(v * CELLS), CELLS - 1) for v in (y, x)]
                heatmaps[row, cell[0], cell[1]] = 1
        return heatmaps, batch.inside[:, 0].float()


def test_acceptance_28_the_blocks_of_both_protocols():
    for protocol in ("vat", "vat-gazelle"):
        rows, columns = np.nonzero(block((0.5, 0.5), 64, protocol))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (23, 41, 23, 41)
        assert len(rows) == 361
    rows, columns = np.nonzero(block((1, 1), 64, "vat-gazelle"))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (55, 62, 55, 62)


def test_scores_against_a_block_are_quantised_in_chongs_protocol():
    draw = torch.Generator().manual_seed(0)
    heatmaps = torch.rand(3, 64, 64, generator=draw)
    gazes = torch.tensor([[[0.3, 0.6]], [[0.9, 0.1]], [[-1.0, -1.0]]])
    for protocol in ("vat", "vat-gazelle"):
        found = block_auc(heatmaps, gazes, protocol)
        assert found[2].isnan()
        for row in range(2):
            scores = heatmaps[row].numpy()
            if protocol == "vat":
                low, high = scores.min(), scores.max()
                scores = np.floor((scores - low) * (255 / (high - low)) + 0.5)
            positive = block(gazes[row, 0].tolist(), 64, protocol)
            above = scores[positive][:, None] - scores[~positive][None]
            slow = ((above > 0) + 0.5 * (above == 0)).mean()
            assert found[row].item() == pytest.approx(slow, abs=1e-12)
    assert len(quantised(heatmaps[:1]).unique()) <= 256


def test_a_predictor_that_knows_is_judged_as_one(dataset):
    of_one = [sample for sample in dataset.samples if len(sample.gazes) == 1]
    dataset = GazeDataset(of_one, dataset.network, Reading())
    found = evaluate(Knowing(), dataset)["gazefollow"]
    assert found["auc"].value > 0.9
    assert found["min_dist"].value < 1.5 / CELLS
    assert found["dist_centre"].value < found["avg_dist"].value + 0.5 / CELLS
    assert "inout_ap" not in found  # everybody looks inside: it would be 1 for any predictor
    prior = evaluate(centre_prior(CELLS), dataset)["gazefollow"]
    assert prior["min_dist"].value > 3 * found["min_dist"].value
    flat = evaluate(Prior(torch.zeros(CELLS, CELLS)), dataset)["gazefollow"]
    assert flat["auc"].value == 0.5


def test_every_measure_has_its_interval_or_a_reason(dataset, vat_root, small):
    people = read_annotations("videoattentiontarget", vat_root, "test").samples
    both = [*evaluate(Knowing(), dataset).values()]
    both += evaluate(Knowing(), GazeDataset(people, small, Reading())).values()
    for of_protocol in both:
        for measure in of_protocol.values():
            assert measure.reason or measure.low <= measure.value <= measure.high


def test_shares_of_an_evaluation_add_up_to_the_whole(dataset):
    whole = score_tables(Knowing(), dataset, ("gazefollow",), batch_size=2)["gazefollow"]
    shares = [
        score_tables(Knowing(), dataset, ("gazefollow",), batch_size=2, rank=rank, world=2)
        for rank in range(2)
    ]
    np.testing.assert_array_equal(sum(share["gazefollow"] for share in shares), whole)
    assert len(whole) == len(dataset)


def test_items_without_a_target_count_for_in_out_alone(vat_root, small):
    people = read_annotations("videoattentiontarget", vat_root, "test").samples
    table = score_tables(Knowing(), GazeDataset(people, small, Reading()), ("vat",))["vat"]
    outside = np.array([not person.inside for person in people])
    distances = table[:, COLUMNS.index("avg_dist")]
    assert np.isnan(distances[outside]).all()
    assert np.isfinite(distances[~outside]).all()
    found = measures_of(table, "vat", people, seed=0)
    assert found["inout_ap"].value == 1
    assert found["avg_dist"].value == pytest.approx(np.nanmean(distances))


def test_acceptance_29_goo_counts_what_is_strictly_nearer(goo_root, small):
    people = read_annotations("goo", goo_root, "test").samples
    dataset = GazeDataset(people, small, Reading())
    batch = dataset[ItemKey(0, 0, 0)]
    x, y = 6 / 24, 12 / 24  # the corner of a cell
    heatmaps = torch.zeros(1, CELLS, CELLS)
    heatmaps[0, 12, 6] = 1
    objects = Objects(
        boxes=((x - 0.1, y - 0.1, x + 0.1, y + 0.1), (0.8, 0.8, 0.9, 0.9)), labels=(4, 6), gazed=4
    )
    for gaze, radius_hit in ((0.05, False), (0.0499, True)):
        moved = replace(batch, gazes=torch.tensor([[[x + gaze, y]]], dtype=torch.float64).float())
        row = item_scores(heatmaps, torch.zeros(1), moved, "goo", [objects])
        found = measures_of(row, "goo", people[:1], seed=0)
        near = row[0, COLUMNS.index("avg_dist")] < 0.05
        assert found["pa_05"].value == near
        assert near == radius_hit
        assert found["cpa_05"].value == near
        assert found["pa_10"].value == 1
        assert found["pa_03"].value == 0
    wrong = item_scores(heatmaps, torch.zeros(1), batch, "goo", [replace(objects, gazed=6)])
    assert wrong[0, COLUMNS.index("hit")] == 0
    assert measures_of(
        item_scores(heatmaps, torch.zeros(1), batch, "goo", [None]), "goo", people[:1], seed=0
    )["cpa_30"].reason
    assert len(RADII) == 8


def test_a_prediction_that_is_not_finite_names_its_item(dataset):
    def broken(batch):
        heatmaps, inout = Knowing()(batch)
        heatmaps[-1, 3, 3] = torch.nan
        return heatmaps, inout

    with pytest.raises(NonFiniteError, match=dataset.samples[1].name):
        score_tables(broken, dataset, ("gazefollow",), batch_size=2)


def test_acceptance_done_3_both_protocols_print_on_real_rows(tmp_path, saved, real_tracks, capsys):
    """Real rows of all ten shows, on made-up frames; a network that has learnt nothing."""
    real_tracks(tmp_path, per_show=50)
    people = read_annotations("videoattentiontarget", tmp_path, "test").samples
    assert len(people) >= 500
    assert len({person.group for person in people}) == 10
    frame = Image.linear_gradient("L").resize((1920, 1080)).convert("RGB")
    depth = Image.linear_gradient("L").resize((160, 90))
    shots = {}
    for person in people:  # one file for all frames: they are made up anyway
        for path, picture in ((Path(person.image), frame), (Path(person.depth), depth)):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                if picture.size not in shots:
                    picture.save(path)
                    shots[picture.size] = path
                else:
                    path.hardlink_to(shots[picture.size])
    fractions = [p.placed(1920, 1080, Reading()) for p in people]
    assert all(x >= 0 for placed in fractions for x, _ in placed.gazes)
    line = ["evaluate", "--checkpoint", saved, "--data", tmp_path, "--out", tmp_path / "out"]
    line += ["--dataset", "videoattentiontarget", "--workers", "0", "--protocols"]
    dataset = GazeDataset(people, GazeModel.from_pretrained(saved).config.network, Reading())
    found = evaluate(centre_prior(CELLS), dataset)
    assert found["vat"]["auc"].value != found["vat-gazelle"]["auc"].value
    assert main([*map(str, line), "vat-upstream"]) == 0
    printed = capsys.readouterr().out
    assert "vat-upstream  auc" in printed
    assert "vat-upstream  inout_ap" in printed
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(told["protocols"]) == ["vat-upstream"]
    for measures in found.values():
        assert measures["auc"].defined
        assert measures["inout_ap"].defined


@pytest.mark.parametrize("name", ["gazefollow", "videoattentiontarget", "goo"])
def test_the_command_names_the_protocol_of_every_row(
    tmp_path, saved, name, gazefollow_root, vat_root, goo_root, capsys
):
    roots = {"gazefollow": gazefollow_root, "videoattentiontarget": vat_root, "goo": goo_root}
    line = ["evaluate", "--checkpoint", saved, "--data", roots[name], "--dataset", name]
    assert main([*map(str, line), "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for protocol in USUAL[name]:
        assert any(line.startswith(f"{protocol} ") for line in lines)
    rows = (tmp_path / "items.csv").read_text().splitlines()
    assert rows[0].split(",") == ["protocol", "item", *COLUMNS]
    for protocol in USUAL[name]:
        assert f"Protocol {protocol}" in (tmp_path / "report.html").read_text()


def test_an_untrained_in_out_head_is_not_judged(tmp_path, vat_root, small, capsys):
    model = GazeModel(GazeModelConfig(network=small, inout_trained=False))
    initialise(model, torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "model")
    line = ["evaluate", "--checkpoint", tmp_path / "model", "--data", vat_root, "--out", tmp_path]
    line += ["--dataset", "videoattentiontarget", "--protocols", "vat"]
    assert main([str(word) for word in line]) == 0
    assert "never trained" in capsys.readouterr().out


def test_a_protocol_of_another_data_set_is_refused(tmp_path, saved, gazefollow_root, capsys):
    line = ["evaluate", "--checkpoint", saved, "--data", gazefollow_root, "--protocols", "vat"]
    assert main([str(word) for word in line]) == 2
    assert "gazefollow is judged by gazefollow" in capsys.readouterr().err


def test_bad_rows_are_listed_and_the_rest_is_judged(tmp_path, saved, gazefollow_root):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(gazefollow_root, root)
    samples = read_annotations("gazefollow", root, "test").samples
    Path(samples[-1].image).unlink()
    line = ["evaluate", "--checkpoint", saved, "--data", root, "--out", tmp_path]
    assert main([str(word) for word in line]) == 1
    # One of eight is above the limit of a tenth.
    many = root / "test_annotations_release.txt"
    rows = many.read_text().splitlines()
    copies = [row.replace(",made,", f",made{n},") for n in range(3) for row in rows]
    people = [
        ",".join([fields[0], f"{n}{fields[1]}", *fields[2:6], f"{0.3 + n / 50:.4f}", *fields[7:]])
        for n, copy in enumerate(copies)
        for fields in [copy.split(",")]
        if fields[0] != samples[-1].group
    ]
    many.write_text("\n".join([*people, rows[-1]]) + "\n")
    assert main([*map(str, line), "--on-bad-row", "quarantine"]) == 0
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(told["quarantined"]) == 1


def test_acceptance_30_importing_the_package_imports_nothing_heavy():
    modules = modules_after(["gaze_da", "--version"])
    assert "gaze_da.cli" in modules
    assert not {"torch", "numpy", "tyro", "matplotlib", "wandb", "sklearn"} & modules
