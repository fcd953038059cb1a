"""What does the number of images and the length of training say about a cell? python benchmarks/length.py

The shipped trainings (metad2a/assets/nasbench201/trainings.csv) used several folders. Each folder is left out in
turn: methods learn from the trainings on all others, and order the cells of each of its tasks. All trainings of a task
take equally long.

Writes benchmarks/results/length.json.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.length_sets import with_predictor, with_sets
from benchmarks.pages import OURS, RESULTS, mean_and_interval, new_figure, style, table
from benchmarks.script import benchmark_parser, keep_result
from metad2a.core.cli import run
from metad2a.core.statistics import interval
from metad2a.rankings.fit_length import Process, Trainings, known_cells, read_trainings
from metad2a.rankings.length import TRAININGS

Method = Callable[[Trainings, Trainings], np.ndarray]
SMALL = 60.0  # MFLOPs
RIDGE = 3.0
LEAST = 6  # trainings of a task that can be judged
FILES = {"length": "python benchmarks/length.py", "length_choices": "python benchmarks/length_choices.py images"}
TITLES = {
    "process": "**the ranking by length**",
    "universal": "universal ranking",
    "small": "universal ranking, at most 60 MFLOPs",
    "short": "accuracies after 12 epochs of the benchmark",
    "cheapest": "cheapest first",
    "ridge": "regression on cost and depth by length",
    "unlimited": "the ranking by length, told no lengths",
    "sets": "the ranking by length, with the set vector",
    "predictor": "MetaD2A's predictor with steps, images and side",
}


def process(known: Trainings, wanted: Trainings) -> np.ndarray:
    return Process(known_cells(), known).fit().predict(wanted.cell, wanted.length)[0]


def unlimited(known: Trainings, wanted: Trainings) -> np.ndarray:
    """The process told that all trainings are equally long."""
    middle = float(np.mean(known.length))
    same = Trainings(known.cell, np.full(len(known), middle), known.accuracy, known.task, known.rows)
    return Process(known_cells(), same).fit().predict(wanted.cell, np.full(len(wanted), middle))[0]


def ridge(known: Trainings, wanted: Trainings) -> np.ndarray:
    """A regression on cost and depth, each also times the length."""

    def columns(trainings: Trainings) -> np.ndarray:
        shape = known_cells().features[trainings.cell][:, [0, 1]]
        length = (trainings.length - 4)[:, None]
        return centred(np.hstack([shape, shape * length, length]), trainings.task)

    x, y = columns(known), centred(known.accuracy[:, None], known.task)[:, 0]
    return columns(wanted) @ np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)


def centred(values: np.ndarray, task: np.ndarray) -> np.ndarray:
    """Values (n, F) less the means of their tasks (n,)."""
    values = values.astype(float)
    for number in np.unique(task):
        values[task == number] -= values[task == number].mean(0)
    return values


METHODS: dict[str, Method] = {
    "process": process,
    "universal": lambda _, wanted: known_cells().whole[wanted.cell],
    "small": lambda _, wanted: np.where(
        known_cells().flops[wanted.cell] <= SMALL, known_cells().whole[wanted.cell], -np.inf
    ),
    "short": lambda _, wanted: known_cells().short[wanted.cell],
    "cheapest": lambda _, wanted: -known_cells().flops[wanted.cell],
    "ridge": ridge,
    "unlimited": unlimited,
    "sets": with_sets,
    "predictor": with_predictor,
}


def left_out(trainings: Trainings, method: Method) -> np.ndarray:
    """Scores (n,) of all trainings, each by a method that has learned from the other folders only."""
    folders = np.array([row["folder"] for row in trainings.rows])
    scores = np.zeros(len(trainings))
    for folder in np.unique(folders):
        scores[folders == folder] = method(trainings[folders != folder], trainings[folders == folder])
    return scores


def judged(trainings: Trainings, scores: np.ndarray) -> list[dict[str, Any]]:
    """For each whole task: rank correlation, and accuracies (%) of the first choice, the best and the average cell."""
    found = []
    for number in np.unique(trainings.task):
        rows = trainings.task == number
        if rows.sum() < LEAST:
            continue
        accuracy, score = trainings.accuracy[rows], scores[rows]
        about = next(row for row, use in zip(trainings.rows, rows, strict=True) if use)
        ranks = np.where(np.isfinite(score), score, -1e9)
        found.append(
            {
                "folder": about["folder"], "task": int(about["task"]), "seconds": int(about["length"]),
                "images": int(about["images"]), "side": int(about["side"]),
                "spearman": float(np.nan_to_num(stats.spearmanr(ranks, accuracy).statistic)),
                "choice": float(accuracy[score == score.max()].mean()),
                "first_seed": float(accuracy[score.argmax()]),  # argmax takes the first of a cell's trainings
                "best": float(accuracy.max()), "average": float(accuracy.mean()),
            }
        )  # fmt: skip
    return found


def noise(trainings: Trainings) -> float:
    """Standard deviation (points) of a training's accuracy between seeds, from cells that a task has twice."""
    pairs: dict[tuple[int, int], list[float]] = {}
    for task, cell, accuracy in zip(trainings.task, trainings.cell, trainings.accuracy, strict=True):
        pairs.setdefault((int(task), int(cell)), []).append(float(accuracy))
    repeated = [values for values in pairs.values() if len(values) == 2]
    return float(np.sqrt(np.mean([(a - b) ** 2 / 2 for a, b in repeated])))


