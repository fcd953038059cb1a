"""Gaussian processes over architectures: a kernel, learning the hyperparameters, and predictions from anchors.

Dimensions: P and Q architectures, F features, M anchors, n architectures that were learned from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn as nn

from metad2a.core.environment import random_generator

FIRST_RATE, LAST_RATE = 0.1, 0.005
JITTER = 1e-6  # variance added to that of anchors, so that their covariance can be factored
Process = TypeVar("Process", bound=nn.Module)


def matern(features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Matern 3/2 kernel (P, Q) of scaled features (P, F) and (Q, F)."""
    squares = features.square().sum(1)[:, None] + others.square().sum(1) - 2 * features @ others.T
    distance = (3 * squares.clamp_min(0) + 1e-10).sqrt()
    return (1 + distance) * torch.exp(-distance)


def learn(
    process: Process,
    loss: Callable[[torch.Tensor], torch.Tensor],
    rows: torch.Tensor,
    seed: int,
    steps: int,
    step_rows: int,
) -> Process:
    """Descend on `loss` of at most `step_rows` of `rows` (n,), in each step others; returns the process, frozen."""
    rng = random_generator(seed)
    descent = torch.optim.Adam(process.parameters(), lr=FIRST_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(descent, 1.0, LAST_RATE / FIRST_RATE, steps)
    for _ in range(steps):
        value = loss(rows[torch.randperm(len(rows), generator=rng)[:step_rows]])
        descent.zero_grad()
        value.backward()
        descent.step()
        schedule.step()
    return process.requires_grad_(False)


def negative_log_likelihood(covariance: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Of values (P,) with this covariance (P, P), noise included; the constant is left out."""
    factor = torch.linalg.cholesky(covariance)
    weights = torch.cholesky_solve(value[:, None], factor)[:, 0]
    return 0.5 * value @ weights + factor.diagonal().log().sum()


def calibration(error: torch.Tensor, deviation: torch.Tensor) -> dict[str, float]:
    """How likely errors (P,) were, and how often within one or two of their stated standard `deviation`s (P,)."""
    scaled = error / deviation
    return {
        "log_density": float((-0.5 * scaled.square() - (deviation * math.sqrt(2 * math.pi)).log()).mean()),
        "within_1_deviation": float((scaled.abs() < 1).double().mean()),
        "within_2_deviations": float((scaled.abs() < 2).double().mean()),
    }


@dataclass(frozen=True)
class Anchored:
    """What predicting needs of the data: the posterior at anchors (Titsias, AISTATS 2009).

    Attributes:
        weights: (M,), the mean of others is their covariance with the anchors times these.
        known: (M, M), what the data take from the variance of others, as a form of that covariance.
    """

    weights: torch.Tensor
    known: torch.Tensor

    def predict(self, cross: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (P,), from covariances with anchors (P, M) and prior variances (P,)."""
        left = variance - ((cross @ self.known) * cross).sum(1)
        return cross @ self.weights, left.clamp_min(1e-9).sqrt()


def anchor(among: torch.Tensor, cross: torch.Tensor, value: torch.Tensor, noise: torch.Tensor) -> Anchored:
    """The posterior at anchors, exact where all that was learned from are anchors.

    Args:
        among: (M, M) covariance of the anchors.
        cross: (M, n) covariance of the anchors with what is learned from.
        value: (n,) what is learned, its mean 0.
        noise: (n,) variance of its noise.
    """
    factor = torch.linalg.cholesky(among + JITTER * torch.eye(len(among), dtype=among.dtype))
    half = torch.linalg.solve_triangular(factor, cross, upper=False)  # (M, n)
    inner = torch.linalg.cholesky(half / noise @ half.T + torch.eye(len(among), dtype=among.dtype))
    back = torch.linalg.solve_triangular(factor.T, torch.eye(len(among), dtype=among.dtype), upper=True)  # (M, M)
    weights = back @ torch.cholesky_solve((half @ (value / noise))[:, None], inner)[:, 0]
    rest = torch.eye(len(among), dtype=among.dtype) - torch.cholesky_inverse(inner)
    return Anchored(weights, back @ rest @ back.T)
