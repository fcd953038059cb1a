"""A ranking of NAS-Bench-201 for photographs of any kind, with its uncertainty: a Gaussian process over cells.

The meta-training database holds hardly any interaction of architecture and dataset (benchmarks/dataset_effect.py), so
the best guess for a new dataset is what is best on a known one, once its noise is taken out. The process learns the
accuracies on ImageNet16-120 after 200 epochs. Its kernel is the product of a Matern 3/2 kernel on a cell's paths from
input to output and on four training-free scores (published, and without any accuracy), plus one on its operations.
Cells that compute the same function are one cell. Nothing is learned from CIFAR, NinaPro or Darcy.

Train with: python -m meta_train.universal TARGET

Dimensions: K cells (4,930), P of them that are learned from, F features, R seeds, A architectures (15,625).
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from scipy import stats
from torch import nn
from typing_extensions import TypedDict

from engine.cli import run
from engine.files import ASSETS, display_path, load_torch, save_torch
from engine.messages import log
from engine.runs import provenance
from engine.schema import FLOATS, TensorOf, check
from meta_train.checkpoints import check_target, target_parser
from predictor.gaussian_process import calibration, learn, matern, negative_log_likelihood
from predictor.universal import FORMAT, SEEDS
from search_spaces.nasbench201.cells import CELL_EDGES, OPERATIONS, parse
from search_spaces.nasbench201.classes import (
    NONE,
    NUM_CLASSES,
    SKIP,
    class_means,
    equivalence_classes,
    first_members,
    noise,
    parts_of_cells,
)
from search_spaces.nasbench201.space import NASBench201

SCORES = ASSETS / "nasbench201" / "training_free.pt"
SCORES_FORMAT = "metad2a-training-free-1"
BENCHMARK = "imagenet16-120"
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # the edges of each way from a cell's input to its output
NUM_STEPS, STEP_CELLS = 40, 1000  # of the hyperparameters' descent, and cells that a step looks at


class _Scores(TypedDict):
    scores: Annotated[torch.Tensor, TensorOf(FLOATS, (NUM_CLASSES, "F"))]


class NormalScale:
    """Accuracies (%) of a table to normal quantiles and back: among good cells small differences count, too."""

    def __init__(self, table: torch.Tensor):
        self.accuracy, _ = table.double().sort()  # (A,)
        self.quantile = torch.from_numpy(stats.norm.ppf((np.arange(len(table)) + 0.5) / len(table)))

    def __call__(self, accuracy: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.interp(accuracy.numpy(), self.accuracy.numpy(), self.quantile.numpy()))

    def back(self, quantile: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.interp(quantile.numpy(), self.quantile.numpy(), self.accuracy.numpy()))

    def slope(self, accuracy: torch.Tensor, width: float) -> torch.Tensor:
        """Quantiles to a point of accuracy, over +- `width` points."""
        return (self(accuracy + width) - self(accuracy - width)) / (2 * width)


def live_operations(operations: list[int]) -> list[int]:
    """The operations of a cell, `none` where the input does not reach an edge or the edge not the output."""
    reached, used = {0}, {3}
    for (node, source), operation in zip(CELL_EDGES, operations, strict=True):
        if operation != NONE and source in reached:
            reached.add(node)
    for (node, source), operation in reversed(list(zip(CELL_EDGES, operations, strict=True))):
        if operation != NONE and node in used:
            used.add(source)
    return [
        operation if source in reached and node in used else NONE
        for (node, source), operation in zip(CELL_EDGES, operations, strict=True)
    ]


def path_counts(operations: list[int]) -> list[int]:
    """How many paths from input to output have each of the 40 sequences of operations, skips left out."""
    chains = [tuple(operations[edge] for edge in path) for path in PATHS]
    kept = [tuple(op for op in chain if op != SKIP) for chain in chains if NONE not in chain]
    others = [op for op in range(len(OPERATIONS)) if op not in (NONE, SKIP)]
    return [kept.count(sequence) for length in range(4) for sequence in product(others, repeat=length)]


def normal_quantiles(values: torch.Tensor) -> torch.Tensor:
    """Normal quantiles (K, ...) float64 of the ranks of values (K, ...) in each column."""
    ranks = stats.rankdata(values.numpy(), axis=0)
    return torch.from_numpy(stats.norm.ppf((ranks - 0.5) / len(ranks)))


def cell_features(scores: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the kernel looks at, each (K, F) float64: paths, operations on live edges, and scores.

    Args:
        scores: (K, F), training-free ones; their normal quantiles are taken.
    """
    space = NASBench201()
    operations = [parse(space.architectures[row]) for row in first_members()]
    live = torch.tensor([live_operations(row) for row in operations])
    return {
        "paths": torch.tensor([path_counts(row) for row in operations], dtype=torch.float64),
        "operations": nn.functional.one_hot(live, len(OPERATIONS)).flatten(1).double(),
        "scores": normal_quantiles(scores),
    }


def published_features() -> dict[str, torch.Tensor]:
    """`cell_features` with the published training-free scores.

    Raises:
        UserError: their file is missing or damaged.
    """
    hint = "It is part of the repository: check it out anew."
    value = check(SCORES, load_torch(SCORES, hint), _Scores, "a file of training-free scores", hint, SCORES_FORMAT)
    return cell_features(value["scores"].double())


@dataclass(frozen=True)
class Accuracies:
    """What is learned from: of each cell (K,) float64, in normal quantiles.

    Attributes:
        value: the mean over the cell's architectures.
        variance: of its noise, as the classes of equal cells tell it.
        scale: from accuracies (%) to quantiles and back.
    """

    value: torch.Tensor
    variance: torch.Tensor
    scale: NormalScale


