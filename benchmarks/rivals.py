"""Every search method on every table of accuracies: python benchmarks/rivals.py

Writes benchmarks/results/rivals.json: for each dataset and method the accuracy of its choices, their cost, the chosen
cells, and the accuracy against the cost. It also tells which depth, width and speed of convergence searchers prefer
(Shu et al., ICLR 2020). A dataset that is measured again replaces its part of the file.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.pages import COLOURS, NAMES, OURS, RESULTS, label_lines, new_figure, spread, style, table
from benchmarks.script import benchmark_parser, keep_result
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.statistics import interval
from metad2a.core.values import positive_int
from metad2a.rivals.compare import Row, problem_of, rows_of, run_all, usable
from metad2a.rivals.options import ALL, CompareOptions
from metad2a.rivals.table import TableProblem
from metad2a.spaces.nasbench201.cell_features import cell_shape
from metad2a.spaces.nasbench201.cells import parse
from metad2a.spaces.nasbench201.tables import NASBENCH360_NAMES
from metad2a.spaces.nasbench201.tasks import PHOTOGRAPHS

SUBNETS = "imagenet-224"
DATASETS = (*PHOTOGRAPHS, *NASBENCH360_NAMES, SUBNETS)  # benchmarks/budget.py has the tasks of TransNAS-Bench-101
STEPS = (1, 2, 5, 10, 20, 30, 50, 100, 150, 200, 300, 500)  # evaluations of the fewest epochs, at which curves are read
SHOWN_CELLS = 3
SHAPED = ("cifar10", "cifar100", "imagenet16-120")  # of which the accuracy after 12 epochs is known, too
TOP = 100


def curve(problem: TableProblem, row: Row) -> list[list[float]]:
    """Pairs of a cost and the mean accuracy of the choices at that cost, from the cost at which every run has a choice.

    The cost is in epochs, or in evaluations if these cost no epochs.
    """
    unit, name = (problem.fidelities[0], "epochs") if problem.fidelities[0] else (1, "evaluations")
    points = []
    for limit in (0, *(unit * step for step in STEPS)):
        accuracies = []
        for result in row.results:
            before = [step for step in result.trajectory if getattr(step.cost, name) <= limit]
            accuracies += problem.judge([before[-1].arch]) if before else []
        if len(accuracies) == len(row.results):
            points.append([limit, float(np.mean(accuracies))])
    return points


def facts(problem: TableProblem, row: Row) -> dict[str, Any]:
    """The part of the result file about one method."""
    mean, half = interval(row.accuracy)
    return {
        "title": row.method.title,
        "mark": row.mark,
        "accuracy": {"mean": mean, "interval_95": half, "min": min(row.accuracy), "runs": len(row.accuracy)},
        "cost": {name: row.mean_cost(name) for name in ("evaluations", "epochs", "seconds")},
        "hits": sum(value >= problem.best - 1e-6 for value in row.accuracy),
        "cells": Counter(result.chosen[0] for result in row.results).most_common(SHOWN_CELLS),
        "curve": curve(problem, row),
    }


class Shapes:
    """Depth, width, convolutions and both accuracies of all cells (A,) on a dataset."""

    def __init__(self, dataset: str):
        space = spaces.get("nasbench201")
        self.rows = {arch: row for row, arch in enumerate(space.architectures)}
        cells = [parse(arch) for arch in space.architectures]
        self.depth, self.width, self.convolutions = np.array(list(map(cell_shape, cells)), dtype=float).T
        self.short, self.long = (space.table[name][dataset].astype(float) for name in ("valid_12", "test_200"))
        self.places_won = self.long.argsort().argsort() - self.short.argsort().argsort()

    def mean(self, rows: np.ndarray) -> dict[str, float]:
        """Means over some cells; `rank_gain` is the number of places won among 15,625 between 12 and 200 epochs."""
        names = ("depth", "width", "convolutions", "short", "long")
        means = {name: float(getattr(self, name)[rows].mean()) for name in names}
        return means | {"rank_gain": float(self.places_won[rows].mean())}

    def by_depth(self) -> list[dict[str, float]]:
        """Mean accuracies of the cells of each number of convolutions and depth."""
        groups = []
        for number in range(1, 7):
            for depth in (1, 2, 3):
                rows = np.flatnonzero((self.convolutions == number) & (self.depth == depth))
                if len(rows):
                    cells = {"convolutions": number, "depth": depth, "cells": len(rows)}
                    accuracies = {name: float(getattr(self, name)[rows].mean()) for name in ("short", "long")}
                    groups.append(cells | accuracies)
        return groups


def preferences(dataset: str, rows: list[Row]) -> dict[str, Any]:
    """Shapes of the cells that each method chose, of all connected cells and of the best ones."""
    shapes = Shapes(dataset)
    connected = np.flatnonzero(shapes.depth > 0)
    groups = {"space": connected, "best_short": np.argsort(-shapes.short)[:TOP]}
    groups |= {"best_long": np.argsort(-shapes.long)[:TOP]}
    chosen = {row.method.name: [shapes.rows[result.chosen[0]] for result in row.results] for row in rows}
    return {
        "space": {name: shapes.mean(cells) for name, cells in groups.items()},
        "methods": {name: shapes.mean(np.array(cells)) for name, cells in chosen.items()},
        "by_depth": shapes.by_depth(),
        "gain_with_depth": float(spearmanr(shapes.depth[connected], shapes.places_won[connected]).statistic),
    }


def measure_dataset(args: argparse.Namespace, dataset: str) -> dict[str, Any]:
    options = CompareOptions(
        gpu=args.gpu,
        search_space="ofa_mbv3" if dataset == SUBNETS else "nasbench201",
        data_name=dataset,
        seed=args.seed,
        methods=args.methods,
        num_seeds=args.num_seeds,
        num_workers=args.num_workers,
        data_path=args.data_path,
        save_path=args.save_path,
    )
    problem = problem_of(options)
    names = usable(problem, options)
    rows = rows_of(problem, run_all(problem, names, options))
    result = {
        "best": problem.best,
        "protocol": problem.protocol,
        "methods": {row.method.name: facts(problem, row) for row in rows},
    }
    return result | ({"preferences": preferences(dataset, rows)} if dataset in SHAPED else {})


def measure(args: argparse.Namespace) -> None:
    measured: dict[str, Any] = {}
    if args.output.is_file():
        measured = json.loads(args.output.read_text(encoding="utf-8"))["result"]
    for dataset in args.datasets.split(","):
        if dataset not in DATASETS:
            raise UserError(f"There is no table of {dataset!r}: choose among {', '.join(DATASETS)}.")
        measured[dataset] = measure_dataset(args, dataset)
        keep_result(args.output, {name: measured[name] for name in DATASETS if name in measured}, args)


FILES = {"rivals": "python benchmarks/rivals.py"}
FILES |= {
    f"rivals_real_{name}": f"python main.py compare --form real --data-name {name} --image-folder DIR"
    for name in ("cifar10", "gtsrb")
}
SHAPE = {"depth": ("depth", 2), "width": ("width", 2), "convolutions": ("convolutions", 1)}
SHAPE |= {"short": ("after 12 epochs (%)", 2), "long": ("after 200 (%)", 2), "rank_gain": ("places won", 0)}
CELLS = {"space": "all connected cells", "best_short": "best 100 after 12 epochs"}
CELLS |= {"best_long": "best 100 after 200 epochs"}
SHORT_TITLES = {"transfer": "best of ImageNet16-120", "metad2a": "MetaD2A, default"}
SHORT_TITLES |= {"metad2a-short": "MetaD2A, 30 for 12 epochs"}
SHORT_TITLES |= {"metad2a-trained": "MetaD2A, 30 trained", "metad2a-predictor": "MetaD2A, predictor"}
SMALLEST_GAP = 5e-3  # points below the best that a figure still tells from 0


def methods_table(found: dict[str, Any]) -> str:
    """Accuracy and cost of every method on one dataset."""
    rows = []
    for entry in found["methods"].values():
        accuracy, cost = entry["accuracy"], entry["cost"]
        mark = f" ({entry['mark']})" if entry["mark"] else ""
        seconds = "under 0.1" if cost["seconds"] < 0.1 else f"{cost['seconds']:.1f}"
        hits = f"{entry['hits']} of {accuracy['runs']}"
        spent = [f"{cost['evaluations']:,.0f}", f"{cost['epochs']:,.0f}", seconds]
        rows.append([entry["title"] + mark, spread(accuracy), f"{accuracy['min']:.2f}", hits, *spent])
    return table(["", "accuracy (%)", "lowest", "best cell chosen", "networks", "epochs", "search time (s)"], rows)


def overview(rivals: dict[str, Any]) -> str:
    """Accuracy of every method on all tables of cells."""
    datasets = [dataset for dataset in rivals if dataset != SUBNETS]
    rows = []
    for name, entry in rivals["cifar10"]["methods"].items():
        cells = []
        for dataset in datasets:
            other = rivals[dataset]["methods"].get(name)
            cells.append(spread(other["accuracy"]) + "*" * ("oracle" in other["mark"]) if other else "-")
        rows.append([entry["title"], f"{entry['cost']['evaluations']:,.0f}", *cells])
    return table(["", "networks (CIFAR-10)", *(NAMES[dataset] for dataset in datasets)], rows)


def shapes_table(found: dict[str, Any]) -> str:
    """Depth, width and speed of convergence of the cells that each method chose."""
    groups = {CELLS[name]: shape for name, shape in found["preferences"]["space"].items()}
    groups |= {found["methods"][name]["title"]: shape for name, shape in found["preferences"]["methods"].items()}
    rows = [
        [name, *(f"{shape[key]:.{digits}f}".replace("-0", "0") for key, (_, digits) in SHAPE.items())]
        for name, shape in groups.items()
    ]
    return table(["", *(label for label, _ in SHAPE.values())], rows)


def depth_leads(found: dict[str, Any]) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """By number of convolutions: the mean accuracies of the cells of depth 2 and of depth 3."""
    by = {(row["convolutions"], row["depth"]): row for row in found["preferences"]["by_depth"]}
    return {n: (by[n, 2], by[n, 3]) for n in range(1, 7) if (n, 2) in by and (n, 3) in by}


def depth_table(found: dict[str, Any]) -> str:
    rows = [
        [str(number), f"{two['cells']:,} / {three['cells']:,}",
         *(f"{two[key] - three[key]:+.2f}" for key in ("short", "long"))]
        for number, (two, three) in depth_leads(found).items()
    ]  # fmt: skip
    return table(["convolutions", "cells of depth 2 / 3", "lead after 12 epochs", "lead after 200 epochs"], rows)


def images_table(found: dict[str, Any]) -> str:
    """Every method on images: accuracy of its choice after the final training, cost of the search, chosen cell."""
    rows = []
    for method in found["methods"].values():
        [search] = method["runs"]
        cost = [f"{search['cost'][part]:,.0f}" for part in ("evaluations", "epochs", "seconds")]
        rows.append([method["title"], f"{search['accuracy']:.1f}", *cost, f"`{search['chosen']}`"])
    return table(["", "test accuracy (%)", "networks", "epochs", "search time (s)", "chosen cell"], rows)


def tables(results: dict[str, Any]) -> dict[str, str]:
    rivals = results["rivals"]
    values = {"methods": overview(rivals), "depth": depth_table(rivals["cifar10"])}
    for dataset, found in rivals.items():
        values[f"methods-{dataset}"] = methods_table(found)
        if "preferences" in found:
            values[f"shapes-{dataset}"] = shapes_table(found)
    for name in ("cifar10", "gtsrb"):
        found = results[f"rivals_real_{name}"]
        values[f"images-{name}"] = images_table(found)
    return values


def short_title(found: dict[str, Any], name: str) -> str:
    return SHORT_TITLES.get(name) or found["methods"][name]["title"].removesuffix(" (AREA)")


def plot_gaps(axes: Axes, found: dict[str, Any], looks: dict[str, dict[str, Any]]) -> None:
    """Points below the best against the cost, for every method on one dataset. Free methods are at the left edge."""
    curves = {name: entry["curve"] for name, entry in found["methods"].items()}
    costs = [x for curve in curves.values() for x, _ in curve if x > 0]
    axes.set(xscale="log", yscale="log", xlim=(min(costs) / 2, max(costs) * 1.2))
    ends = {}
    for name, curve in curves.items():
        x, y = zip(*curve, strict=True)
        gap = [max(found["best"] - value, SMALLEST_GAP) for value in y]
        axes.plot(
            [max(cost, min(costs) / 2) for cost in x], gap, zorder=4 if name.startswith("metad2a") else 3, **looks[name]
        )
        ends[short_title(found, name)] = (x[-1], gap[-1], looks[name]["color"])
    label_lines(axes, ends, room=0.7)


def plot_methods(rivals: dict[str, Any]) -> Figure:
    """How far each method's choice is from the best, against its cost, one panel for each dataset."""
    figure = new_figure(10, 13.5)
    looks = {name: style(number) for number, name in enumerate(rivals["cifar10"]["methods"])}
    looks |= {name: look | {"color": OURS, "linewidth": 2.2} for name, look in looks.items() if "metad2a" in name}
    for axes, (dataset, found) in zip(figure.subplots(3, 2).flat, rivals.items(), strict=True):
        plot_gaps(axes, found, looks)
        unit = "epochs" if found["methods"]["random"]["cost"]["epochs"] else "networks"
        axes.set(title=NAMES[dataset], xlabel=f"{unit} (left edge: none)", ylabel="points below the best")
    return figure


