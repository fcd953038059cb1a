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
from metad2a.rankings import kinds
from metad2a.rivals.base import Method
from metad2a.rivals.evolution import RegularizedEvolution
from metad2a.rivals.halving import Hyperband
from metad2a.rivals.metad2a import BudgetSearch, cells_by_class
from metad2a.rivals.table import LONG, SHORT, Table, TableProblem, table_of, table_of_cells
from metad2a.rivals.trivial import RandomSearch
from metad2a.searches.budget.loop import learn, next_cell
from metad2a.searches.budget.surrogate import Observation, Surrogate
from metad2a.spaces.nasbench201.tasks import PHOTOGRAPHS, TASKS, TRANSNAS_NAMES

NETWORKS = 100  # trained by the full protocol
COUNTS = (1, 3, 10, 30, 100)  # networks, columns of tables
SHORT_COUNTS, EVOLUTION_COUNTS = (10, 20, 30, 50), (10, 20, 30, 50, 500)  # short trainings before a choice
LEVELS, CALIBRATED = (0.5, 0.8, 0.95), (5, 10, 30)  # of intervals, and networks after which they are judged
FACTORS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2.0, 2.5)  # by which intervals may be widened
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


def held(surrogate: Surrogate, values: np.ndarray) -> dict[str, list[float]]:
    """Share of the values (N,) of untrained cells within the model's central intervals for trainings, by level, if
    these are widened by each of `FACTORS`."""
    mean, deviation = surrogate.warped_accuracy()
    scale = surrogate.scale
    warped = scale(values) + np.maximum(values - scale.top, 0) / scale.width
    place = np.abs(warped - mean) / np.hypot(deviation, np.sqrt(surrogate.noise))
    free = np.delete(place, surrogate.observed)
    return {
        f"{factor:g}": [float((free <= factor * ndtri(0.5 + level / 2)).mean()) for level in LEVELS]
        for factor in FACTORS
    }


def calibration(table: Table, seed: int) -> dict[str, dict[str, list[float]]]:
    """`held` after some numbers of networks of one search."""
    problem = TableProblem(replace(table, columns={LONG: table.columns[LONG]}), Budget(evaluations=NETWORKS))
    cells = cells_by_class(problem)
    places = np.array(sorted(cells))
    values = np.array(problem.measure([cells[cell] for cell in places.tolist()], LONG))
    known = kinds.load(places, kinds.left_out(table.dataset))
    surrogate, observations = Surrogate(problem.space.features(), places, known), list[Observation]()
    rng, found = np.random.default_rng(seed), dict[str, dict[str, list[float]]]()
    for number in range(1, max(CALIBRATED) + 1):
        cell = next_cell(surrogate, observations, [o.cell for o in observations], rng)
        assert cell is not None
        observations.append(Observation(cell, float(values[np.searchsorted(places, cell)])))
        if number in CALIBRATED:
            learn(surrogate, observations)
            found[str(number)] = held(surrogate, values)
    return found


