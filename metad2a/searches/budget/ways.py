"""The ways to a network that a search compares: which backbones and cells, on images of which side.

Costs are millions of multiply-accumulates of an image; `Speed` says how many seconds they take on this machine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metad2a.data.image_data import SIDES
from metad2a.data.options import IMAGE_SIZE
from metad2a.networks import backbones
from metad2a.rankings.length import LengthRanking
from metad2a.searches.budget.trials import FURTHER, LINEAR, NEW, Trial, judged

LINEAR_SHARE = 0.4  # of a budget: what all linear classifiers may take, and
EACH_SHARE = 0.2  # what one of them may
LARGER_SHARE = 0.1  # likewise, one with a larger backbone
PROBES = 0.3  # of what is left: what trainings take that only show which of them goes on
TRAINED_SHARE = 0.7  # of what is left when the trainings begin: what the last of them gets at least
TRAINING_COST = 5  # a step of training takes as long as classifying the images this many times
APART = 1.3  # ratio of the sides of a backbone's linear classifiers, at least
ENLARGED = 4  # images are enlarged to at most this many times their side
LARGEST = max(SIDES)
# Images that a backbone must see to gain from training, or passes if they are few: at least, enough, and of small ones
LEAST, ENOUGH, SMALL_LEAST, SMALL_ENOUGH = (2000, 2), (3000, 5), (500, 1), (5000, 5)
CLOSE = 4.0  # points: a linear classifier so close to the best stands for an equally good start
SMALL, DOUBLED = 128, 2  # largest side of small images in pixels, and relative to the images' side
TAKE_OFF = 30_000  # images that a cell must see to be tried beside networks that have seen ImageNet
CELL_SIDES = (64, 96)  # of larger images than the benchmark's, if the budget pays for enough of them
COST_APART = 2  # ratio of the costs of the two cells that are tried, at least


@dataclass(frozen=True)
class Speed:
    """What the budget's unit buys: seconds, or epochs, which cost one each whatever the network."""

    timed: bool
    seconds: float = 0.0  # of a million multiply-accumulates, when a network classifies

    def passes(self, cost: float, images: int, share: float = 1.0) -> float:
        """What it costs to classify a number of images, which are a `share` of the training images."""
        return cost * images * self.seconds if self.timed else share

    def training(self, cost: float, images: int) -> float:
        """What an epoch of training costs."""
        return TRAINING_COST * self.passes(cost, images) if self.timed else 1.0


def sides(stored: int) -> list[int]:
    """Sides to which images that are kept at `stored` pixels are brought for a backbone, the smallest first."""
    return [side for side in SIDES if 48 <= side <= min(LARGEST, ENLARGED * stored)]


def linear_ways(
    names: Sequence[str],
    stored: int,
    cost: Callable[[str, int], float],
    speed: Speed,
    images: int,
    total: float,
) -> list[tuple[str, int]]:
    """Backbones, and sides of images, whose features linear classifiers read, at least one: first the cheapest, which
    there is time for in any case, then the dearest, which says most.

    Args:
        names: of backbones; all but the first are larger, and wait for a budget that hardly notices them.
        cost: of a name at a side.
        images: for training and validation.
        total: of the budget, in its unit.
    """

    def price(name: str, side: int) -> float:
        return speed.passes(cost(name, side), images)

    first, *larger = names
    chosen: list[tuple[str, int]] = []
    left = LINEAR_SHARE * total
    for side in reversed(sides(stored)):
        apart = not chosen or chosen[-1][1] >= APART * side
        if apart and price(first, side) <= min(left, EACH_SHARE * total):
            chosen.append((first, side))
            left -= price(first, side)
    if not chosen:
        return [(first, sides(stored)[0])]
    most = chosen[0][1]
    for name in larger if speed.timed else ():
        if price(name, most) <= min(left, LARGER_SHARE * total):
            chosen.append((name, most))
            left -= price(name, most)
    cheapest = min(chosen, key=lambda way: price(*way))
    return [cheapest, *(way for way in chosen if way != cheapest)]


def further(
    trials: Sequence[Trial], stored: int, cost: Callable[[str, int], float], speed: Speed, images: int, left: float
) -> Iterator[dict[str, Any]]:
    """The backbones to train further: the best linear classifier's that the budget pays for, and the one with the
    fewest layers on small images, which makes the most steps."""
    found = judged(t for t in trials if t.way == LINEAR)

    def pays(needs: tuple[int, int], arch: str, side: int) -> bool:
        enough, most = needs
        passes = min(most, enough / images)
        return passes * speed.training(cost(arch, side), images) <= TRAINED_SHARE * left

    good = [t for t in found if (t.accuracy or 0.0) >= (found[0].accuracy or 0.0) - CLOSE]
    fits = [t for t in good if pays(ENOUGH, t.arch, t.side)] or [t for t in found if pays(LEAST, t.arch, t.side)]
    chosen: dict[tuple[str, int], int] = {}
    for base in fits[:1]:
        chosen[base.arch, base.side] = base.number
    for base in found[:1]:
        arch = next(iter(backbones.taps(backbones.name_of(base.arch))), base.arch)
        small = [side for side in sides(stored) if side <= min(SMALL, DOUBLED * stored)]
        if pays(SMALL_LEAST, arch, small[0]):
            largest = max((side for side in small if pays(SMALL_ENOUGH, arch, side)), default=small[0])
            chosen.setdefault((arch, largest), base.number)
    for (arch, side), number in chosen.items():
        yield {"way": FURTHER, "arch": arch, "side": side, "base": number}


def cells(
    ranked: Sequence[tuple[int, str, Mapping[str, float]]],
    ranking: LengthRanking,
    seen: np.ndarray,
    whole: float,
    stored: int,
    only: bool,
) -> Iterator[dict[str, Any]]:
    """The cells to train from nothing: the first choice for the images that each cell sees in its part of the budget,
    and the best one that costs much less or much more. Their images (kept at `stored` pixels) are as large as allows
    them to see enough.

    Args:
        ranked: number, architecture and costs of R cells.
        ranking: of all cells by the number of images that they see.
        seen: (R,) images of the benchmark's side that each cell sees in its part of the budget.
        whole: images that a training by the whole protocol sees.
        only: whether cells are the only way, so that one is trained even if it sees few images.
    """
    seen, enough = np.minimum(seen, whole), min(TAKE_OFF, whole)
    rows = np.flatnonzero(seen >= enough) if (seen >= enough).any() else np.arange(len(ranked) if only else 0)
    if not len(rows):
        return
    numbers, costs = np.array([row[0] for row in ranked]), np.array([row[2]["flops"] for row in ranked])
    lengths = np.ones(ranking.mean.shape[1])
    lengths[numbers] = seen
    scores = np.full(len(ranked), -np.inf)
    scores[rows] = ranking.predict(lengths)[0][numbers[rows]]
    chosen = [int(scores.argmax())]
    ratio = costs / costs[chosen[0]]
    apart = np.where(np.maximum(ratio, 1 / ratio) >= COST_APART, scores, -np.inf)
    if np.isfinite(apart).any() and seen[chosen[0]] < whole:
        chosen.append(int(apart.argmax()))
    for place in chosen:
        cell, arch, _ = ranked[place]
        larger = [side for side in CELL_SIDES if side <= stored and seen[place] * (IMAGE_SIZE / side) ** 2 >= enough]
        yield {"way": NEW, "arch": arch, "cell": cell, "side": max(larger, default=IMAGE_SIZE)}
