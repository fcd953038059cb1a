"""Fit the ranking of NAS-Bench-201 for photographs of any kind: Gaussian processes over cells.

Two processes learn the accuracies on ImageNet16-120 after 200 epochs, without their noise; their means are averaged.
The first has a kernel on a cell's operations, the second a kernel on its paths and published training-free scores.
docs/results/rankings.md says why, and compares them with others. Cells that compute the same function count as one.

Train with: python -m metad2a.rankings.fit_universal TARGET

Dimensions: K cells (4,930), P learned cells, Q predicted cells, F features, A architectures (15,625).
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import nn

from metad2a.core.arrays import save_arrays
from metad2a.core.cli import write_command
from metad2a.core.environment import provenance
from metad2a.core.messages import log
from metad2a.rankings.gaussian_process import calibration, learn, matern, negative_log_likelihood
from metad2a.rankings.universal import FORMAT, SEEDS
from metad2a.spaces.base import random_parts
from metad2a.spaces.nasbench201.cell_features import published_features
from metad2a.spaces.nasbench201.classes import class_means, equivalence_classes, noise
from metad2a.spaces.nasbench201.space import NASBench201

BENCHMARK = "imagenet16-120"
Form = tuple[tuple[str, ...], ...]
KERNELS: tuple[Form, ...] = ((("operations",),), (("paths", "scores"), ("operations",)))  # one kernel per process
NUM_STEPS, STEP_CELLS = 120, 1000  # optimizer steps for the hyperparameters, and cells per step


class NormalScale:
    """Converts a table's accuracies (%) to normal quantiles and back, so that small differences of good cells count."""

    def __init__(self, table: torch.Tensor):
        self.accuracy, _ = table.double().sort()  # (A,)
        self.quantile = torch.from_numpy(stats.norm.ppf((np.arange(len(table)) + 0.5) / len(table)))

    def __call__(self, accuracy: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.interp(accuracy.numpy(), self.accuracy.numpy(), self.quantile.numpy()))

    def back(self, quantile: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.interp(quantile.numpy(), self.quantile.numpy(), self.accuracy.numpy()))

    def slope(self, accuracy: torch.Tensor, width: float) -> torch.Tensor:
        """Quantiles per point of accuracy, within +- `width` points."""
        return (self(accuracy + width) - self(accuracy - width)) / (2 * width)


@dataclass(frozen=True)
class Accuracies:
    """The values to learn, in normal quantiles."""

    value: torch.Tensor  # (K,) float64, the mean over the architectures of each cell
    variance: torch.Tensor  # (K,) float64, the variance of its noise, estimated from equal cells
    scale: NormalScale  # converts accuracies (%) to quantiles and back


def accuracies() -> Accuracies:
    """Accuracies on ImageNet16-120 after 200 epochs."""
    table = NASBench201().table["test_200"][BENCHMARK].astype(np.float64)
    scale, means, spread = NormalScale(torch.from_numpy(table)), torch.from_numpy(class_means(table)), noise(table)
    deviation, members = scale.slope(means, spread) * spread, torch.from_numpy(equivalence_classes()).bincount()
    return Accuracies(scale(means), deviation.square() / members, scale)