def measure(args: argparse.Namespace) -> None:
    trainings = read_trainings(args.trainings)
    tasks = {name: judged(trainings, left_out(trainings, method)) for name, method in METHODS.items()}
    learned = Process(known_cells(), trainings).fit().values()
    result = {"tasks": tasks, "trainings": len(trainings), "noise": noise(trainings), "hyperparameters": learned}
    keep_result(args.output, result, args)


def lengths_of(tasks: list[dict[str, Any]]) -> list[int]:
    return sorted({task["seconds"] for task in tasks})


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Rank correlation and first choice of each method, by length of training."""
    found = results["length"]["tasks"]
    lengths = lengths_of(found["process"])
    rows = []
    for name, title in TITLES.items():
        row = [title]
        for seconds in lengths:
            some = [task for task in found[name] if task["seconds"] == seconds]
            row.append(mean_and_interval(*interval([task["spearman"] for task in some])))
            row.append(mean_and_interval(*interval([task["choice"] for task in some]), digits=1))
        rows.append(row)
    for title, key in (("average cell of a task", "average"), ("best cell of a task", "best")):
        row = [title]
        for seconds in lengths:
            some = [task[key] for task in found["process"] if task["seconds"] == seconds]
            row += ["", mean_and_interval(*interval(some), digits=1)]
        rows.append(row)
    head = [f"{what}, {seconds} s" for seconds in lengths for what in ("correlation", "first choice")]
    choices = of_all_cells(found, results["length_choices"]["choices"])
    return {"length": table(["", *head], rows), "length-gain": gains(found), "length-choices": choices}


def of_all_cells(found: dict[str, list[dict[str, Any]]], choices: list[dict[str, Any]]) -> str:
    """Accuracies (%) of the first choices of all cells, trained with the same seed in the same tasks."""
    ours, lengths, others = accuracies(choices), lengths_of(found["universal"]), ("universal", "small")

    def row(title: str, name: str, value: Callable[[dict[str, Any]], float]) -> list[str]:
        at = [[value(task) for task in found[name] if task["seconds"] == seconds] for seconds in lengths]
        return [title, *(mean_and_interval(*interval(values), digits=1) for values in at)]

    def our(task: dict[str, Any]) -> float:
        return ours[task["folder"], task["task"]]

    rows = [row(TITLES["process"], "universal", our)]
    rows += [row(TITLES[name], name, lambda task: task["first_seed"]) for name in others]
    rows += [
        row(f"ours above the {TITLES[name]}", name, lambda task: our(task) - task["first_seed"]) for name in others
    ]
    return table(["first choice of all cells", *(f"{seconds} s" for seconds in lengths)], rows)


def accuracies(choices: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Accuracies (%) of the first choices of all cells, by folder and task."""
    return {(choice["folder"], choice["task"]): choice["accuracy"] for choice in choices}


