"""Surrogates of accuracy; cross-validation chooses the best (NSGANetV2's adaptive switching)."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from metad2a.core.errors import UserError
from metad2a.spaces.base import SearchSpace

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Predict]
FOLDS = 5
UNDETERMINED = (np.linalg.LinAlgError, ValueError)  # raised for too few architectures


def gene_rows(space: SearchSpace, archs: Sequence[Any]) -> np.ndarray:
    """Genes (n, G) of architectures."""
    return np.array([space.genes(arch) for arch in archs]).reshape(len(archs), len(space.gene_choices))


def one_hot(space: SearchSpace, genes: np.ndarray) -> np.ndarray:
    """Genes (n, G) as indicators (n, sum of choices)."""
    indicators = [genes[:, i, None] == np.arange(choices) for i, choices in enumerate(space.gene_choices)]
    return np.concatenate(indicators, axis=1).astype(float)


def fit_process(features: np.ndarray, values: np.ndarray, fitted: Any = None) -> Any:
    """A `GaussianProcessRegressor` (Matern 5/2, noise) for values (n,); a `fitted` kernel stays as it is."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(2.0, (0.3, 30.0), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
    chosen = {"kernel": kernel} if fitted is None else {"kernel": fitted, "optimizer": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at a bound, as intended
        return GaussianProcessRegressor(normalize_y=True, **chosen).fit(features, values)


class Surrogates:
    """A cubic radial basis function of the genes; a Gaussian process and a regression tree of one-hot genes.

    The first fit sets the hyper-parameters of the process.
    """

    def __init__(self, space: SearchSpace):
        self.space, self.kernel, self.chosen = space, None, ""
        self.kinds: dict[str, Fit] = {"rbf": self.rbf, "process": self.process, "tree": self.tree}

    def fit(self, genes: np.ndarray, accuracy: np.ndarray, rng: np.random.Generator) -> Predict:
        """Fit the surrogate with the highest cross-validated rank correlation (Kendall's) to genes (n, G)."""
        if self.kernel is None:
            self.kernel = fit_process(one_hot(self.space, genes), accuracy).kernel_
        parts = np.array_split(rng.permutation(len(genes)), FOLDS)
        correlation = {name: self.validate(make, genes, accuracy, parts) for name, make in self.kinds.items()}
        for name in sorted(correlation, key=lambda name: -correlation[name]):
            with suppress(*UNDETERMINED):
                predict = self.kinds[name](genes, accuracy)
                self.chosen = name
                return predict
        raise UserError(f"No surrogate can be fitted to {len(genes)} architectures: give a larger --budget.")

    @staticmethod
    def validate(make: Fit, genes: np.ndarray, accuracy: np.ndarray, parts: list[np.ndarray]) -> float:
        """Kendall's correlation of accuracies with cross-validated predictions."""
        from scipy.stats import kendalltau

        predicted = np.zeros(len(genes))
        try:
            for part in parts:
                rest = np.setdiff1d(np.arange(len(genes)), part)
                predicted[part] = make(genes[rest], accuracy[rest])(genes[part])
        except UNDETERMINED:
            return -1.0
        return float(np.nan_to_num(float(kendalltau(predicted, accuracy).statistic), nan=-1.0))

    def rbf(self, genes: np.ndarray, accuracy: np.ndarray) -> Predict:
        from scipy.interpolate import RBFInterpolator

        return RBFInterpolator(genes.astype(float), accuracy, kernel="cubic", degree=1)

    def process(self, genes: np.ndarray, accuracy: np.ndarray) -> Predict:
        process = fit_process(one_hot(self.space, genes), accuracy, self.kernel)
        return lambda rows: process.predict(one_hot(self.space, rows))

    def tree(self, genes: np.ndarray, accuracy: np.ndarray) -> Predict:
        from sklearn.tree import DecisionTreeRegressor

        tree = DecisionTreeRegressor(min_samples_leaf=3, random_state=0).fit(one_hot(self.space, genes), accuracy)
        return lambda rows: tree.predict(one_hot(self.space, rows))
