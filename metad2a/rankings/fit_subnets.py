"""Fit the ranking of Once-for-All MobileNetV3 subnets: a Gaussian process over layers, costs and image sizes.

It learns published ImageNet accuracies of subnets with the published supernet's weights (`python -m
metad2a.spaces.ofa_mbv3.table`), after cross-validation on parts of the table. No other task is known, so the order is
the same for every dataset. Train with: python -m metad2a.rankings.fit_subnets TARGET

Dimensions: n measured subnets, P of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy import stats

from metad2a.core.cli import write_command
from metad2a.core.environment import provenance, random_generator
from metad2a.core.files import save_torch
from metad2a.core.messages import log
from metad2a.rankings.gaussian_process import anchor, calibration, learn, negative_log_likelihood
from metad2a.rankings.subnets import FORMAT, Features, SubnetProcess, SubnetRanking, subnet_features
from metad2a.spaces.ofa_mbv3.table import Measured, archs_to_operations, measured

SEED, NUM_PARTS, NUM_ANCHORS = 333, 5, 600
NUM_STEPS, STEP_ROWS = 60, 500  # optimizer steps for the hyperparameters, and subnets per step
PRIOR = 0.02  # weight of the prior that keeps the scales of features similar


def select(features: Features, rows: torch.Tensor) -> Features:
    return {name: x[rows] for name, x in features.items()}


def fit(
    table: Measured, features: Features, rows: torch.Tensor, seed: int = SEED, steps: int = NUM_STEPS,
    anchors: int = NUM_ANCHORS,
) -> tuple[SubnetRanking, torch.Tensor]:  # fmt: skip
    """Learn hyperparameters and posterior from `rows` (P,) of a table with `features` of its subnets (n, F) each.

    Returns the ranking and its anchors' rows.
    """
    accuracy = torch.from_numpy(table.accuracy)
    mean, std = accuracy[rows].mean().item(), max(accuracy[rows].std().item(), 1e-6)
    process, value = SubnetProcess(), (accuracy - mean) / std
    groups = [*process.scales.values(), *process.slopes.values()]

    def loss(part: torch.Tensor) -> torch.Tensor:
        subnets = select(features, part)
        noise = torch.diag(process.noise(subnets))
        likelihood = negative_log_likelihood(process.covariance(subnets, subnets) + noise, value[part])
        return likelihood + PRIOR * sum((scale - scale.detach().mean()).square().sum() for scale in groups)

    learn(process, loss, rows, seed, steps, STEP_ROWS)
    chosen = rows[torch.randperm(len(rows), generator=random_generator(seed))[:anchors]]
    at_anchors, every = select(features, chosen), select(features, rows)
    among, cross = process.covariance(at_anchors, at_anchors), process.covariance(at_anchors, every)
    learned = anchor(among, cross, value[rows], process.noise(every))
    return SubnetRanking(process, at_anchors, learned, mean, std), chosen


def judge(predicted: torch.Tensor, deviation: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Correlations, mean absolute error and `calibration` of predicted accuracies (P,)."""
    error = truth - predicted
    return {
        "pearson": float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1]),
        "spearman": float(stats.spearmanr(predicted, truth).statistic),
        "error": float(error.abs().mean()),
        **calibration(error, deviation),
    }


def validate(table: Measured, features: Features, parts: int = NUM_PARTS, **how: int) -> dict[str, dict[str, float]]:
    """Cross-validate: figures of `judge` for each image size; no process has seen the subnets that it predicts."""
    every, sizes, accuracy = torch.arange(len(table)), *map(torch.from_numpy, (table.image_size, table.accuracy))
    predicted, deviation = torch.empty(2, len(every), dtype=torch.float64)
    for part in torch.randperm(len(every), generator=random_generator(0)).chunk(parts):
        ranking, _ = fit(table, features, every[~torch.isin(every, part)], **how)
        archs = [table.archs[row] for row in part.tolist()]
        predicted[part], deviation[part] = ranking.predict(archs, sizes[part])
    return {
        str(size): judge(predicted[sizes == size], deviation[sizes == size], accuracy[sizes == size])
        for size in sizes.unique().tolist()
    }


def train(target: str | Path, table: Measured, **how: int) -> None:
    """Cross-validate, learn from the whole table, and write `target`."""
    sizes = torch.from_numpy(table.image_size)
    features = subnet_features(table.archs, sizes)
    validation = validate(table, features, **how)
    for size, figures in validation.items():
        log.info(f"{size} px: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    ranking, rows = fit(table, features, torch.arange(len(table)), **how)
    value = {
        "format": FORMAT,
        "state": ranking.process.state_dict(),
        "operations": torch.from_numpy(archs_to_operations([table.archs[row] for row in rows.tolist()])),
        "image_size": sizes[rows],
        "weights": ranking.learned.weights,
        "known": ranking.learned.known,
        "mean": ranking.mean,
        "std": ranking.std,
    }
    save_torch(target, value | {"validation": validation, "history": provenance(SEED)})


def write_ranking(args: argparse.Namespace) -> str:
    train(args.target, measured())
    return f"learned from {len(measured())} subnets"


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(write_ranking, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
