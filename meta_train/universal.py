"""A ranking of NAS-Bench-201 for photographs of any kind, with its uncertainty: a Gaussian process over cells.

The meta-training database holds hardly any interaction of architecture and dataset (benchmarks/dataset_effect.py), so
the best guess for a new dataset is what is best on a known one, once its noise is taken out. The process learns the
accuracies on ImageNet16-120 after 200 epochs. Its kernel is a Matern 3/2 kernel on a cell's operations: of the kernels
of benchmarks/kernels.py it orders held-out good cells best. Cells that compute the same function are one cell. Nothing
is learned from CIFAR, NinaPro or Darcy.

Train with: python -m meta_train.universal TARGET

Dimensions: K cells (4,930), P of them that are learned from, F features, R seeds, A architectures (15,625).
"""

import argparse
import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy import stats
from torch import nn

from engine.cli import run
from engine.files import display_path, save_torch
from engine.messages import log
from engine.runs import provenance
from meta_train.checkpoints import check_target, target_parser
from predictor.gaussian_process import calibration, learn, matern, negative_log_likelihood
from predictor.universal import FORMAT, SEEDS
from search_spaces.nasbench201.cell_features import live_one_hot
from search_spaces.nasbench201.classes import class_means, equivalence_classes, noise, parts_of_cells
from search_spaces.nasbench201.space import NASBench201

BENCHMARK = "imagenet16-120"
NUM_STEPS, STEP_CELLS = 40, 1000  # of the hyperparameters' descent, and cells that a step looks at


_Process = TypeVar("_Process", bound="Process")


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


def first_scales(features: torch.Tensor) -> torch.Tensor:
    """Logarithms (F,) of what features (K, F) are multiplied by before anything is learned."""
    return -((features.std(0) + 0.3) * math.sqrt(features.shape[1])).log()


class Process(nn.Module):
    """The Gaussian process; its parameters are hyperparameters, logarithms of what must be positive.

    Args:
        features: (K, F) float64, of each cell what the kernel looks at.
    """

    def __init__(self, features: torch.Tensor):
        super().__init__()
        self.features = features
        self.scales = nn.Parameter(first_scales(features))
        self.parts = nn.Parameter(torch.zeros(2, dtype=torch.float64))  # of the kernel on features, and a constant
        self.own = nn.Parameter(torch.tensor(-4.0, dtype=torch.float64))  # variance of what no kernel explains
        self.known = nn.Parameter(torch.zeros((), dtype=torch.float64))  # factor of the known noise

    def covariance(self, cells: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Of cells (P,) with cells (Q,), (P, Q), without noise."""
        share, constant = self.parts.exp()
        here, there = (self.features[chosen] * self.scales.exp() for chosen in (cells, others))
        return share * matern(here, there) + constant

    def observed(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Covariance (P, P) of the accuracies of cells (P,), noise included."""
        variance = self.own.exp() + self.known.exp() * data.variance[cells]
        return self.covariance(cells, cells) + torch.diag(variance)

    def factor(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Cholesky factor (P, P) of `observed`."""
        return torch.linalg.cholesky(self.observed(cells, data))

    def loss(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Negative log marginal likelihood of cells (P,), with a weak prior on the scales of features."""
        prior = (self.scales + 1.5).square().sum()
        return negative_log_likelihood(self.observed(cells, data), data.value[cells]) + 0.02 * prior


def fit(process: _Process, data: Accuracies, cells: torch.Tensor, seed: int, steps: int) -> _Process:
    """Learn the hyperparameters of a process from cells (P,), each step from others of them; returns it, frozen."""
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
    features, data = live_one_hot(), accuracies()
    every = torch.arange(len(data.value))
    held = parts_of_cells(len(every), len(SEEDS))
    rows, validation = [], []
    for seed in seeds:
        held_out = held[seed % len(held)]
        cells = every[~torch.isin(every, held_out)]
        process = fit(Process(features), data, cells, seed, steps)
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
