"""Which cell a search trains next: pure functions of what was observed, without files, clocks or messages."""

from collections.abc import Collection, Sequence

import numpy as np

from metad2a.rankings.kinds import PROBES
from metad2a.searches.budget.surrogate import Observation, Surrogate

AT_RANDOM = 4  # the first proposals are random if no other task is known
EXPLORED = 10  # cells are chosen by expected improvement, and further ones by expected quality
REFIT_ALWAYS, REFIT_EACH = 30, 5  # with more than 30 observations, hyperparameters are fitted every 5


def next_cell(
    surrogate: Surrogate,
    observations: Sequence[Observation],
    taken: Collection[int],
    rng: np.random.Generator,
) -> int | None:
    """The most promising cell of the surrogate's that is not `taken`, None if there is none left.

    The first proposals are probes, which are good on one known task or another. Then the expected improvement counts,
    and after `EXPLORED` cells the expected quality. Without known tasks the first are random, and then the improvement
    counts. `rng` serves only random choices, so that a resumed search chooses the same.
    """
    free = ~np.isin(surrogate.cells, list(taken))
    if not free.any():
        return None
    if surrogate.kinds is None and (len(taken) < AT_RANDOM or not observations):
        return int(rng.choice(surrogate.cells[free]))
    if surrogate.kinds is not None and (len(taken) < PROBES or not observations):
        promise = surrogate.kinds.completion(~free)
    else:
        learn(surrogate, observations)
        exploring = surrogate.kinds is None or len(taken) < EXPLORED
        promise = surrogate.improvement() if exploring else surrogate.quality()
    return int(surrogate.cells[np.where(free, promise, -np.inf).argmax()])


def learn(surrogate: Surrogate, observations: Sequence[Observation]) -> None:
    """Condition the surrogate on the observations, and fit its hyperparameters if that is due."""
    surrogate.learn(observations, refit=len(observations) <= REFIT_ALWAYS or len(observations) % REFIT_EACH == 0)
