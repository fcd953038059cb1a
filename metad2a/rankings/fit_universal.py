"""A ranking of NAS-Bench-201 for photographs of any kind, with its uncertainty: a Gaussian process over cells.

The meta-training database holds hardly any interaction of architecture and dataset (benchmarks/dataset_effect.py), so
the best guess for a new dataset is what is best on a known one, once its noise is taken out. The process learns the
accuracies on ImageNet16-120 after 200 epochs. Two of them, whose means are averaged: the kernel of one is a Matern 3/2
kernel on a cell's operations, that of the other adds to such a kernel the product of one on a cell's paths from input
to output and one on four training-free scores (published, and without any accuracy). docs/results/rankings.md compares
them with others. Cells that compute the same function are one cell. Nothing is learned from CIFAR, NinaPro or Darcy.

Train with: python -m metad2a.rankings.fit_universal TARGET

Dimensions: K cells (4,930), P of them learned from and Q predicted, F features, A architectures (15,625).
"""

import argparse
import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn

from metad2a.core.cli import run
from metad2a.core.environment import provenance
from metad2a.core.files import display_path, save_torch
from metad2a.core.messages import log
from metad2a.metatrain.checkpoints import check_target, target_parser
from metad2a.rankings.gaussian_process import calibration, learn, matern, negative_log_likelihood
from metad2a.rankings.universal import FORMAT, SEEDS
from metad2a.spaces.nasbench201.cell_features import published_features
from metad2a.spaces.nasbench201.classes import class_means, equivalence_classes, noise, parts_of_cells
from metad2a.spaces.nasbench201.space import NASBench201

BENCHMARK = "imagenet16-120"
Form = tuple[tuple[str, ...], ...]
KERNELS: tuple[Form, ...] = ((("operations",),), (("paths", "scores"), ("operations",)))  # of the two processes
NUM_STEPS, STEP_CELLS = 120, 1000  # of the hyperparameters' descent, and cells that a step looks at


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


class Process(nn.Module):
    """A Gaussian process; its parameters are hyperparameters, logarithms of what must be positive.

    Args:
        features: of each cell, (K, F) float64 of each kind.
        form: the kernel, a sum of products of Matern 3/2 kernels on kinds of features.
    """

    def __init__(self, features: dict[str, torch.Tensor], form: Form):
        super().__init__()
        self.form = form
        self.features = {kind: features[kind] for product in form for kind in product}
        scales = {kind: -((x.std(0) + 0.3) * math.sqrt(x.shape[1])).log() for kind, x in self.features.items()}
        self.scales = nn.ParameterDict(scales)  # (F,) of each kind, what features are multiplied by
        first = [1 / len(form)] * len(form) + [1.0]
        self.parts = nn.Parameter(torch.tensor(first, dtype=torch.float64).log())  # of the products, and a constant
        self.own = nn.Parameter(torch.tensor(-4.0, dtype=torch.float64))  # variance of what no kernel explains
        self.known = nn.Parameter(torch.zeros((), dtype=torch.float64))  # factor of the known noise

    def kernel(self, kind: str, here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(P, Q) of a kind's scaled features (P, F) and (Q, F)."""
        return matern(here, there)

    def covariance(self, cells: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Of cells (P,) with cells (Q,), (P, Q), without noise."""
        here, there = ({k: x[c] * self.scales[k].exp() for k, x in self.features.items()} for c in (cells, others))
        kernels = {kind: self.kernel(kind, here[kind], there[kind]) for kind in here}
        *shares, constant = self.parts.exp()
        products = (math.prod(kernels[kind] for kind in product) for product in self.form)
        return sum(share * x for share, x in zip(shares, products, strict=True)) + constant

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


def fit(process: Process, data: Accuracies, cells: torch.Tensor, seed: int, steps: int) -> Process:
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


def mean_posterior(
    processes: list[Process], data: Accuracies, cells: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (Q,) of the mixture of the processes' posteriors."""
    found = [posterior(process, data, cells, wanted) for process in processes]
    means, deviations = (torch.stack(x) for x in zip(*found, strict=True))
    return means.mean(0), (deviations.square().mean(0) + means.var(0, unbiased=False)).sqrt()


def validate(
    processes: list[Process], data: Accuracies, cells: torch.Tensor, held_out: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Means (Q,) of cells that were left out, and how good they are and how often within the stated error."""
    mean, deviation = mean_posterior(processes, data, cells, held_out)
    known = torch.stack([process.known.exp() for process in processes]).mean()
    truth, seeds = data.value[held_out], (known * data.variance[held_out]).sqrt()
    return mean, {
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
        processes = [fit(Process(features, form), data, cells, seed, steps) for form in KERNELS]
        validation.append(validate(processes, data, cells, held_out)[1])
        log.info(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in validation[-1].items()))
        partial, _ = mean_posterior(processes, data, cells, every)
        mean, deviation = mean_posterior(processes, data, every, every)
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
