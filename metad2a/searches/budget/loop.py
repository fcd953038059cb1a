"""Which cell a search trains next: pure functions of what was observed, without files, clocks or messages."""

from collections.abc import Iterable, Sequence

import torch

from metad2a.searches.budget.plan import FULL, SHORT, Rung
from metad2a.searches.budget.surrogate import Observation, Surrogate

BY_RANK = 4  # the first proposals follow the ranking
AT_RANDOM = (1, 4)  # except for these, which are random and so reveal a ranking that does not carry over
REFIT_ALWAYS, REFIT_EACH = 30, 5  # with more than 30 observations, hyperparameters are fitted every 5


def another_training(rung: Rung, later: Iterable[Rung], begun: int, left: float, timed: bool, workers: int) -> bool:
    """Whether a rung gets another training.

    Args:
        rung: with its cost as trainings have really cost so far.
        later: rungs whose share of the budget is reserved.
        begun: trainings of this rung so far.
        left: of the budget, in its unit, which is seconds if `timed`.
        workers: trainings at the same time.
    """
    if rung.fidelity == FULL and not begun:
        return True
    if not timed and begun >= rung.count:
        return False
    reserved = sum(other.cost * other.count for other in later)
    return left - reserved / (workers if timed else 1) >= rung.cost - 1e-9


def next_cell(
    surrogate: Surrogate,
    observations: Sequence[Observation],
    begun: Iterable[tuple[int, int]],
    fidelity: int,
    allowed: torch.Tensor,
    rng: torch.Generator,
) -> int | None:
    """The cell to train next at a fidelity, None if there is none left.

    The best cell with an observation at the next lower fidelity goes on to this one. Without such a cell, it is the
    most promising new cell.

    Args:
        begun: cell and fidelity of every training so far, also of running and failed ones.
        allowed: (P,) cells to choose from.
        rng: a generator for this choice alone, so that a resumed search chooses the same.
    """
    begun = list(begun)
    here = {cell for cell, at in begun if at == fidelity}
    for lower in reversed(range(fidelity)):
        survivors = [o.cell for o in observations if o.fidelity == lower and o.cell not in here]
        if survivors:
            learn(surrogate, observations)
            quality = surrogate.quality()
            return max(survivors, key=lambda cell: quality[cell].item())
    taken = here if fidelity > SHORT else {cell for cell, _ in begun}
    return propose(surrogate, observations, taken, allowed, rng) if len(taken) < len(allowed) else None


def propose(
    surrogate: Surrogate,
    observations: Sequence[Observation],
    taken: set[int],
    allowed: torch.Tensor,
    rng: torch.Generator,
) -> int:
    """The most promising cell of `allowed` (P,) that is not `taken`."""
    free = allowed[~torch.isin(allowed, torch.tensor(sorted(taken), dtype=torch.long))]
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
