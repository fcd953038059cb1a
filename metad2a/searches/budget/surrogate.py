"""A surrogate of the accuracy of NAS-Bench-201 cells on a user's dataset: a ranking, updated by trainings.

It is one exact Gaussian process over the classes of equal cells. The quality of a cell is

    z = a m + b' s + g(paths) + h(operations) + own,      a ~ N(scale, scale^2 trust).

m is the accuracy that the ranking predicts, s are training-free scores, g and h have Matern 3/2 kernels. The weight `a`
follows from the observations, so the surrogate learns how far to trust the ranking. It also learns the variance of
each other term and the noise. A training shows offset + z + noise, so the level of a user's accuracies does not matter.
Hyperparameters maximise the marginal likelihood with weak priors, which were set on ImageNet16-120 only.

Dimensions: K cells (4,930), n observations, P and Q some of the cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from metad2a.rankings.gaussian_process import matern

FLOAT = torch.float64
# Mean and standard deviation of the prior of each hyperparameter's logarithm
TERMS = {
    "trust": (math.log(0.5), 0.7),
    "scores": (math.log(0.05), 1.0),
    "paths": (math.log(0.15), 1.0),
    "operations": (math.log(0.15), 1.0),
    "own": (math.log(0.02), 1.0),
    "scale": (math.log(0.7), 1.0),
}
NOISE = (math.log(0.02), 1.0)
OFFSET = 10.0  # variance of the offset, which may be anything
JITTER, STEPS = 1e-6, 20
INTERVAL = 1.96  # standard deviations on either side: 95 %


@dataclass(frozen=True)
class Observation:
    """What a training shows of a cell."""

    cell: int  # number of its class of equal cells
    value: float  # accuracy (%), or anything else if higher is better
    variance: float = 0.0  # the known part of its noise: an accuracy is measured on a limited number of images


@dataclass(frozen=True)
class Scale:
    """Converts accuracies to the process's scale and back; it compresses the shortfalls of bad cells."""

    top: float
    width: float

    @classmethod
    def of(cls, values: torch.Tensor, variance: torch.Tensor) -> "Scale":
        """The scale of values (n,) with known noise (n,): half the values, or the noise, lie within its width."""
        top = float(values.max())
        least = max(2 * float(variance.max()) ** 0.5, 1e-3 * max(1.0, abs(top)))
        return cls(top, max(top - float(values.median()), least))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return -torch.log1p((self.top - values).clamp_min(0) / self.width)

    def slope(self, values: torch.Tensor) -> torch.Tensor:
        """The derivative of the conversion."""
        return 1 / (self.width + (self.top - values).clamp_min(0))

    def back(self, warped: torch.Tensor) -> torch.Tensor:
        """Convert back; above the best value the scale is linear."""
        below = -self.width * torch.expm1(-warped.clamp_max(0))
        return self.top + below + self.width * warped.clamp_min(0)


def standardized(prior: torch.Tensor) -> torch.Tensor:
    """Predicted accuracies (K,) on the process's scale, with a standard deviation of 1."""
    warped = Scale(float(prior.max()), float(prior.max() - prior.quantile(0.75)))(prior)
    return warped / warped.std()


