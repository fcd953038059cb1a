"""What a budget is spent on: many short trainings, some longer ones, and at least one as long as can be.

Costs are seconds, measured on this machine for each operation of a cell, or epochs of all training images. Trainings
of a rung cost the same, so that of a budget in seconds a quick network gets more epochs than a slow one: what counts is
the accuracy that is reached in the time there is. With epochs all get as many.
"""

import math
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from metad2a.core.budget import NETWORK_EPOCHS, Budget
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.nasbench201.cells import OPERATIONS, parse, to_string

SHORT, LONG, FULL = range(3)  # fidelities of the belief
RUNG_NAMES = {SHORT: "short", LONG: "long", FULL: "full"}
# Of the budget the last trainings have half where this is enough for the protocol, and more the farther it is from it:
# then a network gains more by longer training than a choice among good ones by evidence.
FULL_SHARE, MOST_SHARE = 0.5, 0.9
LONG_SHARE = 0.4  # of what they leave; short trainings have the rest
REDUCTION = 4  # a training of one rung costs so many of the rung below, or more where few could be afforded
LEAST_SHORT = 8  # trainings that the rest should be enough for
MIN_PASSES = 4  # over the images of a short training, or smaller and fewer images are taken
MIN_IMAGES = 200
TIMED_BATCH, TIMED_STEPS = 32, 5


@dataclass(frozen=True)
class Rung:
    """Trainings of one length.

    Attributes:
        fidelity: of the belief.
        cost: of each training, in the budget's unit.
        count: of them.
        side: of its images, pixels.
        images: that it trains on.
        pass_share: cost of a pass over them, relative to one over all images at their full size.
    """

    fidelity: int
    cost: float
    count: int
    side: int
    images: int
    pass_share: float

    @property
    def name(self) -> str:
        return RUNG_NAMES[self.fidelity]

    def epochs(self, epoch_cost: float) -> int:
        """Passes that a training makes of a network whose epoch at full size costs so much."""
        return max(1, min(NETWORK_EPOCHS, math.floor(self.cost / (epoch_cost * self.pass_share) + 1e-9)))


def make_plan(budget: Budget, epoch_cost: float, images: int, side: int, workers: int) -> dict[int, Rung]:
    """The rungs of a budget.

    Args:
        epoch_cost: of an epoch of the first choice at full size, in the budget's unit.
        images, side: all training images, and their side in pixels.
        workers: trainings at once, which a budget in seconds gains from.
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
        cost = max(cost, size[-1] * epoch_cost)  # of one pass at least
        rest = LONG_SHARE * left if fidelity == LONG else total - sum(r.cost * r.count for r in rungs.values())
        rungs[fidelity] = Rung(fidelity, cost, math.floor(rest / cost + 1e-9), *size)
    return dict(sorted(rungs.items()))


def smaller(epochs: float, images: int, side: int) -> tuple[int, int, float]:
    """Side, number of images and cost of a pass over them such that `epochs` at full size afford `MIN_PASSES`."""
    share = 1.0
    if epochs < MIN_PASSES and side >= 16:
        side, share = side // 2, 0.25
    if epochs / share < MIN_PASSES:
        fewer = max(min(images, MIN_IMAGES), math.floor(images * epochs / share / MIN_PASSES))
        share *= fewer / images
        images = fewer
    return side, images, share


def operation_costs(space: SearchSpace, num_classes: int, side: int, device: torch.device) -> dict[str, float]:
    """Seconds of training on one image: of a network of skip connections ("base"), and more for each operation."""
    cells = {"base": "skip_connect", **{name: name for name in OPERATIONS if name not in ("none", "skip_connect")}}
    seconds = {}
    for name, operation in cells.items():
        arch = to_string([OPERATIONS.index(operation)] * 3 + [OPERATIONS.index("skip_connect")] * 3)
        seconds[name] = image_seconds(space, arch, num_classes, side, device)
    return {name: value if name == "base" else max(0.0, value - seconds["base"]) / 3 for name, value in seconds.items()}


def image_seconds(space: SearchSpace, arch: str, num_classes: int, side: int, device: torch.device) -> float:
    """Seconds of training a network on one image, as the machine is now: the median of some steps."""
    network = space.network(arch, num_classes).to(device, memory_format=torch.channels_last)
    images = torch.zeros(TIMED_BATCH, 3, side, side, device=device)
    labels = torch.arange(TIMED_BATCH, device=device) % num_classes
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        F.cross_entropy(network(images), labels).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / TIMED_BATCH


def epoch_seconds(arch: str, costs: dict[str, float], images: int) -> float:
    """Seconds of an epoch of so many images, by `operation_costs`."""
    return images * (costs["base"] + sum(costs.get(OPERATIONS[number], 0.0) for number in parse(arch)))
