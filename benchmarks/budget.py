"""Accuracy against budget, looked up in tables: python benchmarks/budget.py

Writes benchmarks/results/budget.json: for each table and each way of searching, the best accuracy among the networks
trained so far, after 1 to 100 trainings of 200 epochs; and what is chosen after short trainings alone (12 epochs).

The tables know one accuracy after 200 epochs, the test accuracy. It stands in for the validation accuracy that a user
would look at, alike for every way of searching. After 12 epochs they know the validation accuracy.
"""

import argparse
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.lines import TRANSFERRED, summarize
from metad2a import spaces
from metad2a.core.cli import positive_int, run, seed_number
from metad2a.core.environment import provenance, random_generator
from metad2a.core.files import ROOT, write_json
from metad2a.core.messages import log
from metad2a.rankings.universal import load as load_universal
from metad2a.searches.budget.belief import Belief, Observation
from metad2a.searches.budget.proposals import learn, propose
from metad2a.spaces.nasbench201.cell_features import published_features
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse, to_string
from metad2a.spaces.nasbench201.classes import cheapest_members
from metad2a.spaces.nasbench201.extra_tables import nasbench360

TABLES = ("cifar10", "cifar100", "imagenet16-120", "ninapro", "darcy")
FULL_EPOCHS, SHORT_EPOCHS = 200, 12
NETWORKS = 100  # trained at the full protocol
SHORT = (10, 20, 30, 50)  # short trainings after which a cell is chosen
EVOLUTION_SHORT = 500  # short trainings of evolution
POPULATION, TOURNAMENT = 10, 3  # of regularized evolution, as NAS-Bench-201's authors set it
ETA = 16  # of Hyperband: 200 epochs over the 12 that the tables have


class Table:
    """Accuracies of one dataset.

    Attributes:
        full: (A,) after 200 epochs.
        short: (A,) validation accuracies after 12, None where the table has none.
        cells: the cheapest architecture of each class.
        prior: (K,) what the universal ranking says without having learned this very table.
    """

    def __init__(self, name: str):
        self.name, self.space = name, spaces.get("nasbench201")
        self.rows = {arch: row for row, arch in enumerate(self.space.architectures)}
        self.full = (self.space.table["test_200"] | nasbench360())[name].double()
        short = self.space.table["valid_12"].get(name)
        self.short: Any = None if short is None else short.double()
        self.cells = torch.tensor(cheapest_members())
        universal = load_universal()
        self.prior = (universal.held_out() if name == TRANSFERRED else universal.of_classes()[0]).double()

    def neighbour(self, row: int, rng: random.Random) -> int:
        """An architecture that differs in the operation of one edge."""
        child = parse(self.space.architectures[row])
        edge = rng.randrange(len(child))
        child[edge] = rng.choice([op for op in range(len(OPERATIONS)) if op != child[edge]])
        return self.rows[to_string(child)]


def believing(table: Table, features: dict[str, torch.Tensor], seed: int, prior: bool) -> list[float]:
    """Accuracies in the order in which the belief has networks trained."""
    belief = Belief(features, table.prior if prior else None)
    evidence: list[Observation] = []
    every = torch.arange(len(table.cells))
    for number in range(NETWORKS):
        rng = random_generator(1000 * seed + number)
        cell = propose(belief, evidence, {o.cell for o in evidence}, every, rng)
        evidence.append(Observation(cell, 0, table.full[table.cells[cell]].item()))
    return [o.value for o in evidence]


def evolution(table: Table, values: torch.Tensor, seed: int, count: int) -> list[int]:
    """Regularized evolution (Real et al., AAAI 2019) by `values` (A,): the architectures in their order."""
    rng = random.Random(seed)
    population = rng.sample(range(len(values)), POPULATION)
    seen = list(population)
    while len(seen) < count:
        parent = max(rng.sample(population, TOURNAMENT), key=lambda row: values[row].item())
        seen.append(table.neighbour(parent, rng))
        population = [*population[1:], seen[-1]]
    return seen[:count]