class Surrogate:
    """The process and what it has learned.

    Args:
        features: `paths`, `operations` and `scores` (K, F), as the space's `features` gives them.
        prior: (K,) accuracies that a ranking predicts, None without a ranking.
    """

    def __init__(self, features: dict[str, torch.Tensor], prior: torch.Tensor | None):
        self.features = {name: x / ((x.std(0) + 0.3) * math.sqrt(x.shape[1])) for name, x in features.items()}
        self.scores = features["scores"]
        self.cells = torch.arange(len(self.scores))
        self.ranked = prior is not None
        self.prior = torch.zeros(len(self.cells), dtype=FLOAT) if prior is None else standardized(prior.to(FLOAT))
        priors = TERMS | {"noise": NOISE}
        self.names = list(priors)
        self.centre, self.spread = torch.tensor(list(priors.values()), dtype=FLOAT).T
        self.logarithms = self.centre.clone()
        self.observed = torch.empty(0, dtype=torch.long)

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Their values by name."""
        return {name: float(value) for name, value in self._named(self.logarithms).items()}

    def _named(self, logarithms: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(self.names, logarithms.exp(), strict=True))

    def _kernels(self, here: torch.Tensor, there: torch.Tensor) -> dict[str, torch.Tensor]:
        """The kernel of each term, without its variance: (P, Q) for cells `here` (P,) and `there` (Q,)."""
        a, b = ({name: x[cells] for name, x in self.features.items()} for cells in (here, there))
        return {
            "trust": torch.outer(self.prior[here], self.prior[there]),
            "scores": self.scores[here] @ self.scores[there].T / self.scores.shape[1],
            "paths": matern(a["paths"], b["paths"]) * matern(a["scores"], b["scores"]),
            "operations": matern(a["operations"], b["operations"]),
            "own": (here[:, None] == there).to(FLOAT),
        }

    def _quality(self, kernels: dict[str, torch.Tensor], h: dict[str, torch.Tensor]) -> torch.Tensor:
        return h["scale"].square() * torch.stack([h[name] * kernel for name, kernel in kernels.items()]).sum(0)

    def _factor(
        self, kernels: dict[str, torch.Tensor], h: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cholesky factor (n, n) of the observations' covariance, and their residuals (n,)."""
        residual = self.warped - h["scale"] * self.prior[self.observed]
        diagonal = h["scale"].square() * h["noise"] + self.known_noise + JITTER
        return torch.linalg.cholesky(self._quality(kernels, h) + OFFSET + torch.diag(diagonal)), residual

    def learn(self, observations: Sequence[Observation], refit: bool = True) -> None:
        """Condition on all observations (at least one); `refit` also fits the hyperparameters."""
        self.observed = torch.tensor([o.cell for o in observations])
        values = torch.tensor([o.value for o in observations], dtype=FLOAT)
        variance = torch.tensor([o.variance for o in observations], dtype=FLOAT)
        self.scale = Scale.of(values, variance)
        self.warped = self.scale(values)
        self.known_noise = variance * self.scale.slope(values).square()
        kernels = self._kernels(self.observed, self.observed)
        if refit:
            self.logarithms = self._fitted(kernels)
        h = self._named(self.logarithms)
        self.factor, residual = self._factor(kernels, h)
        self.weights = torch.cholesky_solve(residual[:, None], self.factor)[:, 0]

    def _fitted(self, kernels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logarithms of the most probable hyperparameters; the optimizer starts from the current ones."""
        from scipy.optimize import minimize  # takes a second to import

        def loss(start: np.ndarray) -> tuple[float, np.ndarray]:
            logarithms = torch.tensor(start, dtype=FLOAT, requires_grad=True)
            factor, residual = self._factor(kernels, self._named(logarithms))
            weights = torch.cholesky_solve(residual[:, None], factor)[:, 0]
            prior = ((logarithms - self.centre) / self.spread).square().sum()
            value = 0.5 * residual @ weights + factor.diagonal().log().sum() + 0.5 * prior
            value.backward()
            return value.item(), logarithms.grad.numpy()

        result = minimize(loss, self.logarithms.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        return torch.from_numpy(result.x)

    def _explained(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean of the quality of cells (Q,), and their whitened covariance with the observations (n, Q)."""
        h = self._named(self.logarithms)
        cross = self._quality(self._kernels(self.observed, cells), h)
        mean = h["scale"] * self.prior[cells] + cross.T @ self.weights
        return mean, torch.linalg.solve_triangular(self.factor, cross, upper=False)

    def _variance(self) -> torch.Tensor:
        """Prior variance (K,) of the quality of all cells."""
        h = self._named(self.logarithms)
        terms = h["trust"] * self.prior.square() + h["scores"] * self.scores.square().mean(1)
        return h["scale"].square() * (terms + h["paths"] + h["operations"] + h["own"])

    def quality(self) -> torch.Tensor:
        """Posterior mean of the quality (K,), which ranks the cells."""
        return self._explained(self.cells)[0] if len(self.observed) else self.prior.clone()

    def improvement(self) -> torch.Tensor:
        """Expected improvement (K,) of each cell on the best observed cell: the mean of max(0, z - z best). The offset
        cancels in it."""
        h = self._named(self.logarithms)
        mean, whitened = self._explained(self.cells)
        best = self.observed[mean[self.observed].argmax()]
        shared = self._quality(self._kernels(best[None], self.cells), h)[0] - whitened[:, best] @ whitened
        variance = self._variance() - whitened.square().sum(0)
        deviation = (variance + variance[best] - 2 * shared).clamp_min(1e-12).sqrt()
        z = (mean - mean[best]) / deviation
        normal = torch.distributions.Normal(0.0, 1.0)
        return (deviation * (z * normal.cdf(z) + normal.log_prob(z).exp())).clamp_min(0)

    def accuracy(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Posterior mean (K,) of the noise-free values, and both ends of its 95 % interval."""
        h = self._named(self.logarithms)
        cross = self._quality(self._kernels(self.observed, self.cells), h) + OFFSET
        mean = h["scale"] * self.prior + cross.T @ self.weights
        explained = torch.linalg.solve_triangular(self.factor, cross, upper=False).square().sum(0)
        deviation = (self._variance() + OFFSET - explained).clamp_min(1e-12).sqrt()
        low, high = (self.scale.back(mean + sign * INTERVAL * deviation) for sign in (-1, 1))
        return self.scale.back(mean), low, high
