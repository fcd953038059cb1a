"""The training that a ranking of a folder's cells is for: how many images, and how long.

Dimensions: K classes of equal cells (4,930).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metad2a.core.budget import Budget, whole_epochs
from metad2a.core.messages import counted
from metad2a.rankings import length
from metad2a.searches.session import Session
from metad2a.spaces.base import SearchSpace

LENGTHS = (1, 3, 10, 30, 100, 200, 1000)  # passes over the images, whose first choices the report compares
BATCH = 32  # of the training steps that are timed


@dataclass(frozen=True)
class Planned:
    """A training of `epochs` passes over `images` images, or of `seconds` on this machine.

    `per_image` is the time in seconds that a training spends on an image, (K,) for the classes of equal cells; it is
    known if `seconds` is.
    """

    images: int
    epochs: int
    seconds: float | None = None
    per_image: np.ndarray | None = None

    def __str__(self) -> str:
        images = f"{self.images:,} images"
        if self.seconds is None:
            return f"{counted(self.epochs, 'epoch')} of {images}"
        return f"{Budget(seconds=self.seconds).describe(self.seconds)} on {images}"

    @cached_property
    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Score and standard deviation (K,) of each class of equal cells."""
        return length.load().predict(self.seen)

    @property
    def seen(self) -> np.ndarray | float:
        """Images that a training looks at, counting each time: of any cell, or (K,)."""
        if self.seconds is None or self.per_image is None:
            return float(self.images * self.epochs)
        return self.seconds / self.per_image

    def epochs_of(self, cell: int) -> int:
        """Passes over the images by the cells of a class."""
        seen = self.seen
        return max(1, round(float(seen[cell] if isinstance(seen, np.ndarray) else seen) / self.images))


def planned_training(session: Session) -> Planned | None:
    """The training that a search is for: that of `train` on the user's images, or what the options say. None for other
    datasets and spaces, which have one order of all cells."""
    options, classes = session.options, session.classes
    if not options.image_folder or session.space.architectures is None or not session.space.ranking_shipped:
        return None
    images, usual = sum(classes.counts), whole_epochs(options.data_name)
    wanted: Budget | None = getattr(options, "time", None)
    epochs: int | None = getattr(options, "epochs", None)
    if wanted is None:
        return Planned(images, epochs or usual)
    return Planned(images, usual, wanted.seconds, seconds_per_image(session.space, classes.number, options.device))


def seconds_per_image(space: SearchSpace, number: int, device: Any) -> np.ndarray:
    """Seconds (K,) that a training for `number` classes spends on an image on this machine's device, from steps of the
    cheapest and the dearest cell: the time grows with the multiply-accumulates."""
    from metad2a.networks.latency import seconds_of_step  # imports PyTorch

    archs, cheapest = space.all_architectures(), space.cheapest_members()
    flops = space.costs_of_all(number)["flops"][cheapest]
    learns = np.flatnonzero(space.all_can_learn()[cheapest])
    timed = [int(learns[flops[learns].argmin()]), int(flops.argmax())]
    steps = [seconds_of_step(space, archs[cheapest[i]], number, BATCH, device) / BATCH for i in timed]
    slope, base = np.polyfit(flops[timed], steps, 1)
    return np.maximum(base + slope * flops, min(steps) / 2)


def first_choices(planned: Planned, session: Session, cells: Sequence[int]) -> list[dict[str, Any]]:
    """The first choice among the architectures `cells` (numbers) for each of `LENGTHS`, as rows of a table.

    A row has `epochs`, `architecture`, `flops`, its score `accuracy`, and the `curve` of its scores at all lengths.
    """
    space, ranking = session.space, length.load()
    classes = space.classes_of_equals()[list(cells)]
    at = {epochs: ranking.predict(float(planned.images * epochs))[0][classes] for epochs in LENGTHS}
    rows = []
    for epochs, scores in at.items():
        best = int(scores.argmax())
        arch = space.all_architectures()[cells[best]]
        row = {"epochs": epochs, "architecture": space.to_text(arch), "accuracy": float(scores[best])}
        curve = [(float(e), float(at[e][best])) for e in LENGTHS]
        rows.append({**row, "flops": session.limits.cost(arch)["flops"], "curve": curve})
    return rows