def hyperband(table: Table, seed: int) -> list[float]:
    """Hyperband (Li et al., JMLR 2018): accuracies of what it trains to the end, NaN where it spends on others.

    With the two lengths that the tables have: a bracket trains 16 cells for 12 epochs and the best one to the end, the
    next one two cells to the end. One entry a training of 200 epochs, or as many epochs of short ones.
    """
    rng = random.Random(seed)
    spent, found = 0, [float("nan")] * NETWORKS

    def train(row: int, epochs: int) -> None:
        nonlocal spent
        spent += epochs
        slot = -(-spent // FULL_EPOCHS) - 1  # of the network count within which it is finished
        if epochs == FULL_EPOCHS and slot < NETWORKS:
            found[slot] = max(table.full[row].item(), 0 if np.isnan(found[slot]) else found[slot])

    while spent < NETWORKS * FULL_EPOCHS:
        if table.short is not None:
            rows = rng.sample(range(len(table.full)), ETA)
            for row in rows:
                train(row, SHORT_EPOCHS)
            train(max(rows, key=lambda row: table.short[row].item()), FULL_EPOCHS)
        for row in rng.sample(range(len(table.full)), 2):
            train(row, FULL_EPOCHS)
    return found


def best_so_far(values: list[float]) -> list[float | None]:
    """The best of the first 1, 2, ... of them, None before there is any."""
    best = np.fmax.accumulate(np.array(values))
    return [None if np.isnan(value) else round(float(value), 4) for value in best]


def after_short(table: Table, features: dict[str, torch.Tensor], seed: int) -> dict[str, float]:
    """Test accuracy of the cell that the belief puts first after so many short trainings."""
    belief = Belief(features, table.prior, fidelities=2)
    evidence: list[Observation] = []
    every, chosen = torch.arange(len(table.cells)), {}
    for number in range(max(SHORT)):
        rng = random_generator(1000 * seed + number)
        cell = propose(belief, evidence, {o.cell for o in evidence}, every, rng)
        evidence.append(Observation(cell, 0, table.short[table.cells[cell]].item()))
        if number + 1 in SHORT:
            learn(belief, evidence)
            chosen[str(number + 1)] = table.full[table.cells[belief.quality().argmax()]].item()
    return chosen


def evolution_short(table: Table, seed: int) -> dict[str, float]:
    """The same of regularized evolution by the accuracies after 12 epochs, which chooses the best of them."""
    seen = evolution(table, table.short, seed, EVOLUTION_SHORT)
    counts = (*SHORT, EVOLUTION_SHORT)
    return {str(n): table.full[max(seen[:n], key=lambda row: table.short[row].item())].item() for n in counts}


def judge(table: Table, features: dict[str, torch.Tensor], seeds: range) -> dict[str, Any]:
    """All ways of searching on one table, once a seed."""
    everything = range(len(table.full))
    ways: dict[str, Callable[[int], list[float]]] = {
        "prior": lambda seed: believing(table, features, seed, True),
        "no_prior": lambda seed: believing(table, features, seed, False),
        "evolution": lambda seed: table.full[evolution(table, table.full, seed, NETWORKS)].tolist(),
        "hyperband": lambda seed: hyperband(table, seed),
        "random": lambda seed: table.full[random.Random(seed).sample(everything, NETWORKS)].tolist(),
    }
    result: dict[str, Any] = {"maximum": float(table.full.max()), "curves": {}}
    for name, way in ways.items():
        result["curves"][name] = [best_so_far(way(seed)) for seed in seeds]
        ends = [f"{n}: {np.mean([c[n - 1] or np.nan for c in result['curves'][name]]):.2f}" for n in (1, 10, 30, 100)]
        log.info(f"{table.name:<15} {name:<10} " + "  ".join(ends))
    if table.short is not None:
        short = {
            "prior": [after_short(table, features, seed) for seed in seeds],
            "evolution": [evolution_short(table, seed) for seed in seeds],
        }
        result["short"] = {name: summarize(runs) for name, runs in short.items()}
        for name, figures in result["short"].items():
            log.info(f"{table.name:<15} {name:<10} " + "  ".join(f"{n}: {f['mean']:.2f}" for n, f in figures.items()))
    return result


def measure(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    features = published_features()
    seeds = range(args.seed, args.seed + args.num_runs)
    names = args.tables.split(",") if args.tables else list(TABLES)
    result = {name: judge(Table(name), features, seeds) for name in names}
    history = provenance(args.seed, device="cpu", threads=args.threads, runs=args.num_runs, networks=NETWORKS)
    write_json(Path(args.output), {"history": history, "result": result}, indent=None)
    log.info(f"{args.output} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", help="some of them, separated by commas (default all)")
    parser.add_argument("--num-runs", type=positive_int, default=10)
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "budget.json"))
    parser.add_argument("--seed", type=seed_number, default=333)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
