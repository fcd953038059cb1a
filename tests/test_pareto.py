"""The front of accuracy against a cost, from toy problems and from what is shipped."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from metad2a import spaces
from metad2a.searches import pareto
from metad2a.searches.pareto import evolve, front, hypervolume

ofa = spaces.get("ofa_mbv3")
SEARCH = "--model search --search-space ofa_mbv3 --data-name cifar10 --num-gen-arch 30"
pytest.importorskip("pymoo")


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(pareto, "GENERATIONS", 4)
    monkeypatch.setattr(pareto, "NUM_TIMED", 4)


def rows(name):
    with (Path("results/ofa_mbv3/search/cifar10/001") / name).open() as file:
        return list(csv.DictReader(file))


def test_a_front_has_what_nothing_beats():
    objectives = np.array([[1.0, 5], [2, 2], [2, 2], [3, 3], [5, 1], [6, 1]])
    assert front(objectives).tolist() == [0, 1, 4]


def test_hypervolume_of_a_corner():
    assert hypervolume(np.array([[0.0, 0.0]]), np.zeros(2), np.ones(2)) == pytest.approx(1.01**2)
    assert hypervolume(np.array([[0.5, 0.5], [0.6, 0.6]]), np.zeros(2), np.ones(2)) == pytest.approx(0.51**2)


def test_evolving_nears_the_front_of_a_known_problem():
    """Two sums of genes that are to be small and large: the front has all of the second half at its end."""

    def evaluate(x):
        objectives = np.stack([x[:, :5].sum(1) + x[:, 5:].sum(1), -x[:, 5:].sum(1)], axis=1).astype(float)
        return objectives, (x[:, 9] - 1)[:, None]

    rng = np.random.default_rng(0)
    found = evolve(np.full(10, 3), rng.integers(0, 3, (30, 10)), evaluate, 40, seed=1)
    objectives, over = evaluate(found)
    assert (over <= 0).all()
    best = objectives[front(objectives)]
    assert best[:, 1].min() == -9
    assert len(best) >= 8
    assert (best.sum(axis=1) <= 1).all()


def test_a_search_with_its_front(command, short):
    code, out, err = command(f"{SEARCH} --pareto flops --bound 350")
    assert code == 0, err
    assert "architectures are best in accuracy and MFLOPs" in out
    found, ranked = rows("front.csv"), rows("ranking_run_1.csv")
    accuracy, flops = (np.array([float(row[name]) for row in found]) for name in ("predicted_accuracy", "mflops"))
    assert (np.diff(accuracy) <= 0).all()
    assert (np.diff(flops) < 0).all()
    assert flops.max() <= 350
    for row in ranked:  # none of the candidates is better in both
        better = (accuracy >= float(row["predicted_accuracy"])) & (flops <= float(row["mflops"]))
        assert better.any()
    cost = ofa.cost(ofa.from_text(found[0]["architecture"]), 10)
    assert flops[0] == pytest.approx(cost["flops"], rel=1e-6)


def test_a_front_of_parameters_is_another(command, short):
    assert command(f"{SEARCH} --pareto params")[0] == 0
    parameters = [float(row["mparams"]) for row in rows("front.csv")]
    assert parameters == sorted(parameters, reverse=True)


def test_a_front_of_latency_is_measured(command, short, monkeypatch):
    times = {}

    def latency(space, arch, num_classes, batch_size, device):
        return times.setdefault(space.to_text(arch), space.cost(arch, num_classes)["flops"] / 10 + 3)

    monkeypatch.setattr("metad2a.networks.latency.latency", latency)  # of estimates, and of the front
    assert command(f"{SEARCH} --pareto latency")[0] == 0
    found = rows("front.csv")
    assert len(times) >= 4 + len(found)
    assert all(float(row["latency_ms"]) == pytest.approx(times[row["architecture"]], abs=1e-5) for row in found)
    assert [float(row["latency_ms"]) for row in found] == sorted((float(r["latency_ms"]) for r in found), reverse=True)


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_a_front_within_the_latency_of_a_device(command, short, space):
    code, _, err = command(
        "--model search --data-name cifar10 --ranking predictor --num-gen-arch 20 --pareto flops "
        "--device-latency pixel3 --max-latency 12"
    )
    assert code == 0, err
    known = space.device_latency("pixel3")
    with Path("results/search/cifar10/001/front.csv").open() as file:
        found = [known[row["architecture"]] for row in csv.DictReader(file)]
    assert 0 < max(found) <= 12


def test_where_no_front_is_looked_for(refuses, monkeypatch):
    assert "is ranked whole" in refuses("--model search --data-name cifar10 --pareto flops")
    line = "--model generator --test --search-space ofa_mbv3 --data-name cifar10 --num-gen-arch 5 --pareto flops"
    assert "--pareto belongs to" in refuses(line)
    monkeypatch.setitem(sys.modules, "pymoo", None)
    assert "pip install pymoo" in refuses(f"{SEARCH} --pareto flops")
    assert not Path("results").exists()
