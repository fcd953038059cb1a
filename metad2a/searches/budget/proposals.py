"""What to train next: the first of the ranking, two at random that test it, then what promises most."""

from collections.abc import Sequence

import torch

from metad2a.searches.budget.belief import Belief, Observation

BY_RANK = 4  # the first proposals, less those at random: by the ranking alone
AT_RANDOM = (1, 4)  # which proposals are drawn at random, so that a ranking that does not carry over is found out
REFIT_EACH, REFIT_ALWAYS = 5, 30  # with more than so many observations, hyperparameters are learned each few times


def propose(
    belief: Belief,
    evidence: Sequence[Observation],
    taken: set[int],
    allowed: torch.Tensor,
    rng: torch.Generator,
) -> int:
    """A cell of `allowed` (P,) that is not `taken`, the most promising by the evidence at hand.

    Args:
        taken: cells that were trained or are in training.
        rng: a generator of this proposal alone, so that a resumed search proposes the same.
    """
    free = allowed[~torch.isin(allowed, torch.tensor(sorted(taken), dtype=torch.long))]
    number = len(taken)
    if number in AT_RANDOM or (number < BY_RANK and not belief.ranked):
        return int(free[torch.randint(len(free), (1,), generator=rng)])
    if number < BY_RANK or not evidence:
        return int(free[belief.prior[free].argmax()])
    learn(belief, evidence)
    return int(free[belief.improvement()[free].argmax()])


def learn(belief: Belief, evidence: Sequence[Observation]) -> None:
    """Have the belief take over the evidence, its hyperparameters learned anew where that is due."""
    belief.learn(evidence, refit=len(evidence) <= REFIT_ALWAYS or len(evidence) % REFIT_EACH == 0)
