"""Bayesian optimisation: a Gaussian process over architectures proposes what to train next."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem
from metad2a.rivals.evolution import mutate
from metad2a.rivals.surrogates import fit_process, gene_rows, one_hot


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """The expected gain over `best` (n,) (Jones et al. 1998)."""
    from scipy.special import ndtr

    deviation = np.maximum(deviation, 1e-12)
    z = (mean - best) / deviation
    return (mean - best) * ndtr(z) + deviation * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class BayesianOptimisation(Method):
    """Expected improvement under a process with a Matern 5/2 kernel on one-hot genes.

    `first` random architectures, then `batch` at a time until `evaluations`. Each time it compares `pool` candidates:
    half are mutants of the ten best, half are random.
    """

    name: ClassVar[str] = "bayesian"
    title: ClassVar[str] = "Bayesian optimisation"
    source: ClassVar[str] = "Snoek et al., NeurIPS 2012; sizes of Ru et al., ICLR 2021"
    changes: ClassVar[str] = "a kernel on one-hot operations, not Weisfeiler-Lehman's"

    first: int = 10
    batch: int = 5
    evaluations: int = 150
    pool: int = 2000

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        space = problem.space
        archs = list({problem.text_of(arch): arch for arch in problem.sample(self.first, rng)}.values())
        values = problem.evaluate_all(archs)
        while len(archs) < self.evaluations:
            seen, parents = {problem.text_of(arch) for arch in archs}, [archs[i] for i in np.argsort(values)[::-1][:10]]
            candidates = {problem.text_of(arch): arch for arch in self.candidates(problem, parents, rng)}
            pool = [arch for text, arch in candidates.items() if text not in seen]
            if not pool:
                return
            measured, features = (one_hot(space, gene_rows(space, rows)) for rows in (archs, pool))
            gain = self.gain(measured, features, np.array(values))
            best = np.argsort(-gain, kind="stable")[: min(self.batch, self.evaluations - len(archs))]
            new = [pool[i] for i in best]
            values += problem.evaluate_all(new)
            archs += new

    def gain(self, measured: np.ndarray, features: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Expected improvement (n,) of architectures with `features` (n, F), from `measured` (m, F)."""
        middle = np.median(values)
        target = np.maximum(values, middle - 3 * (np.quantile(values, 0.9) - middle))  # clips failures
        process = fit_process(measured, target)
        mean, deviation = process.predict(features, return_std=True)
        return expected_improvement(mean, deviation, float(target.max()))

    def candidates(self, problem: Problem, best: list[Any], rng: np.random.Generator) -> list[Any]:
        """Mutants of the best architectures, and random ones."""
        half, choices = self.pool // 2, problem.space.gene_choices
        parents = [problem.space.genes(best[i % len(best)]) for i in range(half)]
        mutants = [problem.nearest(mutate(genes, choices, rng)) for genes in parents]
        return mutants + problem.sample(half, rng)
