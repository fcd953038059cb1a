"""A ranking of Once-for-All MobileNetV3 subnets, with its uncertainty: a Gaussian process over layers and resolution.

The process learns the ImageNet accuracies that others measured of subnets of the published supernet (`python -m
search_spaces.ofa_mbv3.table`). No other task is known, so the order is the same for every dataset. Its kernel is a
Matern 3/2 kernel on kernels, expansions and depths, costs and the side of the images, plus a linear one. It is
validated on parts of the table that it left out, then it learns from these, too.

Train with: python -m metad2a.rankings.fit_subnets TARGET

Dimensions: n measured subnets, P of them.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats

from metad2a.core.cli import run
from metad2a.core.environment import provenance, random_generator
from metad2a.core.files import display_path, save_torch
from metad2a.core.messages import log
from metad2a.metatrain.checkpoints import check_target, target_parser
from metad2a.rankings.gaussian_process import anchor, calibration, learn, negative_log_likelihood
from metad2a.rankings.subnets import FORMAT, Features, SubnetProcess, SubnetRanking, subnet_features
from metad2a.spaces.ofa_mbv3.table import Measured, archs_to_operations, measured

SEED, NUM_PARTS, NUM_ANCHORS = 333, 5, 600
NUM_STEPS, STEP_ROWS = 60, 500  # of the hyperparameters' descent, and subnets that a step looks at
PRIOR = 0.02  # weight of the features' scales keeping together


@dataclass(frozen=True)
class Learning:
    """What is learned from: a table with its features and the values that a process sees.

    Attributes:
        features: each (n, F).
        accuracy: (n,) float64, %.
    """

    table: Measured
    features: Features
    accuracy: torch.Tensor

    @classmethod
    def of(cls, table: Measured) -> "Learning":
        return cls(table, subnet_features(table.archs, table.image_size), table.accuracy)

    def rows(self, rows: torch.Tensor) -> Features:
        return {name: x[rows] for name, x in self.features.items()}


def fit(
    data: Learning, rows: torch.Tensor, seed: int = SEED, steps: int = NUM_STEPS, anchors: int = NUM_ANCHORS
) -> tuple[SubnetRanking, torch.Tensor]:
    """Learn hyperparameters and posterior from `rows` (P,) of a table; returns the ranking and its anchors' rows."""
    mean, std = data.accuracy[rows].mean().item(), max(data.accuracy[rows].std().item(), 1e-6)
    process, value = SubnetProcess(), (data.accuracy - mean) / std
    groups = [*process.scales.values(), *process.slopes.values()]

    def loss(part: torch.Tensor) -> torch.Tensor:
        features = data.rows(part)
        noise = torch.diag(process.noise(features))
        likelihood = negative_log_likelihood(process.covariance(features, features) + noise, value[part])
        return likelihood + PRIOR * sum((scale - scale.detach().mean()).square().sum() for scale in groups)

    learn(process, loss, rows, seed, steps, STEP_ROWS)
    chosen = rows[torch.randperm(len(rows), generator=random_generator(seed))[:anchors]]
    here = data.rows(chosen)
    every = data.rows(rows)
    learned = anchor(process.covariance(here, here), process.covariance(here, every), value[rows], process.noise(every))
    return SubnetRanking(process, here, learned, mean, std), chosen


def judge(predicted: torch.Tensor, deviation: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """How well accuracies (P,) were predicted, and how often they are within the stated error."""
    error = truth - predicted
    return {
        "pearson": float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1]),
        "spearman": float(stats.spearmanr(predicted, truth).statistic),
        "error": float(error.abs().mean()),
        **calibration(error, deviation),
    }


def validate(data: Learning, parts: int = NUM_PARTS, **how: int) -> dict[str, dict[str, float]]:
    """Figures of `judge` within each resolution, every subnet predicted by a process that has not seen it."""
    count = len(data.table)
    predicted, deviation = torch.empty(2, count, dtype=torch.float64)
    order = torch.randperm(count, generator=random_generator(0))
    for part in order.chunk(parts):
        rows = torch.arange(count)[~torch.isin(torch.arange(count), part)]
        ranking, _ = fit(data, rows, **how)
        archs = [data.table.archs[row] for row in part.tolist()]
        predicted[part], deviation[part] = ranking.predict(archs, data.table.image_size[part])
    return {
        str(size): judge(predicted[rows], deviation[rows], data.accuracy[rows])
        for size in data.table.image_size.unique().tolist()
        for rows in (data.table.rows(size),)
    }


def train(target: str | Path, table: Measured, **how: int) -> None:
    """Validate by leaving out, learn from the whole table, and write `target`."""
    data = Learning.of(table)
    validation = validate(data, **how)
    for size, figures in validation.items():
        log.info(f"{size} px: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    ranking, rows = fit(data, torch.arange(len(table)), **how)
    value = {
        "format": FORMAT,
        "state": ranking.process.state_dict(),
        "operations": archs_to_operations([table.archs[row] for row in rows.tolist()]),
        "image_size": table.image_size[rows],
        "weights": ranking.learned.weights,
        "known": ranking.learned.known,
        "mean": ranking.mean,
        "std": ranking.std,
    }
    save_torch(target, value | {"validation": validation, "history": provenance(SEED)})


def main(args: argparse.Namespace) -> None:
    check_target(args.target, [], args.overwrite)
    train(args.target, measured())
    print(f"{display_path(Path(args.target))}: learned from {len(measured())} subnets")


def build_parser() -> argparse.ArgumentParser:
    return target_parser(__doc__)


if __name__ == "__main__":
    sys.exit(run(build_parser(), main))
