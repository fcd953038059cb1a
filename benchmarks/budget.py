"""Accuracy against budget, looked up in tables of twelve tasks: python benchmarks/budget.py

Writes benchmarks/results/budget.json: for each task and search, the best network so far after 1 to 100 trainings of 200
epochs. Searches look at validation accuracies, and the test accuracy of the network with the best one is reported
(NinaPro, Darcy and TransNAS-Bench-101 have one figure for both). Equal cells count as one function, and a repeated
function costs nothing. Each seed draws which of the equal cells stands for its function. In the other count, cells are
searched, and each training is charged. The search of this project knows nothing of the task that it searches; "group"
knows no task of TransNAS-Bench-101 at all. The file also says how often the model's intervals hold the true values. The
page docs/results/budget.md shows all this.
"""

import argparse
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from benchmarks.pages import NAMES, OURS, RESULTS, mean_and_interval, new_figure, style, summarize, table
from metad2a import spaces
from metad2a.core.budget import Budget
from metad2a.core.cli import run
from metad2a.core.environment import provenance
from metad2a.core.files import write_json
from metad2a.core.messages import log
from metad2a.core.statistics import interval
from metad2a.core.values import positive_int, seed_number
from metad2a.rivals.base import Method
from metad2a.rivals.evolution import RegularizedEvolution
from metad2a.rivals.halving import Hyperband
from metad2a.rivals.metad2a import BudgetSearch
from metad2a.rivals.table import LONG, SHORT, Table, TableProblem, table_of, table_of_cells
from metad2a.rivals.trivial import RandomSearch
from metad2a.searches.budget.surrogate import Observation, Surrogate
from metad2a.spaces.nasbench201.tasks import PHOTOGRAPHS, TASKS, TRANSNAS_NAMES

