"""What other tasks say about the cells of NAS-Bench-201: their mean order, and how tasks differ from it.

`python -m metad2a.rankings.fit_kinds` made the shipped file. It holds the smoothed values of all functions on twelve
tasks, and the robustness of the networks of photographs against four families of corruptions. A search on a new task
begins with the mean order, and learns by which of the differences the task departs from it.

Dimensions: K classes of equal cells (4,930), T columns, N of the cells.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from metad2a.core.files import ASSETS
from metad2a.spaces.nasbench201.classes import NUM_CLASSES
from metad2a.spaces.nasbench201.tasks import PHOTOGRAPHS, TASKS, TRANSNAS_NAMES, read_columns

FORMAT = "metad2a-kinds-1"
SHIPPED = ASSETS / "nasbench201" / "kinds.npz"
ROBUSTNESS = "robustness"  # the first word of the columns of robustness, before the dataset and the family
DATASETS = ("cifar10", "cifar100")  # whose networks' robustness is known
FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}  # of corruptions (Hendrycks and Dietterich, ICLR 2019)
EXPONENT = 0.5  # a probe minimises the mean over tasks of the share of better cells to this power
PROBES = 5


@dataclass(frozen=True)
class Kinds:
    """Values of some cells on known tasks.

    Attributes:
        names: of the columns.
        values: (N, T), higher is better, with mean 0 and standard deviation 1.
    """

    names: Sequence[str]
    values: np.ndarray

    def weights(self, robustness: float) -> np.ndarray:
        """Weight (T,) of each column, 1 in all: the photographs count as one task, and so does robustness, times its
        weight `robustness`."""
        groups = [group_of(name) for name in self.names]
        weights = np.array([(robustness if group == ROBUSTNESS else 1.0) / groups.count(group) for group in groups])
        return weights / weights.sum()

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the mean of the tasks."""
        return float((self.values @ self.weights(robustness=0.0)).std())

    @property
    def mean(self) -> np.ndarray:
        """The mean order of the tasks (N,), with a standard deviation of 1."""
        return self.values @ self.weights(robustness=0.0) / self.deviation

    @property
    def differences(self) -> np.ndarray:
        """How the columns differ from the mean order, (N, T), on the scale of `mean`. Their products d d' are the
        covariance of the cells over tasks."""
        scaled = self.values / self.deviation - self.mean[:, None]
        return scaled * np.sqrt(self.weights(robustness=1.0))

    @cached_property
    def shares(self) -> np.ndarray:
        """Share (N, T) of the cells that are no worse."""
        places = (-self.values).argsort(0, kind="stable").argsort(0, kind="stable")
        return (places + 1) / len(self.values)

    def completion(self, taken: np.ndarray) -> np.ndarray:
        """How well each cell (N,) completes those `taken` (N,) bool: whatever known task the user's is like, one of
        them should be good there. Higher is better."""
        shares = np.minimum(self.shares[taken].min(0, initial=1.0), self.shares)
        return -(shares**EXPONENT @ self.weights(robustness=0.5))


def group_of(name: str) -> str:
    """The columns that count as one task: those of photographs, and those of robustness; otherwise each is a task."""
    return "photographs" if name in PHOTOGRAPHS else name.split()[0]


@cache
def _columns(path: Path) -> dict[str, np.ndarray]:
    robust = [f"{ROBUSTNESS} {dataset} {family}" for dataset in DATASETS for family in FAMILIES]
    return read_columns(path, [*TASKS, *robust], FORMAT, NUM_CLASSES)


def left_out(task: str, group: bool = False) -> tuple[str, ...]:
    """The columns that a search on a benchmark's task must not know: the task itself, with `group` all tasks that share
    its images. Robustness is that of networks of CIFAR-10 and CIFAR-100, which must not know it either."""
    grouped = TRANSNAS_NAMES if group and task in TRANSNAS_NAMES else ()
    return (task, *grouped, *(f"{ROBUSTNESS} {task} {family}" for family in FAMILIES))


def load(cells: np.ndarray, leave_out: Collection[str] = (), path: str | Path = SHIPPED) -> Kinds:
    """Read a file of `python -m metad2a.rankings.fit_kinds` for a search among some `cells` (N,), without the columns
    that `leave_out` names."""
    columns = _columns(Path(path))
    names = [name for name in columns if name not in leave_out]
    values = np.stack([columns[name][cells] for name in names], axis=1).astype(float)
    return Kinds(names, (values - values.mean(0)) / values.std(0))
