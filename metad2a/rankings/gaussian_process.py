"""Gaussian processes over architectures: a kernel, learning of hyperparameters, and predictions from anchors.

Dimensions: P and Q architectures, F features, M anchors, n learned architectures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn

from metad2a.core.environment import random_generator

FIRST_RATE, LAST_RATE = 0.1, 0.005
JITTER = 1e-6  # added variance, so that the covariance of the anchors can be factored


def matern(features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Matern 3/2 kernel (P, Q) of scaled features (P, F) and (Q, F)."""
    squares = features.square().sum(1)[:, None] + others.square().sum(1) - 2 * features @ others.T
    distance = (3 * squares.clamp_min(0) + 1e-10).sqrt()
    return (1 + distance) * torch.exp(-distance)


def learn(
    process: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, seed: int, steps: int,
    step_rows: int,
) -> None:  # fmt: skip
    """Minimise `loss` with at most `step_rows` random `rows` (n,) per step, then freeze the process."""
    rng = random_generator(seed)
    optimizer = torch.optim.Adam(process.parameters(), lr=FIRST_RATE)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, LAST_RATE / FIRST_RATE, steps)
    for _ in range(steps):
        value = loss(rows[torch.randperm(len(rows), generator=rng)[:step_rows]])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        scheduler.step()
    process.requires_grad_(False)


def negative_log_likelihood(covariance: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Negative log likelihood of values (P,) with a covariance (P, P) that includes noise, up to a constant."""
    factor = torch.linalg.cholesky(covariance)
    weights = torch.cholesky_solve(value[:, None], factor)[:, 0]
    return 0.5 * value @ weights + factor.diagonal().log().sum()


def calibration(error: torch.Tensor, deviation: torch.Tensor) -> dict[str, float]:
    """Mean log density of errors (P,), and the shares within one and two of their standard `deviation`s (P,)."""
    scaled = error / deviation
    return {
        "log_density": float((-0.5 * scaled.square() - (deviation * math.sqrt(2 * math.pi)).log()).mean()),
        "within_1_deviation": float((scaled.abs() < 1).double().mean()),
        "within_2_deviations": float((scaled.abs() < 2).double().mean()),
    }


@dataclass(frozen=True)
class Anchored:
    """The posterior at anchors (Titsias, AISTATS 2009), for cross covariances k (P, M) of P others with the anchors."""

    weights: torch.Tensor  # (M,); k @ weights is the posterior mean
    known: torch.Tensor  # (M, M); k @ known @ k^T is the variance that the data remove

    def predict(self, cross: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (P,), from cross covariances (P, M) and prior variances (P,)."""
        posterior = variance - ((cross @ self.known) * cross).sum(1)
        return cross @ self.weights, posterior.clamp_min(1e-9).sqrt()


def anchor(among: torch.Tensor, cross: torch.Tensor, value: torch.Tensor, noise: torch.Tensor) -> Anchored:
    """Compute the posterior at anchors; it is exact if all learned architectures are anchors.

    Takes the covariances (M, M) among anchors and (M, n) of anchors with the learned architectures, values (n,) with
    mean 0, and the variances (n,) of their noise.
    """
    identity = torch.eye(len(among), dtype=among.dtype)
    factor = torch.linalg.cholesky(among + JITTER * identity)
    half = torch.linalg.solve_triangular(factor, cross, upper=False)  # (M, n)
    inner = torch.linalg.cholesky(half / noise @ half.T + identity)
    back = torch.linalg.solve_triangular(factor.T, identity, upper=True)  # (M, M)
    weights = back @ torch.cholesky_solve((half @ (value / noise))[:, None], inner)[:, 0]
    rest = identity - torch.cholesky_inverse(inner)
    return Anchored(weights, back @ rest @ back.T)
