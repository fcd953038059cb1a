"""One size of images, from the supernet or the option to networks, images, costs and files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import write_images
from helpers.ofa import TEST, ofa, rows

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.networks import load_network, train_arch
from metad2a.spaces.ofa_mbv3.layers import SMALLEST

pytest.importorskip("ofa")
SIZES = {"image_size": 32, "width_mult": 0.35}
TRAIN = "--gpu cpu --model train_arch --search-space ofa_mbv3 --data-name toy --image-folder images"


@pytest.fixture
def of_a_small_supernet(authors_data, ofa_checkpoints):
    """Checkpoints whose database was measured with a supernet of `SIZES`."""
    for path in ofa_checkpoints.values():
        value = torch.load(path, weights_only=True)
        torch.save(value | {"history": SIZES}, path)


def train_line(tail=""):
    return [*TRAIN.split(), "--arch", ofa.to_text(SMALLEST), *tail.split()]


@pytest.fixture
def train(capsys):
    """Train a subnet: train("--epochs 1") -> exit code, standard output, standard error."""
    import main

    def call(tail=""):
        code = main.main(train_line(tail))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    write_images(Path("images"), n=6)
    return call


def test_a_network_is_trained_at_the_size_that_its_costs_are_of(train):
    code, out, err = train("--image-size 40 --epochs 1 --num-runs 1 --batch-size 4 --export pt2")
    assert code == 0, err
    [path] = Path("results/ofa_mbv3/train_arch/toy").glob("*/result.json")
    value, cost = json.loads(path.read_text()), ofa.sized(40).cost(SMALLEST, 3)
    assert (value["image_size"], value["flops"], value["params"]) == (40, cost["flops"], cost["params"])
    assert f"{cost['flops']:.2f} MFLOPs" in out
    assert "40x40 images" in out
    network = load_network(path.parent / "seed_777" / "network.pt")
    assert network.image_size == 40
    program = torch.export.load(path.parent / "seed_777" / "network.pt2").module()
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(program(images), network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("tail", "size"), [("", 224), ("--image-size 48", 48)])
def test_images_are_of_the_size_that_costs_are_of(train, monkeypatch, tail, size):
    class Job:
        def __init__(self, options, space, data):
            raise UserError(f"{data.train.side} {data.test.side} {space.image_size}")

    monkeypatch.setattr(train_arch, "Job", Job)
    assert f"error: {size} {size} {size}" in train(tail)[2]


def test_a_benchmarks_networks_have_one_size(refuses):
    write_images(Path("images"), n=6)
    arch = spaces.get("nasbench201").architectures[100]
    line = f"--model train_arch --arch {arch} --data-name toy --image-folder images --image-size 64"
    assert "nasbench201 take only images of 32x32 pixels" in refuses(line)


@pytest.mark.usefixtures("of_a_small_supernet")
def test_costs_and_bound_of_a_search_are_the_supernets(command):
    costs = ofa.sized(**SIZES).costs(ofa.sample(100, torch.Generator().manual_seed(0)), 5)
    median = float(np.median(costs[0]))
    code, _, err = command(f"{TEST} --data-name pets --bound {median}")
    assert code == 0, err
    assert "32x32 images at width 0.35" in err
    folder = Path("results/ofa_mbv3/meta_test/pets/12")
    for row in rows(folder):
        cost = ofa.sized(**SIZES).cost(ofa.from_text(row["architecture"]), 5)
        assert float(row["mflops"]) == pytest.approx(cost["flops"], rel=1e-4)
        assert cost["flops"] <= median
    history = json.loads((folder / "best_arch" / "summary.json").read_text())["history"]
    assert {name: history[name] for name in SIZES} == SIZES


@pytest.mark.usefixtures("of_a_small_supernet")
def test_the_option_comes_before_the_supernet(command):
    assert command(f"{TEST} --data-name pets --image-size 64")[0] == 0
    row = rows(Path("results/ofa_mbv3/meta_test/pets/12"))[0]
    cost = ofa.sized(64, 0.35).cost(ofa.from_text(row["architecture"]), 5)
    assert float(row["mflops"]) == pytest.approx(cost["flops"], rel=1e-4)


def test_a_space_keeps_its_size_when_another_is_made():
    assert ofa.sized(32).image_size == 32
    assert ofa.image_size == spaces.get("ofa_mbv3").image_size == 224
    assert ofa.sized() is ofa.sized(224, 1.0) is ofa
    for sizes in ({"image_size": "abc"}, {"image_size": -1}, {"image_size": 3.5}, {"width_mult": 1e9}):
        with pytest.raises(UserError, match="is not a size that networks can have"):
            ofa.sized(**sizes)
