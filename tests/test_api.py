"""The package from Python, the notebook, and installing without a clone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from helpers.images import write_images
from helpers.networks import SMALL

from metad2a.api import Found, predict, search, train
from metad2a.commands.search import COMMAND as SEARCH
from metad2a.commands.train import COMMAND as TRAIN
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
    found = search("my images!", max_flops=12, device_latency="pixel3")
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


def test_values_as_python_has_them():
    given = {"arch": SMALL, "data_name": "x"}
    for values, wanted in (
        ({"seeds": (1, 2)}, (1, 2)),
        ({"overwrite": np.bool_(True)}, True),
        ({"epochs": np.int64(3)}, 3),
        ({"export": ["onnx", "pt2"]}, "onnx,pt2"),
        ({"gpu": "cpu"}, "cpu"),
    ):
        options = TRAIN.prepare(given | values)
        assert getattr(options, next(iter(values))) == wanted
    with pytest.raises(UserError, match="different seeds"):
        TRAIN.prepare(given | {"seeds": [777, 777]})
    with pytest.raises(UserError, match="takes one path"):
        TRAIN.prepare(given | {"image_folder": ["a"]})
    everything = SEARCH.prepare({"images": "cifar10", "num_gen_arch": None})
    assert everything.num_gen_arch is None
    assert "num_gen_arch" in everything.given


def test_the_users_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_images(Path("images"), n=6)
    found = search("~/images", max_flops=12, save_path="~/results", data_path=Path("~/data"))
    assert found.images == str(tmp_path / "images")
    assert found.report.is_relative_to(tmp_path / "results")


def test_an_architecture_of_ones_own():
    write_images(Path("images"))
    assert train(SMALL, "images", epochs=1, num_runs=1, data_name="other").folder.parent.name == "other"


def test_bad_input_is_a_user_error(authors_data):
    with pytest.raises(UserError, match="No features"):
        search("cifra10")
    with pytest.raises(UserError, match="has no unit"):
        search("cifar10", budget="soon")
    with pytest.raises(UserError, match="give the images"):
        train(SMALL)
    nothing = Found("a", None, [SMALL], [1.0], [{}], Path(), Path())
    with pytest.raises(UserError, match="has trained nothing"):
        predict(nothing, "images")
    for options, message in (
        ({"no_such_option": 1}, "no option no_such_option"),
        ({"max_flop": 60}, "no option max_flop. Did you mean max_flops?"),
        ({"export": "onnx"}, "export needs budget"),
        ({"num_workers": 7}, "num_workers needs budget"),
        ({"resume": True}, "resume needs budget"),
        ({"budget": "1m", "export": "bogus"}, "export"),
        ({"num_runs": 0}, "num_runs must be at least 1"),
        ({"ranking": "universe"}, "Did you mean universal?"),
        ({"report": "yes"}, "report takes True or False"),
        ({"max_flops": float("nan")}, "max_flops must be a finite number"),
    ):
        with pytest.raises(UserError) as error:
            search("cifar10", **options)
        assert message in str(error.value)
        assert "--" not in str(error.value)


def test_the_notebook_ends_with_a_network_that_classifies_right():
    """The cells run one after the other in a fresh interpreter, as in a notebook server."""
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", "\n".join(cells)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "9 of 9 shapes are named right"
    answers = re.findall(r"%  (\w+) +new-shapes/(\w+)/", done.stdout)
    assert len(answers) == 9
    assert all(answer == shape for answer, shape in answers)
    assert list(Path("results/search/shapes").glob("*/report.html"))


def test_a_budget_hands_over_a_network():
    write_images(Path("images"))
    found = search("images", budget="4e", max_flops=12)
    assert found.network is not None
    assert found.report.is_file()
    assert (found.folder / "model_card.md").is_file()
    page = found.report.read_text()
    for part in ("The ways side by side", "Confusion matrix", "chosen"):
        assert part in page, part
    assert len(predict(found, "images/class 0")) == 20
    with pytest.raises(UserError, match="with resume"):
        search("images", budget="4e", max_flops=12)
