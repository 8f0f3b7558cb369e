from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from abaw_va.features.extractors import extractor
from abaw_va.features.opensmile import OpensmileExtractor
from shared_core.data.audio import Audio
from shared_core.errors import UsageError


class Table:
    def __init__(self, rows):
        self.rows = rows

    def to_numpy(self):
        return self.rows


class Smile:
    """As the library: descriptors every 10 ms that count rows, and two rows more of deltas."""

    def __init__(self, feature_set, feature_level):
        self.deltas = feature_level == "deltas"
        width = {"compare": 65, "egemaps": 23}[feature_set]
        self.feature_names = [f"f{n}" for n in range(width)]

    def process_signal(self, samples, rate):
        count = len(samples) // (rate // 100) - 4 + 2 * self.deltas
        assert count > 0
        return Table(
            np.arange(count)[:, None] + np.zeros(len(self.feature_names)) + 1000 * self.deltas
        )


@pytest.fixture
def library(monkeypatch):
    module = SimpleNamespace(
        Smile=Smile,
        FeatureSet=SimpleNamespace(ComParE_2016="compare", eGeMAPSv01b="egemaps"),
        FeatureLevel=SimpleNamespace(
            LowLevelDescriptors="descriptors", LowLevelDescriptors_Deltas="deltas"
        ),
    )
    monkeypatch.setitem(sys.modules, "opensmile", module)


def sound(seconds: float) -> Audio:
    return Audio(samples=np.zeros(round(seconds * 16_000), np.float32), rate=16_000)


@pytest.mark.parametrize(("name", "width"), [("compare", 130), ("egemaps", 23)])
def test_rows_are_averaged_over_the_frames(library, name, width):
    rows = extractor(name)(sound(2.0), np.arange(30) / 30)
    assert rows.shape == (30, width)
    np.testing.assert_allclose(rows[:3, 0], [1.5, 4.5, 7.5])  # rows 0-3, 3-6, 6-9


def test_deltas_stand_beside_the_descriptors(library):
    rows = OpensmileExtractor("compare")(sound(2.0), np.arange(30) / 30)
    np.testing.assert_allclose(rows[:, 65:] - rows[:, :65], 1000)


def test_a_few_samples_are_enough(library):
    assert OpensmileExtractor("egemaps")(sound(0.01), np.array([0.0])).shape == (1, 23)


def test_another_name_is_refused(library):
    with pytest.raises(UsageError, match="expected compare or egemaps"):
        OpensmileExtractor("emobase")


def test_without_the_library_the_message_names_its_licence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UsageError, match=r"(?s)research and personal use only.*pip install opensm"):
        OpensmileExtractor("egemaps")
