"""A surrogate of the value of NAS-Bench-201 cells on a user's task, updated by each training.

It is one exact Gaussian process over the classes of equal cells. The quality of a cell is

    z = a m + w' d + b' s + g(paths) + h(operations) + own,      a ~ N(scale, scale^2 trust).

m is the mean order of the tasks that are known, d are the differences of each known task from it, s are training-free
scores, g and h have Matern 3/2 kernels. The weights `a` and `w` follow from the observations: so the surrogate learns
what kind of task it is, and how far to trust what is known. It also learns the variance of each term and the noise. A
training shows offset + z + noise, so the level of a user's accuracies does not matter. Hyperparameters maximise the
marginal likelihood with weak priors, which were chosen by leaving tasks out (docs/results/budget.md).

Dimensions: K classes of equal cells (4,930), N of them to choose among, n observations, T known tasks, H
hyperparameters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

from metad2a.rankings.kinds import Kinds

# Mean and standard deviation of the prior of each hyperparameter's logarithm
TERMS = {
    "trust": (math.log(0.5), 0.7),
    "kind": (math.log(1.0), 1.0),
    "scores": (math.log(0.05), 1.0),
    "paths": (math.log(0.15), 1.0),
    "operations": (math.log(0.15), 1.0),
    "own": (math.log(0.05), 1.0),
}
SCALE, NOISE = (math.log(0.7), 1.0), (math.log(0.1), 1.0)
OFFSET = 10.0  # variance of the offset, which may be anything
JITTER, STEPS = 1e-6, 20
ROOM = 32  # observations for which there is room at first
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
    def of(cls, values: np.ndarray, variance: np.ndarray) -> "Scale":
        """The scale of values (n,) with known noise (n,): half the values, or the noise, lie within its width."""
        top = float(values.max())
        least = max(2 * float(variance.max()) ** 0.5, 1e-3 * max(1.0, abs(top)))
        return cls(top, max(top - float(np.median(values)), least))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return -np.log1p(np.maximum(self.top - values, 0) / self.width)

    def slope(self, values: np.ndarray) -> np.ndarray:
        """The derivative of the conversion."""
        return 1 / (self.width + np.maximum(self.top - values, 0))

    def back(self, warped: np.ndarray) -> np.ndarray:
        """Convert back; above the best value the scale is linear."""
        below = -self.width * np.expm1(-np.minimum(warped, 0))
        return self.top + below + self.width * np.maximum(warped, 0)


def matern(features: np.ndarray, number: int) -> np.ndarray:
    """Matern 3/2 kernel (N,) of scaled features (N, F) with those of the cell `number`."""
    distance = np.sqrt(3 * np.square(features - features[number]).sum(1) + 1e-10)
    return (1 + distance) * np.exp(-distance)


class Surrogate:
    """The process and what it has learned. What it returns is in the order of `cells`.

    Args:
        features: `paths`, `operations` and `scores` (K, F), as the space's `features` gives them.
        cells: (N,) classes of equal cells among which a search chooses, in rising order.
        kinds: what is known of these cells on other tasks, None to use nothing of it.
    """

    def __init__(self, features: Mapping[str, Any], cells: np.ndarray, kinds: Kinds | None):
        arrays = {name: np.asarray(x, dtype=float) for name, x in features.items()}
        scaled = {name: x / ((x.std(0) + 0.3) * math.sqrt(x.shape[1])) for name, x in arrays.items()}
        self.features = {name: x[cells] for name, x in scaled.items()}
        self.cells, self.kinds, count = cells, kinds, len(cells)
        self.prior = np.zeros(count) if kinds is None else kinds.mean
        differences = np.zeros((count, 1)) if kinds is None else kinds.differences
        scores = self.features["scores"]
        linear = {"trust": self.prior[:, None], "kind": differences, "scores": scores / math.sqrt(scores.shape[1])}
        self.linear = {name: linear[name] for name in ("trust", "kind", "scores")}
        self.centre, self.spread = np.array([*TERMS.values(), SCALE, NOISE]).T  # (H,) each
        self.logarithms = self.centre.copy()
        self.diagonal = np.stack([np.square(x).sum(1) for x in self.linear.values()] + [np.ones(count)] * 3)
        self.learned: list[Observation] = []
        self.observed = np.empty(0, dtype=int)  # places of the observed cells
        self.rows = np.empty((ROOM, len(TERMS), count))  # kernels between the observed cells, in order, and all cells

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Their values by name."""
        return dict(zip([*TERMS, "scale", "noise"], np.exp(self.logarithms).tolist(), strict=True))

    def kernels(self, place: int) -> np.ndarray:
        """The kernel of each term, without its variance, between the cell at one place and all cells, (terms, N)."""
        own = np.zeros(len(self.prior))
        own[place] = 1.0
        paths = matern(self.features["paths"], place) * matern(self.features["scores"], place)
        linear = [x @ x[place] for x in self.linear.values()]
        return np.stack([*linear, paths, matern(self.features["operations"], place), own])

    def learn(self, observations: Sequence[Observation], refit: bool = True) -> None:
        """Condition on all observations (at least one); `refit` also fits the hyperparameters. The same observations
        again change nothing."""
        if list(observations) == self.learned:
            return
        self.learned = list(observations)
        places = np.searchsorted(self.cells, [o.cell for o in observations])
        kept = len(self.observed) if np.array_equal(places[: len(self.observed)], self.observed) else 0
        if len(places) > len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty((len(places), *self.rows.shape[1:]))])
        for number in range(kept, len(places)):
            self.rows[number] = self.kernels(places[number])
        self.observed = places
        values, variance = np.array([(o.value, o.variance) for o in observations]).T
        self.scale = Scale.of(values, variance)
        self.warped, self.known_noise = self.scale(values), variance * np.square(self.scale.slope(values))
        among = self.rows[: len(places)][..., places]  # (n, terms, n)
        self.among = among.swapaxes(0, 1).reshape(len(TERMS), -1)  # kernels among the observed cells, by term
        if refit:
            result = minimize(self.loss, self.logarithms, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
            self.logarithms = result.x
        self.variances, self.size, self.noise = self._parts(self.logarithms)
        self.factor = np.linalg.cholesky(self._covariance(self.variances, self.noise))
        self.weights = cho_solve((self.factor, True), self.warped - self.size * self.prior[self.observed])
        self.cross = self.variances @ self.rows[: len(places)]  # (n, N), of the observed cells' quality with all cells'

    @staticmethod
    def _parts(logarithms: np.ndarray) -> tuple[np.ndarray, float, float]:
        """The variances of the terms, the scale of the mean, and the variance of the noise."""
        *variances, scale, noise = np.exp(logarithms)
        return scale**2 * np.array(variances), scale, scale**2 * noise

    def _covariance(self, variances: np.ndarray, noise: float) -> np.ndarray:
        """Covariance (n, n) of the observations."""
        count = len(self.observed)
        covariance = (variances @ self.among).reshape(count, count) + OFFSET
        covariance[np.diag_indices(count)] += noise + self.known_noise + JITTER
        return covariance

    def loss(self, logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative logarithm of the posterior of the hyperparameters, up to a constant, and its gradient (H,)."""
        variances, scale, noise = self._parts(logarithms)
        factor = np.linalg.cholesky(self._covariance(variances, noise))
        inverse = np.linalg.inv(factor)
        inverse = inverse.T @ inverse
        mean = self.prior[self.observed]
        residual = self.warped - scale * mean
        weights = inverse @ residual
        deviation = (logarithms - self.centre) / self.spread
        value = 0.5 * residual @ weights + np.log(factor.diagonal()).sum() + 0.5 * deviation @ deviation
        outer = inverse - np.outer(weights, weights)
        terms, own = 0.5 * variances * (self.among @ outer.ravel()), 0.5 * noise * np.trace(outer)
        of_scale = 2 * (terms.sum() + own) - scale * mean @ weights
        return float(value), np.array([*terms, of_scale, own]) + deviation / self.spread

    def quality(self) -> np.ndarray:
        """Posterior mean of the quality (N,), which ranks the cells."""
        if not len(self.observed):
            return self.prior.copy()
        return self.size * self.prior + self.cross.T @ self.weights

    def improvement(self) -> np.ndarray:
        """Expected improvement (N,) of each cell on the best observed cell: the mean of max(0, z - z best). The offset
        cancels in it."""
        mean = self.size * self.prior + self.cross.T @ self.weights
        whitened = solve_triangular(self.factor, self.cross, lower=True, check_finite=False)
        place = int(mean[self.observed].argmax())
        best = self.observed[place]
        shared = self.cross[place] - whitened[:, best] @ whitened
        variance = self.variances @ self.diagonal - np.square(whitened).sum(0)
        deviation = np.sqrt(np.maximum(variance + variance[best] - 2 * shared, 1e-12))
        z = (mean - mean[best]) / deviation
        return np.maximum(deviation * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)), 0)

    def accuracy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior mean (N,) of the noise-free values, and both ends of its 95 % interval."""
        mean, deviation = self.warped_accuracy()
        low, high = (self.scale.back(mean + sign * INTERVAL * deviation) for sign in (-1, 1))
        return self.scale.back(mean), low, high

    def warped_accuracy(self) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and standard deviation (N,) of the noise-free values on the process's scale."""
        cross = self.cross + OFFSET
        mean = self.size * self.prior + cross.T @ self.weights
        explained = np.square(solve_triangular(self.factor, cross, lower=True, check_finite=False)).sum(0)
        return mean, np.sqrt(np.maximum(self.variances @ self.diagonal + OFFSET - explained, 1e-12))
