"""What every demo does: it clears its own folder alone, and tells seeds with their interval."""

from __future__ import annotations

import json

import pytest
from scipy import stats

from shared_core.errors import RunFolderError
from shared_core.metrics import Measure
from shared_core.reporting.demo import DEMO_FILE, clear, over_seeds, write_demo


def test_only_a_folder_of_an_earlier_demo_is_emptied(tmp_path):
    folder = tmp_path / "demo"
    clear(folder, "one")
    (folder / "old").touch()
    with pytest.raises(RunFolderError, match="no earlier demo's"):
        clear(folder, "two")
    clear(folder, "one")
    assert not (folder / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(RunFolderError):
        clear(tmp_path / "mine", "one")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_the_interval_over_seeds_is_that_of_scipy():
    values = [0.31, 0.28, 0.36]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    found = over_seeds(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    with pytest.raises(ValueError, match="two seeds"):
        over_seeds([0.3])


def test_a_demo_tells_its_measures_as_json(tmp_path):
    measures = {"ours": Measure(value=0.5, low=0.4, high=0.6), "chance": over_seeds([0.0, 0.1])}
    write_demo(tmp_path, title="t", shows="s", measures=measures, baselines=["chance"], seconds=1.5)
    told = json.loads((tmp_path / DEMO_FILE).read_text())
    assert (told["title"], told["shows"], told["seconds"]) == ("t", "s", 1.5)
    assert [(m["label"], m["baseline"], m["value"]) for m in told["measures"]] == [
        ("ours", False, 0.5),
        ("chance", True, 0.05),
    ]