class Process(nn.Module):
    """A Gaussian process; its parameters are logarithms of positive hyperparameters.

    The kernel `form` is a sum of products of Matern 3/2 kernels on kinds of features, each (K, F) float64.
    """

    def __init__(self, features: dict[str, torch.Tensor], form: Form):
        super().__init__()
        self.form = form
        self.features = {kind: features[kind] for product in form for kind in product}
        scales = {kind: -((x.std(0) + 0.3) * math.sqrt(x.shape[1])).log() for kind, x in self.features.items()}
        self.scales = nn.ParameterDict(scales)  # factors of the features, (F,) for each kind
        variances = [1 / len(form)] * len(form) + [1.0]  # of the products and a constant
        self.parts = nn.Parameter(torch.tensor(variances, dtype=torch.float64).log())
        self.unexplained = nn.Parameter(torch.tensor(-4.0, dtype=torch.float64))  # variance that no kernel explains
        self.noise_factor = nn.Parameter(torch.zeros((), dtype=torch.float64))  # factor of the noise in the data

    def covariance(self, cells: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Covariance (P, Q) of cells (P,) with others (Q,), without noise."""
        scaled, scaled_others = (
            {kind: x[rows] * self.scales[kind].exp() for kind, x in self.features.items()} for rows in (cells, others)
        )
        kernels = {kind: matern(x, scaled_others[kind]) for kind, x in scaled.items()}
        *shares, constant = self.parts.exp()
        products = (math.prod(kernels[kind] for kind in product) for product in self.form)
        return sum(share * x for share, x in zip(shares, products, strict=True)) + constant

    def observed(self, cells: torch.Tensor, data: Accuracies) -> torch.Tensor:
        """Covariance (P, P) of the accuracies of cells (P,), with noise."""
        variance = self.unexplained.exp() + self.noise_factor.exp() * data.variance[cells]
        return self.covariance(cells, cells) + torch.diag(variance)


def fit(process: Process, data: Accuracies, cells: torch.Tensor, seed: int, steps: int) -> Process:
    """Learn the hyperparameters of a process from cells (P,); returns the process, frozen."""

    def loss(batch: torch.Tensor) -> torch.Tensor:
        prior = sum((scale + 1.5).square().sum() for scale in process.scales.values())  # weak
        return negative_log_likelihood(process.observed(batch, data), data.value[batch]) + 0.02 * prior

    learn(process, loss, cells, seed, steps, STEP_CELLS)
    return process


def posterior(
    process: Process, data: Accuracies, cells: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (Q,), in normal quantiles, of `wanted` cells (Q,) from the accuracies of `cells`.

    The deviation includes the variance that no kernel explains, but not the noise of training.
    """
    factor = torch.linalg.cholesky(process.observed(cells, data))  # (P, P)
    cross = process.covariance(cells, wanted)  # (P, Q)
    mean = cross.T @ torch.cholesky_solve(data.value[cells][:, None], factor)[:, 0]
    explained = torch.linalg.solve_triangular(factor, cross, upper=False).square().sum(0)
    variance = process.parts.exp().sum() + process.unexplained.exp() - explained
    return mean, variance.clamp_min(1e-9).sqrt()


def mean_posterior(
    processes: list[Process], data: Accuracies, cells: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (Q,) of the mixture of the processes' posteriors."""
    posteriors = [posterior(process, data, cells, wanted) for process in processes]
    means, deviations = (torch.stack(x) for x in zip(*posteriors, strict=True))
    return means.mean(0), (deviations.square().mean(0) + means.var(0, unbiased=False)).sqrt()


def validate(
    processes: list[Process], data: Accuracies, cells: torch.Tensor, held_out: torch.Tensor
) -> dict[str, float]:
    """Rank correlations and `calibration` of predictions of held-out cells (Q,) from `cells`."""
    mean, deviation = mean_posterior(processes, data, cells, held_out)
    noise_factor = torch.stack([process.noise_factor.exp() for process in processes]).mean()
    truth, seeds = data.value[held_out], (noise_factor * data.variance[held_out]).sqrt()
    return {
        "spearman": float(stats.spearmanr(mean, truth).statistic),
        "kendall": float(stats.kendalltau(mean, truth).statistic),
        **calibration(truth - mean, torch.hypot(deviation, seeds)),
    }


def write_ranking(args: argparse.Namespace) -> str:
    """For each seed, validate on held-out cells, then learn from all cells; write all rankings to the target."""
    features, data = published_features(), accuracies()
    every = torch.arange(len(data.value))
    held = random_parts(len(every), len(SEEDS))
    rows, validation = [], []
    for seed in SEEDS:
        held_out = held[seed % len(held)]
        cells = every[~torch.isin(every, held_out)]
        processes = [fit(Process(features, form), data, cells, seed, NUM_STEPS) for form in KERNELS]
        validation.append(validate(processes, data, cells, held_out))
        log.info(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in validation[-1].items()))
        partial, _ = mean_posterior(processes, data, cells, every)
        mean, deviation = mean_posterior(processes, data, every, every)
        accuracy = data.scale.back(mean)
        width = (data.scale.back(mean + deviation) - data.scale.back(mean - deviation)) / 2
        rows.append([accuracy, width, data.scale.back(partial)])
    columns = [torch.stack(column).float().numpy() for column in zip(*rows, strict=True)]
    value = {
        "format": FORMAT,
        "seeds": list(SEEDS),
        **dict(zip(("mean", "deviation", "partial"), columns, strict=True)),
    }
    save_arrays(args.target, value | {"validation": validation, "history": provenance(SEEDS[0])})
    return f"{len(SEEDS)} meta-trainings"


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(write_ranking, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