def judge(dataset: str, seeds: range) -> dict[str, Any]:
    """All searches on one task, one for each seed."""
    result: dict[str, Any] = {"curves": {}, "charged": {}, "ahead": {}}
    runs: dict[str, Any] = {}
    for name, method in SEARCHES.items():
        if name == "group" and dataset not in TRANSNAS_NAMES:
            continue
        runs[name] = [curves(drawn(dataset, seed), method, seed, charge=False) for seed in seeds]
        result["curves"][name] = summary(runs[name])
        if name in CHARGED:
            result["charged"][name] = summary(
                [curves(cell_table(dataset), method, seed, charge=True) for seed in seeds]
            )
        ends = [f"{n}: {result['curves'][name]['reported']['mean'][n - 1] or np.nan:.2f}" for n in COUNTS]
        log.info(f"{dataset:<15} {name:<10} " + "  ".join(ends))
    reported = {name: [found["reported"] for found in each] for name, each in runs.items()}
    flags = [ahead(reported["prior"], reported[name]) for name in ("no_prior", "evolution", "hyperband")]
    result["ahead"] = dict(zip(("above", "sure"), np.any(flags, axis=0).sum(1).tolist(), strict=True))
    judged = [calibration(drawn(dataset, seed), seed) for seed in seeds]
    result["held"] = {
        n: {
            factor: np.mean([found[n][factor] for found in judged], axis=0).round(4).tolist() for factor in judged[0][n]
        }
        for n in judged[0]
    }
    if SHORT in cell_table(dataset).columns:
        result["short"] = {
            name: summarize([after_short(drawn(dataset, seed), method, counts, seed) for seed in seeds])
            for name, (method, counts) in SHORT_SEARCHES.items()
        }
    result["maximum"] = max(result["curves"][name]["reported"]["mean"][-1] for name in runs)
    return result


def measure(args: argparse.Namespace) -> None:
    seeds = range(args.seed, args.seed + args.num_runs)
    result = {name: judge(name, seeds) for name in (args.tables.split(",") if args.tables else TASKS)}
    history = provenance(args.seed, device="cpu", threads=1, runs=args.num_runs, networks=NETWORKS)
    write_json(args.output, {"history": history, "result": result}, indent=None)
    log.info(f"{args.output} is made")


FILES = {"budget": "python benchmarks/budget.py"}
LABELS = {"prior": "--budget", "no_prior": "the same without other tasks", "evolution": "regularized evolution"}
LABELS |= {"hyperband": "Hyperband", "random": "random search"}
NINE = TASKS[len(PHOTOGRAPHS) :]


def cell(found: dict[str, Any], count: int, name: str = "reported") -> str:
    """A figure after some networks: mean and interval, in percent if it is a share; empty if a run has none yet."""
    values = found[name]["runs"][str(count)]
    if None in values:
        return ""
    return mean_and_interval(*interval([100 * value for value in values] if name == "better" else values))


def mean_share(result: dict[str, Any], tasks: tuple[str, ...], search: str, count: int) -> str:
    """The mean share of better functions over tasks, in percent."""
    return f"**{100 * np.mean([result[task]['curves'][search]['better']['mean'][count - 1] for task in tasks]):.2f}**"


