"""The package from Python, the notebook, and installing without a clone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_networks import SMALL
from test_train_arch import write_images

from metad2a.api import Found, predict, search, train
from metad2a.core.errors import UserError


def test_three_lines_to_a_ranking(authors_data):
    found = search("cifar10", max_flops=60)
    assert found.accuracy == sorted(found.accuracy, reverse=True)
    assert all(cost["flops"] <= 60 for cost in found.costs)
    assert len(found.architectures) == len(found.costs)
    assert found.report.is_file()
    assert found.network is None


def test_from_a_folder_to_classes_of_files():
    write_images(Path("my images!"))
    found = search("my images!", max_flops=10, device_latency="pixel3")
    assert (found.name, found.images) == ("my-images", "my images!")
    assert {"flops", "params", "device_latency"} == set(found.costs[0])
    trained = train(found, epochs=3, num_runs=2, batch_size=16)
    assert len(trained.networks) == 2
    assert trained.report.is_file()
    assert "x-test accuracy" in trained.text
    classes = predict(trained, "my images!/class 1", output="out.csv")
    assert len(classes) == 20
    assert {one.name for one in classes} <= {"class 0", "class 1", "class 2"}
    assert Path("out.csv").is_file()
    assert predict(trained.folder, "my images!/class 1")[0] == classes[0]


def test_an_architecture_of_ones_own():
    write_images(Path("images"))
    assert train(SMALL, "images", epochs=1, num_runs=1, data_name="other").folder.parent.name == "other"


def test_bad_input_is_a_user_error(authors_data):
    with pytest.raises(UserError, match="No features"):
        search("cifra10")
    with pytest.raises(UserError, match="--budget takes a number"):
        search("cifar10", budget="soon")
    with pytest.raises(UserError, match="give the images"):
        train(SMALL)
    nothing = Found("a", None, [SMALL], [1.0], [{}], Path(), Path())
    with pytest.raises(UserError, match="has trained nothing"):
        predict(nothing, "images")
    with pytest.raises(TypeError, match="no_such_option"):
        search("cifar10", no_such_option=1)


def test_the_notebook_runs():
    """Its cells, one after the other, in a fresh interpreter: as a notebook server would."""
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", "\n".join(cells)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(".png")
    assert list(Path("results/search/shapes").glob("*/report.html"))


def test_what_is_installed_has_all_that_is_needed(tmp_path):
    """The wheel holds the assets and the template, and finds them where it is unpacked."""
    pytest.importorskip("setuptools")
    build = f"""
import os, sys
os.chdir({str(ROOT)!r})
sys.argv = ["setup.py", "-q", "egg_info", "-e", {str(tmp_path)!r}, "build_py", "-d", {str(tmp_path / "lib")!r}]
from setuptools import setup
setup()
"""
    done = subprocess.run([sys.executable, "-c", build], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = tmp_path / "lib"
    assert (built / "pages" / "templates" / "page.html.j2").is_file()
    shipped = {path.relative_to(ROOT) for path in (ROOT / "assets").rglob("*") if path.is_file()}
    assert {path.relative_to(built) for path in (built / "assets").rglob("*") if path.is_file()} == shipped
    line = "from metad2a import search; print(search('cifar10').architectures[0])"
    environment = os.environ | {"PYTHONPATH": str(built), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("|nor_conv")


def test_a_budget_hands_over_a_network():
    write_images(Path("images"))
    found = search("images", budget="4e", max_flops=10)
    assert found.network is not None
    assert found.report.is_file()
    assert (found.folder / "model_card.md").is_file()
    page = found.report.read_text()
    for part in ("Learning curves", "Confusion matrix", "is the best", "inear classifier"):
        assert part in page, part
    assert len(predict(found, "images/class 0")) == 20
    with pytest.raises(UserError, match="--resume"):
        search("images", budget="4e", max_flops=10)
