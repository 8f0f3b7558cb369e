"""Names of a package that are loaded when they are used, and never hidden by a room."""

from __future__ import annotations

import subprocess
import sys

import pytest

INIT = """
from shared_core.public_names import load_when_used
load_when_used(__name__, {"predict": "predict", "Model": "model"})
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a function `predict` in its room `predict`."""
    folder = tmp_path / "glass_house"
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT)
    (folder / "predict.py").write_text("def predict():\n    return 'predicted'\n")
    (folder / "model.py").write_text("from glass_house.predict import predict\nclass Model: ...\n")
    (folder / "other.py").write_text("VALUE = 3\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def told(code):
    line = [sys.executable, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "before",
    [
        "pass",
        "import glass_house.predict",
        "from glass_house import Model",
        "from glass_house import predict",
    ],
)
def test_a_public_name_is_the_function_whatever_was_imported(before):
    code = f"{before}\nfrom glass_house import predict\nimport glass_house\n"
    assert told(code + "print(predict(), glass_house.predict())") == "predicted predicted"


@pytest.mark.usefixtures("package")
def test_nothing_is_loaded_before_it_is_used():
    code = "import sys, glass_house; print('glass_house.predict' in sys.modules)"
    assert told(code) == "False"


@pytest.mark.usefixtures("package")
def test_rooms_without_a_public_name_stay_rooms():
    assert told("from glass_house import other; print(other.VALUE)") == "3"


@pytest.mark.usefixtures("package")
def test_a_test_may_put_something_in_its_place_and_take_it_back():
    code = (
        "import glass_house as g\nold = g.predict\ng.predict = lambda: 'fake'\nprint(g.predict())\n"
        "del g.predict\nprint(g.predict is old)"
    )
    assert told(code) == "fake\nTrue"


@pytest.mark.usefixtures("package")
def test_an_unknown_name_is_an_error():
    code = "import glass_house\ntry:\n    glass_house.absent\nexcept AttributeError as e:\n    print(e)"
    assert "absent" in told(code)