def plot_leads(axes: Axes, found: dict[str, Any]) -> None:
    """The lead of depth 2 over depth 3 after short and long training."""
    leads = depth_leads(found)
    looks = {"short": ("o-", OURS, "after 12 epochs"), "long": ("s--", COLOURS[0], "after 200 epochs")}
    for key, (look, color, label) in looks.items():
        values = [two[key] - three[key] for two, three in leads.values()]
        axes.plot(list(leads), values, look, color=color)
        name_point(axes, label, max(leads), values[-1] + 0.2, left=True, above=True, color=color)
    axes.axhline(0, color="grey", linewidth=0.7)
    axes.set(xticks=list(leads), xlabel="convolutions in the cell", ylabel="lead of depth 2 over depth 3 (points)")
    axes.set_title("CIFAR-10: shallow cells learn faster")


def plot_shapes(axes: Axes, found: dict[str, Any]) -> None:
    """Width and depth of the cells that each method chose. Methods at one point share a label."""
    points: dict[tuple[float, float], list[str]] = {}
    for name, shape in found["preferences"]["methods"].items():
        points.setdefault((round(shape["width"], 2), round(shape["depth"], 2)), []).append(short_title(found, name))
    for (width, depth), names in points.items():
        axes.plot(width, depth, "o", color="black", markersize=4)
        name_point(axes, "\n".join(names), width, depth, left=width < 1.75, above=depth >= 3)
    for name, shape in found["preferences"]["space"].items():
        axes.plot(shape["width"], shape["depth"], "s", color=OURS)
        name_point(axes, CELLS[name], shape["width"], shape["depth"], left=name.startswith("best"), color=OURS)
    axes.set(
        xlabel="width", ylabel="depth", title="CIFAR-10: mean of the chosen cells", xlim=(1.56, 2), ylim=(2.4, 3.25)
    )


def name_point(
    axes: Axes, text: str, x: float, y: float, left: bool = False, above: bool = False, color: str = "black"
) -> None:
    """Write text beside a point."""
    place = (-6 if left else 6, 4 if above else 0)
    ha, va = "right" if left else "left", "bottom" if above else "center"
    axes.annotate(text, (x, y), place, textcoords="offset points", ha=ha, va=va, color=color, fontsize=8)


def plot_preferences(rivals: dict[str, Any]) -> Figure:
    figure = new_figure(11, 5)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    plot_leads(left, rivals["cifar10"])
    plot_shapes(right, rivals["cifar10"])
    return figure


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    return {"rivals": plot_methods(results["rivals"]), "preferences": plot_preferences(results["rivals"])}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS / "rivals.json")
    parser.set_defaults(gpu="cpu")
    add = parser.add_argument
    add("--datasets", default=",".join(DATASETS))
    add("--methods", default=ALL)
    add("--num-seeds", type=positive_int, default=10)
    add("--num-workers", type=positive_int, help="searches that run at the same time (default: one for each core)")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
