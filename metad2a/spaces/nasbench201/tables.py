"""The shipped tables of NAS-Bench-201, made by `python -m metad2a.spaces.nasbench201.make_tables`. Columns (15625,) are
in the order of `NASBench201.architectures`. Each function raises a UserError if its file is missing or damaged."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from metad2a.core.arrays import ArrayOf, ColumnsOf, read_arrays
from metad2a.core.files import ASSETS
from metad2a.spaces.nasbench201.cells import NUM_CELLS
from metad2a.spaces.nasbench201.classes import NUM_CLASSES, equivalence_classes

ACCURACY, NASBENCH360, NWOT, LATENCY = (
    ASSETS / "nasbench201" / f"{name}.npz" for name in ("accuracy", "nasbench360", "nwot", "latency")
)
FORMATS = {NASBENCH360: "metad2a-nasbench360-1", NWOT: "metad2a-nwot-1", LATENCY: "metad2a-latency-1"}
NASBENCH360_NAMES = ("ninapro", "darcy")
NO_SCORE = -1e8  # published score of a network with a singular kernel; here also of a class without a score


def _read(path: Path, what: str, names: tuple[str, ...], values: ArrayOf) -> Any:
    """The tables `names` of a file, each a dict of columns with such `values`."""
    hint = "Check the repository out anew, or make it: python -m metad2a.spaces.nasbench201.make_tables --help"
    return read_arrays(path, dict.fromkeys(names, ColumnsOf(values)), what, hint, FORMATS.get(path))


def accuracy() -> dict[str, dict[str, np.ndarray]]:
    """Accuracies (%) of each dataset, (15625,): `test_200`, test accuracy after 200 epochs, mean over seeds; and
    `valid_12`, validation accuracy after 12."""
    values = ArrayOf(np.floating, (NUM_CELLS,), low=0, high=100)
    return _read(ACCURACY, "the benchmark's table", ("test_200", "valid_12"), values)


@cache
def nasbench360() -> dict[str, np.ndarray]:
    """Scores (15625,) of NinaPro (accuracy, %) and Darcy (times 100), the higher the better. One seed; the publishers
    do not say on which split they measured."""
    return _read(NASBENCH360, "a table of NAS-Bench-360", ("score",), ArrayOf(np.floating, (NUM_CELLS,), high=100))[
        "score"
    ]


@cache
def nwot() -> dict[str, np.ndarray]:
    """NASWOT's score (15625,) on CIFAR-10 and ImageNet16-120, the mean of a class of equal cells; minus infinity if no
    score of the class is published or its kernel is singular."""
    scores = _read(NWOT, "a file of NASWOT scores", ("nwot",), ArrayOf(np.floating, (NUM_CLASSES,)))["nwot"]
    classes = equivalence_classes()
    return {name: np.where(values <= NO_SCORE, -np.inf, values)[classes] for name, values in scores.items()}


@cache
def device_latency() -> dict[str, np.ndarray]:
    """Milliseconds (15625,) of each network for CIFAR-100 images on a device, by the device's name, in which a number
    at the end is the batch size. Measured by the authors of HELP (Lee et al., NeurIPS 2021), kept with three digits."""
    return _read(LATENCY, "a table of latencies", ("ms",), ArrayOf(np.floating, (NUM_CELLS,), low=0))["ms"]
