"""A search space with 125 architectures: commands list it by what it says itself, not by what another space says."""

import csv
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.authors import NUM_CLASSES

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.options import SEARCH_SPACES
from metad2a.graphs import GraphBatch
from metad2a.metatrain.tuples import save_tuples
from metad2a.searches.limits import Limits
from metad2a.searches.options import SearchOptions
from metad2a.spaces.base import SearchSpace, random_parts

CHAINS = ["".join(row) for row in product("01234", repeat=3)]


class Chains(SearchSpace):
    """Three operations in a row, written as three digits. Operation 0 is the identity, so 013 and 103 are equal."""

    name = "chains"
    max_n = 5
    num_vertex_type = 7
    size = 125
    results_folder = "chains"
    published_epoch = 0
    tuples_shipped = False
    image_size = 32
    task_sizes = (4, 4)

    @property
    def architectures(self):
        return CHAINS

    def encode(self, archs):
        types = [[0, *(2 + int(digit) for digit in arch), 1] for arch in archs]
        return GraphBatch.from_lists(types, [[(i, i + 1) for i in range(4)]] * len(archs), self.max_n)

    def valid(self, graphs):
        chain = self.encode(["000"]).adj
        return (graphs.adj == chain).flatten(1).all(1) & (graphs.types[:, 1:-1] >= 2).all(1)

    def decode(self, graphs):
        rows = (graphs.types[:, 1:-1] - 2).tolist()
        return ["".join(map(str, row)) if ok else None for row, ok in zip(rows, self.valid(graphs), strict=True)]

    def sample(self, n, rng):
        return [self.architectures[i] for i in torch.randint(self.size, (n,), generator=rng).tolist()]

    def classes_of_equals(self):
        numbers = {}
        return np.array([numbers.setdefault(a.replace("0", ""), len(numbers)) for a in self.architectures])

    def cost(self, arch, num_classes):
        return {"flops": float(sum(map(int, arch))), "params": float(arch.index(max(arch)))}

    def to_text(self, arch):
        return arch

    def from_text(self, text):
        if text not in self.architectures:
            raise UserError(f"{text!r} is no chain.")
        return text

    def drawing(self, arch):
        return ["input", *arch, "output"], [(i, i + 1, "") for i in range(4)]


@pytest.fixture
def chains(monkeypatch):
    monkeypatch.setitem(sys.modules, "chains", sys.modules[__name__])
    monkeypatch.setitem(SEARCH_SPACES, "chains", "chains:Chains")
    yield spaces.get("chains")
    spaces.get.cache_clear()


def test_the_cheapest_of_equal_architectures(chains):
    classes, cheapest = chains.classes_of_equals(), chains.cheapest_members()
    assert len(cheapest) == 1 + 4 + 16 + 64
    assert classes[cheapest].tolist() == list(range(85))
    texts = [chains.architectures[number] for number in cheapest]
    assert texts[:2] == ["000", "100"]  # 001 and 010 have more parameters
    allowed = np.array([arch != "100" for arch in chains.architectures])
    assert chains.architectures[chains.cheapest_members(allowed)[1]] == "010"


def test_by_default_no_two_architectures_are_equal(chains, monkeypatch):
    monkeypatch.setattr(Chains, "classes_of_equals", SearchSpace.classes_of_equals)
    assert chains.cheapest_members() == list(range(125))
    assert chains.cheapest_members(np.arange(125) % 2 == 0) == list(range(0, 125, 2))


def test_random_parts_are_disjoint():
    assert torch.cat(random_parts(85, 5)).sort().values.tolist() == list(range(85))


def search_options():
    return SearchOptions(data_name="cifar10", gpu="cpu", search_space="chains", max_flops=1)


def test_limits_list_its_own_architectures(chains):
    limits = Limits(search_options(), chains, 10)
    assert [chains.architectures[number] for number in limits.listed()] == ["000", "100"]


def test_a_predictor_ranks_all_of_it(chains, rng, authors_data, command):
    texts, folder = chains.architectures[:24], authors_data / "chains"
    folder.mkdir()
    tasks = [torch.randperm(NUM_CLASSES, generator=rng)[:4] + 1 for _ in range(5)]
    accuracy, split = torch.rand(24, generator=rng) * 10 + 50, torch.randperm(24, generator=rng)
    save_tuples("predictor", folder, texts, accuracy, torch.arange(24) % 5, split, tasks=tasks)
    where = "--gpu cpu --search-space chains"
    code, _, err = command(f"--model predictor {where} --hs 8 --nz 8 --num-sample 3 --batch-size 5 --max-epoch 1")
    assert code == 0, err
    code, out, err = command(
        f"--model search {where} --data-name cifar10 --num-gen-arch all --num-draws 2 --num-runs 1"
    )
    assert code == 0, err
    assert "125 architectures ranked for cifar10" in out
    with Path("results/chains/search/cifar10/001/ranking_run_1.csv").open(newline="") as file:
        assert {row["architecture"] for row in csv.DictReader(file)} == set(chains.architectures)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--budget 2e",
            "--budget works for spaces with a shipped ranking of all architectures, not for chains.",
        ),
        ("--ranking universal", "chains has none"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_sentence(chains, authors_data, refuses, line, message):
    assert message in refuses(f"--model search --gpu cpu --search-space chains --data-name cifar10 {line}")
