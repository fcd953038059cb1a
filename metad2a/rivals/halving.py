"""Successive halving and Hyperband: train many architectures briefly, and the better ones longer.

Optuna's pruners decide which training goes on. They are asynchronous: they compare an architecture with earlier ones,
so the first always goes on.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metad2a.rivals.base import Method, Problem


@dataclass(frozen=True)
class SuccessiveHalving(Method):
    """The best 1 / `reduction` goes on to the next of the problem's fidelities."""

    name: ClassVar[str] = "halving"
    title: ClassVar[str] = "successive halving"
    source: ClassVar[str] = "Jamieson and Talwalkar, AISTATS 2016; asynchronous: Li et al., MLSys 2020"
    needs_short: ClassVar[bool] = True

    reduction: int = 4

    def pruner(self, problem: Problem) -> Any:
        """Optuna's pruner; its rungs are the problem's fidelities."""
        from optuna.pruners import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=self.reduction)

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", pruner=self.pruner(problem), study_name="search")
        while True:
            trial = study.ask()
            arch, value = problem.sample(1, rng)[0], 0.0
            for rung, epochs in enumerate(problem.fidelities):
                value = problem.evaluate(arch, epochs)
                trial.report(value, self.reduction**rung)
                if trial.should_prune():
                    break
            study.tell(trial, value)


@dataclass(frozen=True)
class Hyperband(SuccessiveHalving):
    """Several brackets, of which some start to prune later, so slow starters have a chance too."""

    name: ClassVar[str] = "hyperband"
    title: ClassVar[str] = "Hyperband"
    source: ClassVar[str] = "Li et al., JMLR 2018"

    reduction: int = 3

    def pruner(self, problem: Problem) -> Any:
        from optuna.pruners import HyperbandPruner

        longest = self.reduction ** (len(problem.fidelities) - 1)
        return HyperbandPruner(min_resource=1, max_resource=longest, reduction_factor=self.reduction)
