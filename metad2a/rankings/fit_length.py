"""Fit the ranking of NAS-Bench-201's cells for a length of training: a Gaussian process.

The accuracy of cell c after a training of task t that looks at n images (l = log10 n) is

    offset_t + growth(l) + a q(c) + sum_j w_j(l) f_j(c) + g(c, l) + noise + sampling.

q is the mean of three scores: the benchmark's accuracies after 12 epochs on three datasets, the universal ranking, and
what a regression on the cell learned from the authors' tuples, accuracies of short trainings. f_j are the cell's cost
and shape, and g has a Matern kernel on its operations. w_j and g are random walks in l that begin with 0 at the tables'
length, so that a longer training comes closer to what the tables say. The variance of the sampling follows from the
accuracy and the number of held-out images; the noise has one variance for all. Between 12 and 200 epochs of 50,000
images the order turns into the universal ranking's.

Fit with: python -m metad2a.rankings.fit_length TRAININGS TARGET

Dimensions: n trainings, K cells (4,930), J features, G lengths of the grid.
"""

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import linalg, optimize, stats
from sklearn.linear_model import Ridge

from metad2a.core.arrays import save_arrays
from metad2a.core.cli import write_command
from metad2a.core.environment import provenance
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, display_path, load_torch
from metad2a.core.messages import counted
from metad2a.core.statistics import sampling_variance
from metad2a.rankings import universal
from metad2a.rankings.fit_kinds import matern
from metad2a.rankings.length import FORMAT, GRID, TRAININGS, WHOLE
from metad2a.spaces.nasbench201 import cells as benchmark
from metad2a.spaces.nasbench201.cell_features import PATHS, cell_shape
from metad2a.spaces.nasbench201.classes import class_means, equivalence_classes
from metad2a.spaces.nasbench201.space import NASBench201

SHORT = 5.8  # log10 of the images in 12 epochs of the tables: 25,000, 50,000 and 151,700, on average
DATASETS = ("cifar10", "cifar100", "imagenet16-120")
TUPLES = ASSETS / "meta_train" / "meta_train_tasks_predictor.pt"
RIDGE, LOWEST = 10.0, 0.02
OFFSET = 1000.0  # variance (points^2) of a task's offset, which may be anything
# Mean and standard deviation of the prior of each hyperparameter's logarithm. All are points.
PRIORS = {
    "quality": (math.log(3), 1.0),  # a: what a standard deviation of q is worth
    "features": (math.log(3), 1.0),  # of the weights w, a decade of lengths from the tables
    "cells": (math.log(2), 1.0),  # of g, likewise
    "growth": (math.log(10), 0.7),  # of growth, for a decade
    "noise": (math.log(4), 0.7),
}


@dataclass(frozen=True)
class Cells:
    """What is known of each class of equal cells."""

    number: dict[str, int]  # the class of each architecture's text
    learns: np.ndarray  # (K,) bool: whether it has a layer that learns
    flops: np.ndarray  # (K,) millions of multiply-accumulates of its cheapest member
    short: np.ndarray  # (K,) the tables' accuracies after 12 epochs, in standard deviations
    whole: np.ndarray  # (K,) the universal ranking, in standard deviations
    tuples: np.ndarray  # (K,) what the authors' tuples say (MetaD2A, section 4.1), in standard deviations
    quality: np.ndarray  # (K,) q, the mean of the three, in standard deviations
    features: np.ndarray  # (K, J) cost and shape, in standard deviations
    operations: np.ndarray  # (K, 30) 0 or 1


def ways(operations: Sequence[int]) -> list[float]:
    """Of the ways from a cell's input to its output: the most, the fewest and the mean number of convolutions, and
    whether a way has only skip connections (1) or not (0). All are 0 without a way."""
    chains = [[operations[edge] for edge in path] for path in PATHS]
    chains = [chain for chain in chains if benchmark.NONE not in chain]
    counts = [sum(benchmark.OPERATIONS[op].startswith("nor_conv") for op in chain) for chain in chains]
    residual = any(set(chain) == {benchmark.SKIP} for chain in chains)
    return [max(counts, default=0), min(counts, default=0), sum(counts) / max(1, len(counts)), float(residual)]