NETWORKS = 100  # trained by the full protocol
COUNTS = (1, 3, 10, 30, 100)  # networks, columns of tables
SHORT_COUNTS, EVOLUTION_COUNTS = (10, 20, 30, 50), (10, 20, 30, 50, 500)  # short trainings before a choice
LEVELS, CALIBRATED = (0.5, 0.8, 0.95), (5, 10, 30)  # of intervals, and networks after which they are judged
SEARCHES: dict[str, Method] = {
    "prior": BudgetSearch(trainings=NETWORKS),
    "group": BudgetSearch(trainings=NETWORKS, group=True),
    "no_prior": BudgetSearch(trainings=NETWORKS, ranked=False),
    "evolution": RegularizedEvolution(),
    "hyperband": Hyperband(reduction=LONG // SHORT),
    "random": RandomSearch(batch=1),
}
CHARGED = ("evolution", "hyperband", "random")  # searches that repeat networks
SHORT_SEARCHES: dict[str, tuple[Method, tuple[int, ...]]] = {
    "prior": (BudgetSearch(trainings=max(SHORT_COUNTS)), SHORT_COUNTS),
    "evolution": (RegularizedEvolution(), EVOLUTION_COUNTS),
}


class Trainings(TableProblem):
    """A table that remembers when each full training was finished."""

    def __init__(self, table: Table, budget: Budget):
        self.finished: list[tuple[float, float, str]] = []  # epochs spent by then, accuracy, architecture
        super().__init__(table, budget)

    def measure(self, archs: list[Any], epochs: int) -> list[float]:
        values = super().measure(archs, epochs)
        if epochs == LONG:
            first = self.cost.epochs - epochs * (len(archs) - 1)
            texts = [self.text_of(arch) for arch in archs]
            self.finished += [(first + epochs * i, *pair) for i, pair in enumerate(zip(values, texts, strict=True))]
        return values

    def best_so_far(self) -> list[tuple[float, str] | None]:
        """The best accuracy, and its architecture, within the epochs of 1, 2, ... full trainings; None before the first
        is finished."""
        best, number, curve = None, 0, list[tuple[float, str] | None]()
        for count in range(1, NETWORKS + 1):
            while number < len(self.finished) and self.finished[number][0] <= count * LONG:
                _, value, text = self.finished[number]
                best, number = max(best or (value, text), (value, text), key=lambda pair: pair[0]), number + 1
            curve.append(best)
        return curve


@cache
def cell_table(dataset: str) -> Table:
    """The table of all cells."""
    return table_of_cells(dataset, spaces.get("nasbench201"), functions=False)


@cache
def drawn(dataset: str, seed: int) -> Table:
    """The table of functions, in which each function is one of its cells, drawn by a seed."""
    cells, chosen = cell_table(dataset), table_of(dataset)
    rng, members = np.random.default_rng(seed), dict[str, list[str]]()
    for text in cells.columns[LONG]:
        members.setdefault(chosen.equals[text], []).append(text)
    lots = {text: members[text][int(rng.integers(len(members[text])))] for text in chosen.columns[LONG]}
    columns = {epochs: {lots[text]: column[lots[text]] for text in lots} for epochs, column in cells.columns.items()}
    equals = {text: lots.get(function, function) for text, function in chosen.equals.items()}
    return replace(chosen, columns=columns, equals=equals)


def curves(table: Table, method: Method, seed: int, charge: bool) -> dict[str, list[float | None]]:
    """What one search reports after 1, 2, ... networks, and the share of functions that look better to it; only
    Hyperband gets short trainings, and without them it is random search."""
    if not method.needs_short:
        table = replace(table, columns={LONG: table.columns[LONG]})
    elif SHORT not in table.columns:
        method = SEARCHES["random"]
    problem = Trainings(table, Budget(epochs=float(NETWORKS * LONG)))
    problem.charge_repeats = charge
    method.run(problem, seed)
    values = np.sort(list(table.columns[LONG].values()))
    best = problem.best_so_far()
    return {
        "reported": [None if pair is None else round(problem.judge([pair[1]])[0], 4) for pair in best],
        "better": [None if pair is None else float((values > pair[0]).mean()) for pair in best],
    }


def after_short(table: Table, method: Method, counts: tuple[int, ...], seed: int) -> dict[str, float]:
    """Test accuracy of the choice after N trainings of 12 epochs."""
    problem = TableProblem(table, Budget(evaluations=max(counts)))
    steps = method.run(problem, seed).trajectory
    choices = {count: [step.arch for step in steps if step.cost.evaluations <= count][-1] for count in counts}
    return {str(count): problem.judge([arch])[0] for count, arch in choices.items()}


def summary(runs: list[dict[str, list[float | None]]]) -> dict[str, Any]:
    """The mean curve, and the values of each run after some numbers of networks, of each figure."""
    result = {}
    for name in runs[0]:
        columns = list(zip(*(found[name] for found in runs), strict=True))
        mean = [None if None in column else round(float(np.mean(column)), 5) for column in columns]
        result[name] = {"mean": mean, "runs": {str(count): columns[count - 1] for count in COUNTS}}
    return result


def ahead(ours: list[list[float]], other: list[list[float | None]]) -> np.ndarray:
    """(2, NETWORKS) bool: where the mean of another search is above ours, and where the 95 % interval of the difference
    of seeds leaves out 0."""
    flags = np.zeros((2, NETWORKS), dtype=bool)
    for number, (a, b) in enumerate(zip(zip(*other, strict=True), zip(*ours, strict=True), strict=True)):
        if None not in a:
            mean, half = interval([x - y for x, y in zip(a, b, strict=True)])
            flags[:, number] = mean > 1e-6, mean - half > 1e-6
    return flags


def held(surrogate: Surrogate, values: np.ndarray) -> list[float]:
    """Share of the true values (N,) of untrained cells within the model's central intervals at each level."""
    mean, deviation = surrogate.warped_observation()
    place = np.abs(surrogate.scale(values) - mean) / deviation
    free = np.delete(place, surrogate.observed)
    return [float((free <= ndtri(0.5 + level / 2)).mean()) for level in LEVELS]


class Watched(BudgetSearch):
    """A search that judges its model's intervals as it goes."""

    def watch(self, surrogate: Surrogate, observations: list[Observation], cells: dict[int, Any]) -> None:
        if len(observations) in CALIBRATED:
            problem, where = self.seen
            values = np.array(problem.measure([cells[cell] for cell in surrogate.cells.tolist()], LONG))
            where[str(len(observations))] = held(surrogate, values)
