"""Which cell a search trains next: pure functions of what was observed, without files, clocks or messages."""

from collections.abc import Sequence

import torch

from metad2a.searches.budget.surrogate import Observation, Surrogate

BY_RANK = 4  # the first proposals follow the ranking
AT_RANDOM = (1, 4)  # except for these, which are random and so reveal a ranking that does not carry over
REFIT_ALWAYS, REFIT_EACH = 30, 5  # with more than 30 observations, hyperparameters are fitted every 5


def next_cell(
    surrogate: Surrogate,
    observations: Sequence[Observation],
    taken: set[int],
    allowed: torch.Tensor,
    rng: torch.Generator,
) -> int | None:
    """The most promising cell of `allowed` (P,) that is not `taken`, None if there is none left.

    `rng` serves this choice only, so that a resumed search chooses the same.
    """
    free = allowed[~torch.isin(allowed, torch.tensor(sorted(taken), dtype=torch.long))]
    if not len(free):
        return None
    number = len(taken)
    if number in AT_RANDOM or (number < BY_RANK and not surrogate.ranked):
        return int(free[torch.randint(len(free), (1,), generator=rng)])
    if number < BY_RANK or not observations:
        return int(free[surrogate.prior[free].argmax()])
    learn(surrogate, observations)
    return int(free[surrogate.improvement()[free].argmax()])


def learn(surrogate: Surrogate, observations: Sequence[Observation]) -> None:
    """Condition the surrogate on the observations, and fit its hyperparameters if that is due."""
    surrogate.learn(observations, refit=len(observations) <= REFIT_ALWAYS or len(observations) % REFIT_EACH == 0)