def standardized(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Values (K, ...) with mean 0 and standard deviation 1 among the cells (K,) bool."""
    return (values - values[among].mean(0)) / values[among].std(0)


def normal_ranks(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks of values (K,)."""
    return stats.norm.ppf((stats.rankdata(values) - 0.5) / len(values))


def regression(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Predictions (K,) of a ridge regression on features (K, J) that learned y (n,) of the cells with numbers (n,).
    The lowest fiftieth of y, trainings that learned nothing, counts as equal."""
    return Ridge(RIDGE).fit(x[rows], np.maximum(y, np.quantile(y, LOWEST))).predict(x)


@cache
def known_cells() -> Cells:
    """The shipped tables' figures of all cells."""
    space = NASBench201()
    archs, classes, cheapest = space.architectures, equivalence_classes(), space.cheapest_members()
    rows = [benchmark.all_cells()[number] for number in cheapest]
    learns, flops = space.all_can_learn()[cheapest], space.costs_of_all(10)["flops"][cheapest]
    live = np.array([benchmark.live_operations(row) for row in rows])  # (K, 6)
    one_hot = np.eye(len(benchmark.OPERATIONS))[live]  # (K, 6, 5)
    shapes = np.array([[*cell_shape(row), *ways(row)] for row in live.tolist()])
    counts = one_hot.sum(1)[:, 1:]  # of each operation but `none`
    tables = [class_means(space.table["valid_12"][name].astype(np.float64)) for name in DATASETS]
    short = np.mean([normal_ranks(table) for table in tables], axis=0)
    whole = normal_ranks(universal.load().of_classes()[0])
    short, whole = standardized(short, learns), standardized(whole, learns)
    number, operations = dict(zip(archs, classes.tolist(), strict=True)), one_hot.reshape(len(live), -1)
    features = standardized(np.column_stack([np.log(flops), shapes, counts]), learns)
    known = load_torch(TUPLES, "It belongs to the package.")
    shown = np.array([number[text] for text in known["str"]])
    tuples = regression(np.column_stack([features, operations, short]), known["acc"].numpy(), shown)
    tuples = standardized(tuples, learns)
    quality = standardized(short + whole + tuples, learns)
    return Cells(number, learns, flops, short, whole, tuples, quality, features, operations)


@dataclass(frozen=True)
class Trainings:
    """Real trainings: their cells, tasks and results."""

    cell: np.ndarray  # (n,) numbers of classes of equal cells
    length: np.ndarray  # (n,) log10 of the images that a training looks at
    accuracy: np.ndarray  # (n,) %
    task: np.ndarray  # (n,) numbers of tasks
    rows: list[dict[str, str]]  # the lines of the file

    def __len__(self) -> int:
        return len(self.cell)

    def __getitem__(self, some: np.ndarray) -> "Trainings":
        rows = [row for row, use in zip(self.rows, some.tolist(), strict=True) if use]
        return Trainings(self.cell[some], self.length[some], self.accuracy[some], self.task[some], rows)


def read_trainings(path: str | Path = TRAININGS) -> Trainings:
    """The trainings of a file of `build-database --model ranking --collect`. Raises a UserError if it is damaged."""
    number = known_cells().number
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        cells = np.array([number[row["architecture"]] for row in rows])
        lengths = np.log10([int(row["steps"]) * int(row["batch"]) for row in rows])
        accuracy = np.array([float(row["accuracy"]) for row in rows])
        if not ((accuracy >= 0) & (accuracy <= 100)).all() or min(int(row["held_out"]) for row in rows) < 1:
            raise ValueError("an accuracy is no percentage of held-out images")
        names = [(row["folder"], row["task"]) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        hint = "Make it with: python main.py build-database --model ranking --collect"
        raise UserError(f"{path} is no file of trainings ({type(error).__name__}: {error}). {hint}") from error
    tasks = list(dict.fromkeys(names))
    return Trainings(cells, lengths, accuracy, np.array([tasks.index(name) for name in names]), rows)


class Process:
    """The Gaussian process, conditioned on trainings."""

    def __init__(self, cells: Cells, trainings: Trainings):
        self.cells, self.trainings = cells, trainings
        self.away = trainings.accuracy - trainings.accuracy.mean()
        held_out = np.array([int(row["held_out"]) for row in trainings.rows])
        self.sampling = sampling_variance(trainings.accuracy, held_out)
        self.same_task = (trainings.task[:, None] == trainings.task).astype(float)
        here = (trainings.cell, trainings.length)
        self.parts = self._parts(here, here)
        self.logarithms = np.array([mean for mean, _ in PRIORS.values()])

    def _parts(self, here: tuple[np.ndarray, ...], there: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """The kernel of each term (P, Q) with variance 1, for cells and lengths `here` and `there`."""
        (a, la), (b, lb) = here, there
        walk = np.minimum(np.maximum(SHORT - la, 0)[:, None], np.maximum(SHORT - lb, 0))
        shape, ops = self.cells.features, self.cells.operations / math.sqrt(6)
        return {
            "quality": np.outer(self.cells.quality[a], self.cells.quality[b]),
            "features": walk * (shape[a] @ shape[b].T) / shape.shape[1],
            "cells": walk * matern(ops[a], ops[b]),
            "growth": np.outer(la - SHORT, lb - SHORT),
        }

    def values(self) -> dict[str, float]:
        """The hyperparameters, in points."""
        return dict(zip(PRIORS, np.exp(self.logarithms).tolist(), strict=True))

    def _covariance(self, logarithms: np.ndarray) -> np.ndarray:
        h = dict(zip(PRIORS, np.exp(2 * logarithms), strict=True))
        signal = sum(h[name] * part for name, part in self.parts.items())
        return signal + OFFSET * self.same_task + np.diag(self.sampling + h["noise"])

    def fit(self) -> "Process":
        """Learn the hyperparameters: the maximum of the marginal likelihood times their priors."""
        centre, spread = np.array(list(PRIORS.values())).T

        def loss(logarithms: np.ndarray) -> float:
            factor = linalg.cholesky(self._covariance(logarithms), lower=True)
            white = linalg.solve_triangular(factor, self.away, lower=True)
            prior = (((logarithms - centre) / spread) ** 2).sum()
            return float(0.5 * white @ white + np.log(factor.diagonal()).sum() + 0.5 * prior)

        self.logarithms = optimize.minimize(loss, self.logarithms, method="L-BFGS-B").x
        return self.condition()

    def condition(self) -> "Process":
        """Learn from the trainings with the present hyperparameters."""
        self.factor = linalg.cho_factor(self._covariance(self.logarithms), lower=True)
        self.weights = linalg.cho_solve(self.factor, self.away)
        return self

    def predict(self, cells: np.ndarray, lengths: np.ndarray, growth: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (Q,) of accuracies without offset and noise, in points, of cells after trainings
        of these lengths. Without `growth` only what tells cells of one length apart."""
        here = (self.trainings.cell, self.trainings.length)
        h = dict(zip(PRIORS, np.exp(2 * self.logarithms), strict=True))
        names = [name for name in self.parts if growth or name != "growth"]
        cross = self._parts(here, (cells, lengths))
        signal = sum(h[name] * cross[name] for name in names)
        mean = signal.T @ self.weights
        left = np.maximum(SHORT - lengths, 0)
        shape = (self.cells.features[cells] ** 2).mean(1)
        own = h["quality"] * self.cells.quality[cells] ** 2 + left * (h["features"] * shape + h["cells"])
        own = own + (h["growth"] * (lengths - SHORT) ** 2 if growth else 0)
        explained = (signal * linalg.cho_solve(self.factor, signal)).sum(0)
        return mean, np.sqrt(np.maximum(own - explained, 1e-6))


def on_grid(process: Process) -> dict[str, np.ndarray]:
    """What `metad2a.rankings.length.LengthRanking` holds."""
    cells = process.cells
    every = np.arange(len(cells.flops))
    points = process.values()["quality"]
    means, deviations = [], []
    for length in GRID:
        mean, deviation = process.predict(every, np.full(len(every), min(length, SHORT)), growth=False)
        share = np.clip((length - SHORT) / (WHOLE - SHORT), 0, 1)  # of the universal ranking
        mean = (1 - share) * mean + share * points * cells.whole
        means.append(mean - mean[cells.learns].mean())
        deviations.append(deviation)
    one = np.zeros(len(GRID), dtype=int)
    growth = _growth(process, one)
    return {"mean": np.array(means), "deviation": np.array(deviations), "growth": growth - growth[0]}


def _growth(process: Process, one: np.ndarray) -> np.ndarray:
    with_growth = process.predict(one, GRID)[0]
    return with_growth - process.predict(one, GRID, growth=False)[0]


def write_ranking(args: argparse.Namespace) -> str:
    """Fit to all trainings and write the ranking to the target."""
    trainings = read_trainings(args.trainings)
    process = Process(known_cells(), trainings).fit()
    arrays = {name: array.astype(np.float32) for name, array in on_grid(process).items()}  # float16 makes ties
    arrays["deviation"] = arrays["deviation"].astype(np.float16)
    about = {"hyperparameters": process.values(), "history": provenance(0, trainings=display_path(args.trainings))}
    save_arrays(args.target, {"format": FORMAT, **arrays, **about})
    return counted(len(trainings), "training")


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(
        write_ranking, __doc__, argv, trainings={"help": "CSV file of `build-database --model ranking --collect`"}
    )


if __name__ == "__main__":
    sys.exit(main())
