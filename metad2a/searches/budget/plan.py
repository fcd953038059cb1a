"""Who gets the next part of the budget: successive halving (Jamieson and Talwalkar, AISTATS 2016) over the ways.

Pure functions of the trials, without files, clocks or messages. In every part the learning rate falls to 0 and the next
part begins anew with what was learned (Loshchilov and Hutter, ICLR 2017), so accuracies are compared at rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metad2a.searches.budget.trials import DONE, FAILED, LINEAR, RUNNING, Trial, judged
from metad2a.searches.budget.ways import PROBES

WORTH_IT = 0.04  # of the whole budget: with less left, no other training is begun


@dataclass(frozen=True)
class Slice:
    """A part of the budget for a trial, what it has already spent of this part included; the `last` part or not."""

    trial: Trial
    amount: float
    last: bool = False

    def __str__(self) -> str:
        return str(self.trial)


def next_slice(trials: Sequence[Trial], left: float, at_first: float, total: float, workers: int) -> Slice | None:
    """The next training, None if there is nothing to do until another ends, or nothing at all.

    Args:
        trials: all so far.
        left: of the budget, in its unit.
        at_first: what was left when the trainings began.
        total: the budget.
        workers: trainings at the same time.
    """
    alive = [trial for trial in trials if trial.way != LINEAR and trial.status != FAILED]
    rounds, group, size = 0, alive, len(alive)
    while size > max(1, workers):
        # The best half of those that were compared in this round go on
        if waiting := [t for t in group if t.slices <= rounds and t.status != DONE]:
            return _of_round(waiting, left, PROBES * at_first / _rounds(len(alive), workers) * _share(size, workers))
        size = max(workers, math.ceil(size / 2))
        group, rounds = judged(group)[:size], rounds + 1
    unfinished = [trial for trial in group if trial.status != DONE] or [t for t in alive if t.status != DONE]
    free = [trial for trial in unfinished if trial.status != RUNNING]
    if not free or left <= (0 if free[0].slices == rounds and free[0] in group else WORTH_IT * total):
        return None
    best = (judged(free) or free)[0]
    return Slice(best, left + _begun(best), last=True)


def _begun(trial: Trial) -> float:
    """What a trial has spent of a part that was interrupted."""
    return trial.spent - trial.before


def _rounds(size: int, workers: int) -> int:
    """Rounds until as many are left as there are workers."""
    return max(1, math.ceil(math.log2(max(1, size / max(1, workers)))))


def _share(size: int, workers: int) -> float:
    """The part of a round's budget for each of its trials."""
    return min(1.0, max(1, workers) / size)


def _of_round(waiting: list[Trial], left: float, amount: float) -> Slice | None:
    free = [trial for trial in waiting if trial.status != RUNNING]
    return Slice(free[0], min(amount, left + _begun(free[0]))) if free and left > 0 else None
