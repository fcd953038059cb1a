"""Make the file of `metad2a.rankings.kinds`: the values of all functions on known tasks, without noise.

The tasks are those of the shipped tables (`metad2a.spaces.nasbench201.tasks`), and the robustness of the networks of
CIFAR-10 and CIFAR-100 against four families of corruptions (Jung et al., ICLR 2023). A Gaussian process of paths,
operations and training-free scores takes the noise of tasks away. On the tasks of TransNAS-Bench-101, it also predicts
the functions with pooling. Each task is fitted without the others. Robustness is a mean of many measurements, and is
taken as it is.

Make it with: python -m metad2a.rankings.fit_kinds ROBUSTNESS TARGET, where the folder ROBUSTNESS has
accuracy_6466.csv.gz (architecture, dataset|corruption|severity, ...) and representative.csv.gz (architecture,
representative).
"""

import argparse
import csv
import gzip
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from metad2a import spaces
from metad2a.core.arrays import save_arrays
from metad2a.core.cli import write_command
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.rankings.kinds import DATASETS, FAMILIES, FORMAT, ROBUSTNESS
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201.classes import NUM_CLASSES
from metad2a.spaces.nasbench201.tasks import TASKS, values

SOURCE = "the shipped tables of tasks; robustness: Jung et al., ICLR 2023, as republished in RuiZhong961230/LLMO"
FITTED, STEPS, SEED = 450, 25, 0  # functions and optimizer steps for the hyperparameters
START = np.log([0.1, 0.3, 0.3, 0.05])  # variances of scores, paths, operations and noise
SPREAD, OFFSET = 1.5, 10.0
BEST, QUARTER = 0.999, 0.75  # quantiles at the top and at the width of the scale