def better_tables(result: dict[str, Any]) -> dict[str, str]:
    """Share of functions better than the best network: one task left out, and all tasks of its images left out."""
    shown, made = (("prior", 10), ("prior", 30), ("no_prior", 10), ("no_prior", 30), ("random", 30)), {}
    for key, tasks, ours in (("better", TASKS, "prior"), ("group", TRANSNAS_NAMES, "group")):
        pairs = [(ours if name == "prior" else name, count) for name, count in shown]
        rows = [
            [NAMES[task], *(cell(result[task]["curves"][name], count, "better") for name, count in pairs)]
            for task in tasks
        ]
        over = NINE if key == "better" else TRANSNAS_NAMES
        title = "mean without the photographs" if key == "better" else "mean"
        rows.append([f"**{title}**", *(mean_share(result, over, name, count) for name, count in pairs)])
        head = ["task", "`--budget`, 10", "30", "without other tasks, 10", "30", "random, 30"]
        made[f"budget-{key}"] = table(head, rows)
    return made


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Accuracy against the number of networks, better functions, both counts, where others are ahead, calibration, and
    short trainings."""
    result = results["budget"]
    shown = (("prior", 10), ("prior", 30), ("no_prior", 30), ("evolution", 30), ("hyperband", 30), ("random", 30))
    head = ["task", "`--budget`, 10", "30", "without other tasks, 30", "evolution, 30", "Hyperband, 30", "random, 30"]
    rows = [
        [NAMES[task], *(cell(found["curves"][name], count) for name, count in shown)] for task, found in result.items()
    ]
    counts = ["task", *(part for name in CHARGED for part in (f"{LABELS[name]}, functions", "all charged"))]
    charged = [
        [NAMES[task], *(cell(found[way][name], 30) for name in CHARGED for way in ("curves", "charged"))]
        for task, found in result.items()
    ]
    columns = [("prior", "10"), ("prior", "30"), ("evolution", "30"), ("evolution", "500")]
    short = [
        [NAMES[task]]
        + [mean_and_interval(found["short"][a][b]["mean"], found["short"][a][b]["interval_95"]) for a, b in columns]
        for task, found in result.items()
        if "short" in found
    ]
    sure = [[NAMES[task], *(str(found["ahead"][key]) for key in ("above", "sure"))] for task, found in result.items()]
    return better_tables(result) | {
        "budget": table(head, rows),
        "budget-first": table(head, rows[:5]),
        "budget-counts": table(counts, charged),
        "budget-ahead": table(["task", "budgets at which another way is ahead", "with a 95 % interval above 0"], sure),
        "budget-held": held_table(result),
        "budget-short": table(["table", "`--budget`, 10 short", "30 short", "evolution, 30 short", "500 short"], short),
    }


def widening(result: dict[str, Any], left_out: str = "") -> str:
    """The factor with which the intervals hold nearest to what they should, on average over tasks and budgets."""
    founds = [found["held"][n] for task, found in result.items() if task != left_out for n in found["held"]]
    error = {f: np.abs(np.mean([found[f] for found in founds], axis=0) - LEVELS).sum() for f in founds[0]}
    return min(error, key=lambda factor: error[factor])


def held_table(result: dict[str, Any]) -> str:
    """Percent of the true values within the model's intervals, widened as the other tasks say."""
    shown = ("5", "30")
    held = {task: [found["held"][n][widening(result, task)] for n in shown] for task, found in result.items()}
    rows = [[NAMES[task], *(f"{100 * x:.0f}" for each in values for x in each)] for task, values in held.items()]
    plain = [[found["held"][n]["1"] for n in shown] for found in result.values()]
    for title, values in (("mean", list(held.values())), ("mean, not widened", plain)):
        rows.append([f"**{title}**", *(f"**{100 * x:.0f}**" for x in np.mean(values, axis=0).flat)])
    return table(["task", *(f"{level:.0%}, {n} networks" for n in shown for level in LEVELS)], rows)


def plot_panel(axes: Axes, found: dict[str, Any]) -> None:
    """Mean best figure against the number of networks on one task."""
    low = min(found["curves"][way]["reported"]["mean"][4] for way in ("evolution", "prior"))
    axes.set(xscale="log", xlim=(1, NETWORKS))
    axes.set_ylim(low - 0.3 * (found["maximum"] - low), found["maximum"] + 0.08 * (found["maximum"] - low))
    for number, (way, label) in enumerate(LABELS.items()):
        mean, look = found["curves"][way]["reported"]["mean"], style(number) | {"marker": ""}
        look |= {"color": OURS, "linewidth": 3} if way == "prior" else {}
        heights = [np.nan if value is None else value for value in mean]
        axes.step(range(1, len(heights) + 1), heights, where="post", label=label, **look)


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    figure = new_figure(10, 11.5)
    panels = list(figure.subplots(4, 3).flat)
    for axes, (task, found) in zip(panels, results["budget"].items(), strict=True):
        axes.set_title(NAMES[task])
        plot_panel(axes, found)
    figure.supxlabel("networks, 200 epochs each")
    figure.supylabel("best so far")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LABELS), fontsize=8)
    return {"accuracy_against_epochs": figure}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", help="some of them, separated by commas (default all)")
    parser.add_argument("--num-runs", type=positive_int, default=3)
    parser.add_argument("--output", default=RESULTS / "budget.json", type=Path)
    parser.add_argument("--seed", type=seed_number, default=333)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
