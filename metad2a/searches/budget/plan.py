"""How a budget is divided: many short trainings, some longer ones, and at least one as long as possible.

Costs are seconds, measured on this machine for each operation of a cell, or epochs of all training images. All
trainings of a rung cost the same. With a time budget, faster networks therefore get more epochs: what counts is the
accuracy that a network reaches in the given time. With a budget in epochs, all networks get equally many.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from metad2a.core.budget import NETWORK_EPOCHS, Budget

SHORT, LONG, FULL = range(3)  # fidelities of the surrogate
RUNG_NAMES = {SHORT: "short", LONG: "long", FULL: "full"}
# Full trainings get half the budget if that pays for the protocol, and more the farther the budget is from it: then a
# network gains more by longer training than by a choice among good networks.
FULL_SHARE, MOST_SHARE = 0.5, 0.9
LONG_SHARE = 0.4  # of what the full trainings leave; short trainings get the rest
REDUCTION = 4  # how many times a training costs as much as one on the rung below, or more for a small budget
LEAST_SHORT = 8  # short trainings that the rest should pay for
MIN_PASSES = 4  # over the images of a short training; below that it gets smaller and fewer images
MIN_IMAGES = 200


@dataclass(frozen=True)
class Rung:
    """Trainings of one length."""

    fidelity: int
    cost: float  # of each training, in the budget's unit
    count: int  # the number of trainings
    side: int  # of the images, in pixels
    images: int  # the number of training images
    pass_share: float  # cost of a pass over these images, relative to a pass over all images at full size

    @property
    def name(self) -> str:
        return RUNG_NAMES[self.fidelity]

    def epochs(self, epoch_cost: float) -> int:
        """Passes over the images that a training makes if an epoch at full size costs `epoch_cost`."""
        return max(1, min(NETWORK_EPOCHS, math.floor(self.cost / (epoch_cost * self.pass_share) + 1e-9)))


def make_plan(budget: Budget, epoch_cost: float, images: int, side: int, workers: int) -> dict[int, Rung]:
    """The rungs of a budget.

    Args:
        epoch_cost: of an epoch of the first choice at full size, in the budget's unit.
        images, side: the number of all training images, and their side in pixels.
        workers: trainings at the same time; they multiply a time budget.
    """
    total = budget.amount * (workers if budget.timed else 1)
    protocol = NETWORK_EPOCHS * epoch_cost
    share = MOST_SHARE - (MOST_SHARE - FULL_SHARE) * min(1.0, FULL_SHARE * budget.amount / protocol)
    each = min(share * budget.amount, protocol)
    rungs = {FULL: Rung(FULL, each, max(1, math.floor(share * total / each + 1e-9)), side, images, 1.0)}
    left = total - each * rungs[FULL].count
    long = min(each / REDUCTION, LONG_SHARE * left)
    for fidelity, cost in ((LONG, long), (SHORT, min(each / REDUCTION**2, (1 - LONG_SHARE) * left / LEAST_SHORT))):
        size = smaller(cost / epoch_cost, images, side)
        cost = max(cost, size[-1] * epoch_cost)  # of at least one pass
        rest = LONG_SHARE * left if fidelity == LONG else total - sum(r.cost * r.count for r in rungs.values())
        rungs[fidelity] = Rung(fidelity, cost, math.floor(rest / cost + 1e-9), *size)
    return dict(sorted(rungs.items()))


def smaller(epochs: float, images: int, side: int) -> tuple[int, int, float]:
    """Side and number of images, and the cost of a pass, such that `epochs` at full size pay for `MIN_PASSES`."""
    share = 1.0
    if epochs < MIN_PASSES and side >= 16:
        side, share = side // 2, 0.25
    if epochs / share < MIN_PASSES:
        fewer = max(min(images, MIN_IMAGES), math.floor(images * epochs / share / MIN_PASSES))
        share *= fewer / images
        images = fewer
    return side, images, share


def plan_lines(plan: dict[int, Rung], budget: Budget, epoch_cost: float) -> Iterator[str]:
    """The plan, with epochs of the ranking's first choice, an epoch of which costs `epoch_cost`."""
    worth = budget.amount / epoch_cost
    if worth < NETWORK_EPOCHS:
        yield (
            f"The budget is worth {worth:.0f} epochs of the first choice, and the protocol has {NETWORK_EPOCHS}: most "
            "of it goes into one training, because its length matters more than a choice among good networks."
        )
    for rung in plan.values():
        yield (
            f"{rung.name}: about {rung.count} trainings of {rung.epochs(epoch_cost)} epochs, {rung.images} images of "
            f"{rung.side} px (for the first of the ranking)"
        )