def gains(found: dict[str, list[dict[str, Any]]]) -> str:
    """Points by which our first choice is above another method's in the same task, with 95 % intervals over tasks."""
    ours, rows = found["process"], []
    for name in ("universal", "small", "ridge", "sets", "predictor"):
        row = [TITLES[name]]
        for seconds in lengths_of(ours):
            pairs = [(a, b) for a, b in zip(ours, found[name], strict=True) if a["seconds"] == seconds]
            row.append(mean_and_interval(*interval([a["choice"] - b["choice"] for a, b in pairs]), digits=1))
        rows.append(row)
    return table(["our first choice is above", *(f"{seconds} s" for seconds in lengths_of(ours))], rows)


def plots(results: dict[str, Any]) -> dict[str, Figure]:
    """Against the length of training: accuracies of the first choices of all cells in each folder, and points by which
    first choices among a task's cells are above the universal ranking's."""
    found = results["length"]["tasks"]
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    draw_folders(left, found["universal"], results["length_choices"]["choices"])
    right.set(xlabel="nominal seconds of training", ylabel="points above the universal first choice")
    right.axhline(0, color="#999999", linewidth=1)
    lengths = lengths_of(found["process"])
    for number, name in enumerate(("process", "small", "sets", "predictor")):
        rows = [gain(found, name, seconds) for seconds in lengths]
        look = style(number) | ({"color": OURS} if name == "process" else {})
        places = [place + 0.08 * (number - 1.5) for place in range(len(lengths))]
        right.errorbar(places, *zip(*rows, strict=True), **look | {"linestyle": "none"}, capsize=3, label=plain(name))
    right.set_xticks(range(len(lengths)), [str(seconds) for seconds in lengths])
    right.legend(loc="lower left", fontsize=8)
    return {"length": figure}


def draw_folders(axes: Axes, universal: list[dict[str, Any]], choices: list[dict[str, Any]]) -> None:
    """Mean accuracy of the first choices over the tasks of each folder: ours with a full line, the universal ranking's
    with a dotted one."""
    ours = accuracies(choices)
    axes.set(xlabel="nominal seconds of training", ylabel="accuracy of the first choice of all cells (%)", xscale="log")
    for number, folder in enumerate(dict.fromkeys(task["folder"] for task in universal)):
        mine = [task for task in universal if task["folder"] == folder]
        lengths, colour = lengths_of(mine), style(number)["color"]
        at = [[task for task in mine if task["seconds"] == seconds] for seconds in lengths]
        first = [np.mean([ours[folder, task["task"]] for task in tasks]) for tasks in at]
        axes.plot(lengths, first, color=colour, marker="o", markersize=4, label=folder)
        theirs = [np.mean([task["first_seed"] for task in tasks]) for tasks in at]
        axes.plot(lengths, theirs, ":", color=colour, marker="x", markersize=4)
    axes.set_xticks(lengths_of(universal), [str(seconds) for seconds in lengths_of(universal)], minor=False)
    axes.minorticks_off()
    axes.legend(fontsize=8)


def gain(found: dict[str, list[dict[str, Any]]], name: str, seconds: int) -> tuple[float, float]:
    """Points by which a method's first choice is above the universal ranking's in the same task, with its interval."""
    pairs = zip(found[name], found["universal"], strict=True)
    return interval([ours["choice"] - other["choice"] for ours, other in pairs if ours["seconds"] == seconds])


def plain(name: str) -> str:
    return TITLES[name].strip("*")


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, RESULTS / "length.json")
    parser.add_argument("--trainings", type=Path, default=TRAININGS, help="another file of trainings")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