@cache
def accuracies() -> Accuracies:
    """Those on ImageNet16-120 after 200 epochs."""
    table = NASBench201().table["test_200"][BENCHMARK].double()
    scale, means, spread = NormalScale(table), class_means(table), noise(table)
    deviation = scale.slope(means, spread) * spread
    return Accuracies(scale(means), deviation.square() / equivalence_classes().bincount(), scale)


class Process(nn.Module):
    """The Gaussian process; its parameters are hyperparameters, logarithms of what must be positive."""

    def __init__(self, features: dict[str, torch.Tensor]):
        super().__init__()
        self.features = features
        scales = {name: -((x.std(0) + 0.3) * math.sqrt(x.shape[1])).log() for name, x in features.items()}
        self.scales = nn.ParameterDict(scales)  # (F,) of each kind, what features are multiplied by
        self.parts = nn.Parameter(torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64).log())  # of the three kernels
        self.own = nn.Parameter(torch.tensor(-4.0, dtype=torch.float64))  # variance of what no kernel explains
        self.known = nn.Parameter(torch.zeros((), dtype=torch.float64))  # factor of the known noise

    def covariance(self, cells: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Of cells (P,) with cells (Q,), (P, Q), without noise."""
        here, there = ({k: x[c] * self.scales[k].exp() for k, x in self.features.items()} for c in (cells, others))
        whole, operations, constant = self.parts.exp()
        product = matern(here["paths"], there["paths"]) * matern(here["scores"], there["scores"])
        return whole * product + operations * matern(here["operations"], there["operations"]) + constant

    def observed(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Covariance (P, P) of the accuracies of cells (P,), noise included."""
        variance = self.own.exp() + self.known.exp() * data.variance[cells]
        return self.covariance(cells, cells) + torch.diag(variance)

    def factor(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Cholesky factor (P, P) of `observed`."""
        return torch.linalg.cholesky(self.observed(cells, data))

    def loss(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Negative log marginal likelihood of cells (P,), with a weak prior on the scales of features."""
        prior = sum((scale + 1.5).square().sum() for scale in self.scales.values())
        return negative_log_likelihood(self.observed(cells, data), data.value[cells]) + 0.02 * prior


def fit(
    features: dict[str, torch.Tensor],
    data: Accuracies,
    cells: torch.Tensor,
    seed: int,
    steps: int,
    make: Callable[[dict[str, torch.Tensor]], Process] = Process,
) -> Process:
    """Learn the hyperparameters of what `make` makes from cells (P,), each step from others of them."""
    process = make(features)
    return learn(process, lambda drawn: process.loss(drawn, data), cells, seed, steps, STEP_CELLS)


def posterior(
    process: Process, data: Accuracies, cells: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (Q,), in normal quantiles, of cells `wanted` (Q,), from the accuracies of `cells`.

    The deviation includes what no kernel explains of a cell, but not the noise of its training.
    """
    factor, cross = process.factor(cells, data), process.covariance(cells, wanted)  # (P, P), (P, Q)
    mean = cross.T @ torch.cholesky_solve(data.value[cells][:, None], factor)[:, 0]
    explained = torch.linalg.solve_triangular(factor, cross, upper=False).square().sum(0)
    variance = process.parts.exp().sum() + process.own.exp() - explained
    return mean, variance.clamp_min(1e-9).sqrt()


def validate(process: Process, data: Accuracies, cells: torch.Tensor, held_out: torch.Tensor) -> dict[str, float]:
    """How well cells that were left out are predicted, and how often their accuracy is within the stated error."""
    mean, deviation = posterior(process, data, cells, held_out)
    truth, seeds = data.value[held_out], (process.known.exp() * data.variance[held_out]).sqrt()
    return {
        "spearman": float(stats.spearmanr(mean, truth).statistic),
        "kendall": float(stats.kendalltau(mean, truth).statistic),
        **calibration(truth - mean, torch.hypot(deviation, seeds)),
    }


def train_ranking(target: str | Path, seeds: tuple[int, ...] = SEEDS, steps: int = NUM_STEPS) -> None:
    """Meta-train once a seed, validate on the cells that it leaves out, then learn from these, too; write `target`."""
    features, data = published_features(), accuracies()
    every = torch.arange(len(data.value))
    held = parts_of_cells(len(every), len(SEEDS))
    rows, validation = [], []
    for seed in seeds:
        held_out = held[seed % len(held)]
        cells = every[~torch.isin(every, held_out)]
        process = fit(features, data, cells, seed, steps)
        validation.append(validate(process, data, cells, held_out))
        log.info(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in validation[-1].items()))
        partial, _ = posterior(process, data, cells, every)
        mean, deviation = posterior(process, data, every, every)
        accuracy = data.scale.back(mean)
        width = (data.scale.back(mean + deviation) - data.scale.back(mean - deviation)) / 2
        rows.append([accuracy, width, data.scale.back(partial)])
    mean, deviation, partial = (torch.stack(columns).float() for columns in zip(*rows, strict=True))
    value = {"format": FORMAT, "mean": mean, "deviation": deviation, "partial": partial, "seeds": list(seeds)}
    save_torch(target, value | {"validation": validation, "history": provenance(seeds[0])})


def main(args: argparse.Namespace) -> None:
    check_target(args.target, [], args.overwrite)
    train_ranking(args.target)
    print(f"{display_path(Path(args.target))}: {len(SEEDS)} meta-trainings")


def build_parser() -> argparse.ArgumentParser:
    return target_parser(__doc__)


if __name__ == "__main__":
    sys.exit(run(build_parser(), main))