def functions(columns: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Values (15625,) to the mean of each function (K,) over the cells with a value, NaN without any."""
    known = np.isfinite(columns)
    sums = np.bincount(classes[known], columns[known], NUM_CLASSES)
    count = np.bincount(classes[known], minlength=NUM_CLASSES)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def robustness(folder: Path, space: SearchSpace) -> dict[str, np.ndarray]:
    """Mean accuracy (15625,) of each dataset under each family of corruptions, over all severities. Raises a UserError
    if a file cannot be read or lacks an architecture."""
    try:
        with gzip.open(folder / "accuracy_6466.csv.gz", "rt", encoding="utf-8", newline="") as file:
            (_, *names), *rows = csv.reader(file)
        known = {row[0].strip(): np.array(row[1:], dtype=float) for row in rows}
        with gzip.open(folder / "representative.csv.gz", "rt", encoding="utf-8", newline="") as file:
            equal = {row[0].strip(): row[1].strip() for row in csv.reader(file)}
        accuracy = np.stack([known[equal[arch]] for arch in space.all_architectures()])
        return {
            f"{ROBUSTNESS} {dataset} {family}": accuracy[:, columns_of(names, dataset, kinds)].mean(1)
            for dataset in DATASETS
            for family, kinds in FAMILIES.items()
        }
    except (OSError, EOFError, csv.Error, KeyError, ValueError, IndexError) as error:
        files = "accuracy_6466.csv.gz and representative.csv.gz"
        raise UserError(f"{folder} cannot be read ({error!r}): it needs {files} of all architectures.") from error


def columns_of(names: Sequence[str], dataset: str, corruptions: Sequence[str]) -> list[int]:
    """Numbers of the columns of a dataset's corruptions. Raises a ValueError if there are none."""
    found = [i for i, name in enumerate(names) if name.split("|")[0] == dataset and name.split("|")[1] in corruptions]
    if not found:
        raise ValueError(f"there is no column of {dataset} under {corruptions[0]}")
    return found


def scaled(known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values (K,) on a scale that compresses the shortfalls of bad functions, with mean 0 and standard deviation 1 over
    some `rows`."""
    top, quarter = np.quantile(known[rows], [BEST, QUARTER])
    values = -np.log1p(np.maximum(top - known, 0) / (top - quarter))
    return (values - values[rows].mean()) / values[rows].std()


class Smoother:
    """Takes the noise out of a task's values."""

    def __init__(self, features: dict[str, np.ndarray]):
        self.features = {name: x / ((x.std(0) + 0.3) * np.sqrt(x.shape[1])) for name, x in features.items()}

    def kernels(self, here: np.ndarray, there: np.ndarray) -> Iterator[np.ndarray]:
        """The kernel (P, Q) of each of the three terms, for functions `here` (P,) and `there` (Q,)."""
        a, b = ({name: x[rows] for name, x in self.features.items()} for rows in (here, there))
        yield 4 * a["scores"] @ b["scores"].T
        yield matern(a["paths"], b["paths"]) * matern(a["scores"], b["scores"])
        yield matern(a["operations"], b["operations"])

    def hyperparameters(self, rows: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The most probable variances of the terms and the noise, (4,), for some rows with targets (n,)."""
        kernels = np.stack(list(self.kernels(rows, rows)))

        def loss(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
            variances = np.exp(logarithms)
            covariance = np.tensordot(variances[:3], kernels, 1) + OFFSET
            covariance[np.diag_indices(len(rows))] += variances[3]
            factor = np.linalg.cholesky(covariance)
            inverse = np.linalg.inv(factor)
            inverse = inverse.T @ inverse
            weights = inverse @ target
            outer, deviation = inverse - np.outer(weights, weights), (logarithms - START) / SPREAD
            gradient = 0.5 * variances * [*np.tensordot(kernels, outer, ((1, 2), (0, 1))), np.trace(outer)]
            value = 0.5 * target @ weights + np.log(factor.diagonal()).sum() + 0.5 * deviation @ deviation
            return float(value), gradient + deviation / SPREAD

        return np.exp(minimize(loss, START, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x)

    def __call__(self, column: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Smoothed values (K,) of all functions from those of some `rows` of a column (K,)."""
        target = column[rows]
        chosen = np.random.default_rng(SEED).choice(len(rows), min(FITTED, len(rows)), replace=False)
        *variances, noise = self.hyperparameters(rows[chosen], target[chosen])
        cross = OFFSET + sum(v * k for v, k in zip(variances, self.kernels(np.arange(len(column)), rows), strict=True))
        covariance = cross[rows]
        covariance[np.diag_indices(len(rows))] += noise
        return cross @ cho_solve(cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False), target)


def matern(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Matern 3/2 kernel (P, Q) of scaled features (P, F) and (Q, F)."""
    distance = -2 * features @ others.T
    distance += np.square(features).sum(1)[:, None] + np.square(others).sum(1)
    distance = np.sqrt(3 * np.maximum(distance, 0, out=distance) + 1e-10)
    return (1 + distance) * np.exp(-distance)


def write_kinds(args: argparse.Namespace) -> str:
    """Smooth all columns, and write them in half precision."""
    space = spaces.get("nasbench201")
    classes, archs = np.asarray(space.classes_of_equals()), space.all_architectures()
    learning = np.array([space.can_learn(archs[number]) for number in space.cheapest_members()])
    smoother = Smoother({name: np.asarray(x, dtype=float) for name, x in space.features().items()})
    found = robustness(Path(args.robustness), space) | {task: np.asarray(values(task)) for task in TASKS}
    columns = {}
    for name, known in found.items():
        means = functions(known, classes)
        rows = np.flatnonzero(np.isfinite(means) & learning)
        column = scaled(means, rows)
        columns[name] = (smoother(column, rows) if name in TASKS else column).astype(np.float16)
        log.info(f"{name}: values from {columns[name].min():.2f} to {columns[name].max():.2f}")
    save_arrays(args.target, {"format": FORMAT, "source": SOURCE, **columns})
    return f"{len(columns)} columns"


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(write_kinds, __doc__, argv, robustness={"help": "folder of the files of robustness"})


if __name__ == "__main__":
    sys.exit(main())
