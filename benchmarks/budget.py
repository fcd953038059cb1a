"""Accuracy against budget, looked up in tables: python benchmarks/budget.py

Writes benchmarks/results/budget.json: for each table and search, the best accuracy among the networks trained so far,
after 1 to 100 trainings of 200 epochs; and the accuracy of the choice after N short trainings (12 epochs). The page
docs/results/budget.md shows them.

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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.pages import NAMES, OURS, RESULTS, label_lines, mean_and_interval, new_figure, style, summarize, table
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
    steps = method.run(problem, seed).trajectory
    choices = {count: [step.arch for step in steps if step.cost.evaluations <= count][-1] for count in counts}
    return {str(count): problem.judge([arch])[0] for count, arch in choices.items()}


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
    write_json(args.output, {"history": history, "result": result}, indent=None)
    log.info(f"{args.output} is made")


FILES = {"budget": "python benchmarks/budget.py"}
COUNTS = (1, 3, 10, 30, 100)  # networks, columns of the table
TITLES = {
    "prior": "**`--budget`, from the ranking**",
    "no_prior": "the same process without the ranking",
    "evolution": "regularized evolution",
    "hyperband": "Hyperband",
    "random": "random search",
}
LABELS = {"prior": "--budget", "no_prior": "the same without the ranking", "evolution": "evolution"}
LABELS |= {"hyperband": "Hyperband", "random": "random search"}


def at(curves: list[list[float | None]], number: int) -> list[float]:
    """Each run's best accuracy after `number` networks; empty if a run has none yet."""
    values = [curve[number - 1] for curve in curves]
    return [] if None in values else [value for value in values if value is not None]


def curve_cell(curves: list[list[float | None]], number: int) -> str:
    values = at(curves, number)
    return mean_and_interval(*interval(values)) if values else ""


def behind(result: dict[str, Any]) -> dict[str, dict[str, int]]:
    """At how many of the 100 budgets each other search's mean is above that of the search with the ranking.

    "sure" counts those where the 95 % interval of the difference of seeds leaves out 0.
    """
    counts: dict[str, dict[str, int]] = {}
    for dataset, found in result.items():
        ours, counts[dataset] = found["curves"]["prior"], {"above": 0, "sure": 0}
        for name in ("no_prior", "evolution", "hyperband"):
            for number in range(1, len(ours[0]) + 1):
                if other := at(found["curves"][name], number):
                    mean, half = interval([a - b for a, b in zip(other, at(ours, number), strict=True)])
                    counts[dataset]["above"] += mean > 1e-6
                    counts[dataset]["sure"] += mean - half > 1e-6
    return counts


def short_row(dataset: str, found: dict[str, Any]) -> list[str]:
    """Test accuracy of what short trainings choose."""
    columns = (("prior", "10"), ("prior", "30"), ("evolution", "30"), ("evolution", "500"))
    figures = (found["short"][name][count] for name, count in columns)
    return [NAMES[dataset], *(mean_and_interval(figure["mean"], figure["interval_95"]) for figure in figures)]


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Accuracy against the number of networks, where other searches are ahead, and short trainings."""
    result = results["budget"]
    head = ["table", "search", *(f"{n} network{'s' * (n > 1)}" for n in COUNTS)]
    rows = [
        [NAMES[dataset], title, *(curve_cell(found["curves"][name], n) for n in COUNTS)]
        for dataset, found in result.items()
        for name, title in TITLES.items()
    ]
    ahead = [[NAMES[name], str(counts["above"]), str(counts["sure"])] for name, counts in behind(result).items()]
    short = [short_row(dataset, found) for dataset, found in result.items() if "short" in found]
    return {
        "budget": table(head, rows),
        "budget-first": table(head, [row for row in rows if row[1] != TITLES["no_prior"]][:8]),
        "budget-ahead": table(
            ["table", "budgets at which another way is ahead", "with a 95 % interval above 0"], ahead
        ),
        "budget-short": table(["table", "`--budget`, 10 short", "30 short", "evolution, 30 short", "500 short"], short),
    }


def plot_panel(axes: Axes, found: dict[str, Any]) -> None:
    """Mean best accuracy against the whole cost in epochs, and what short trainings choose, on one dataset."""
    low = min(at(found["curves"][way], 10)[0] for way in ("evolution", "prior"))
    axes.set(xscale="log", xlabel="whole cost (epochs)", ylabel="best accuracy (%)", xlim=(150, 22_000))
    axes.set_ylim(low - 0.3 * (found["maximum"] - low), found["maximum"] + 0.08 * (found["maximum"] - low))
    ends = {}
    for number, (way, label) in enumerate(LABELS.items()):
        curves, look = np.array(found["curves"][way], dtype=float), style(number) | {"marker": ""}
        look |= {"color": OURS, "linewidth": 3} if way == "prior" else {}
        mean = np.where(np.isfinite(curves).all(0), np.nan_to_num(curves).mean(0), np.nan)
        zorder = 2 if way == "random" else 3  # Hyperband without short trainings is random search
        axes.step(LONG * np.arange(1, len(mean) + 1), mean, where="post", **look, zorder=zorder)
        ends[label] = (LONG * len(mean), mean[-1], look["color"])
    for way, marker, color in (("prior", "o", OURS), ("evolution", "s", style(2)["color"])):
        points = {SHORT * int(n) + LONG: value for n, value in found.get("short", {}).get(way, {}).items()}
        axes.plot(
            points.keys(), [value["mean"] for value in points.values()], marker, color=color, mfc="white", zorder=4
        )
    label_lines(axes, ends, room=0.75)


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    figure = new_figure(10, 11.5)
    panels = list(figure.subplots(3, 2).flat)
    for axes, (dataset, found) in zip(panels, results["budget"].items(), strict=False):
        axes.set_title(NAMES[dataset])
        plot_panel(axes, found)
    note = "Hollow points: short trainings only (12 epochs)\nchoose a cell, which is then trained for 200 epochs.\n\n"
    note += "Circles: --budget; squares: evolution.\n(NinaPro and Darcy have no accuracies after 12 epochs.)"
    panels[-1].axis("off")
    panels[-1].text(0, 0.9, note, va="top")
    return {"accuracy_against_epochs": figure}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", help="some of them, separated by commas (default all)")
    parser.add_argument("--num-runs", type=positive_int, default=10)
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--output", default=RESULTS / "budget.json", type=Path)
    parser.add_argument("--seed", type=seed_number, default=333)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
