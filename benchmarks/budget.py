"""Accuracy against budget, looked up in tables: python benchmarks/budget.py

Writes benchmarks/results/budget.json: for each table and search, the best accuracy among the networks trained so far,
after 1 to 100 trainings of 200 epochs; and the accuracy of the choice after N short trainings (12 epochs).

After 200 epochs the tables know only the test accuracy. It stands in for the validation accuracy that a user would see,
for all searches alike. After 12 epochs they know the validation accuracy.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.lines import summarize
from metad2a.core.budget import Budget
from metad2a.core.cli import run
from metad2a.core.environment import provenance
from metad2a.core.files import ROOT, write_json
from metad2a.core.messages import log
from metad2a.core.values import positive_int, seed_number
from metad2a.rivals.base import Method, Result
from metad2a.rivals.evolution import RegularizedEvolution
from metad2a.rivals.halving import Hyperband
from metad2a.rivals.metad2a import BudgetSearch
from metad2a.rivals.table import LONG, SHORT, Table, TableProblem, table_of
from metad2a.rivals.trivial import RandomSearch

TABLES = ("cifar10", "cifar100", "imagenet16-120", "ninapro", "darcy")
NETWORKS = 100  # trained by the full protocol
SHORT_COUNTS, EVOLUTION_COUNTS = (10, 20, 30, 50), (10, 20, 30, 50, 500)  # short trainings before a choice
SEARCHES: dict[str, Method] = {
    "prior": BudgetSearch(trainings=NETWORKS),
    "no_prior": BudgetSearch(trainings=NETWORKS, ranked=False),
    "evolution": RegularizedEvolution(),
    "hyperband": Hyperband(reduction=LONG // SHORT),
    "random": RandomSearch(batch=1),
}
SHORT_SEARCHES: dict[str, tuple[Method, tuple[int, ...]]] = {
    "prior": (BudgetSearch(trainings=max(SHORT_COUNTS)), SHORT_COUNTS),
    "evolution": (RegularizedEvolution(), EVOLUTION_COUNTS),
}


class Trainings(TableProblem):
    """A table that remembers when each full training was finished; a repeated training is charged again."""

    charge_repeats = True

    def __init__(self, table: Table, budget: Budget):
        self.finished: list[tuple[float, float]] = []  # epochs spent by then, accuracy
        super().__init__(table, budget)

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        values = super().measure(archs, epochs)
        if epochs == LONG:
            first = self.cost.epochs - epochs * (len(archs) - 1)
            self.finished += [(first + epochs * i, value) for i, value in enumerate(values)]
        return values

    def best_so_far(self) -> list[float | None]:
        """The best accuracy within the epochs of 1, 2, ... full trainings, None before the first is finished."""
        curve = []
        for number in range(1, NETWORKS + 1):
            values = [value for epochs, value in self.finished if epochs <= number * LONG]
            curve.append(round(max(values), 4) if values else None)
        return curve


def full_curve(table: Table, method: Method, seed: int) -> list[float | None]:
    """`best_so_far` of one search; only Hyperband gets short trainings, and without them it is random search."""
    if not method.needs_short:
        table = replace(table, columns={LONG: table.columns[LONG]})
    elif SHORT not in table.columns:
        method = SEARCHES["random"]
    problem = Trainings(table, Budget(epochs=float(NETWORKS * LONG)))
    method.run(problem, seed)
    return problem.best_so_far()


def after_short(table: Table, method: Method, counts: tuple[int, ...], seed: int) -> dict[str, float]:
    """Accuracy after 200 epochs of the choice after N trainings of 12 epochs."""
    problem = Trainings(table, Budget(evaluations=max(counts)))
    result = method.run(problem, seed)
    return {str(count): problem.judge([choice_after(result, count)])[0] for count in counts}


def choice_after(result: Result, evaluations: int) -> str:
    """The choice of a search after N evaluations."""
    return [step.arch for step in result.trajectory if step.cost.evaluations <= evaluations][-1]


def judge(table: Table, seeds: range) -> dict[str, Any]:
    """All searches on one table, one for each seed."""
    result: dict[str, Any] = {"maximum": max(table.columns[LONG].values()), "curves": {}}
    for name, method in SEARCHES.items():
        curves = result["curves"][name] = [full_curve(table, method, seed) for seed in seeds]
        ends = [f"{n}: {np.mean([curve[n - 1] or np.nan for curve in curves]):.2f}" for n in (1, 10, 30, 100)]
        log.info(f"{table.dataset:<15} {name:<10} " + "  ".join(ends))
    if SHORT in table.columns:
        result["short"] = {}
        for name, (method, counts) in SHORT_SEARCHES.items():
            figures = summarize([after_short(table, method, counts, seed) for seed in seeds])
            result["short"][name] = figures
            log.info(
                f"{table.dataset:<15} {name:<10} " + "  ".join(f"{n}: {f['mean']:.2f}" for n, f in figures.items())
            )
    return result


def measure(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    seeds = range(args.seed, args.seed + args.num_runs)
    names = args.tables.split(",") if args.tables else list(TABLES)
    result = {name: judge(table_of(name), seeds) for name in names}
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
