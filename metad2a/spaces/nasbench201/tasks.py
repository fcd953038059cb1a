"""Tables of twelve tasks over NAS-Bench-201's cells, for searches that train networks to their end.

`python -m metad2a.spaces.nasbench201.make_tables` made them: the validation accuracy after 200 epochs on the three
image sets, NAS-Bench-360's two tasks (`tables.nasbench360`), and the seven tasks of TransNAS-Bench-101. These seven
have values only of the 4,096 cells without pooling, one seed, one set of images (indoor scenes), and their own
skeleton.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from metad2a.core.arrays import ArrayOf, read_arrays
from metad2a.core.files import ASSETS
from metad2a.spaces.nasbench201 import tables
from metad2a.spaces.nasbench201.cells import CELL_EDGES, NUM_CELLS, OPERATIONS

VALIDATION = ASSETS / "nasbench201" / "validation.npz"
TRANSNAS = ASSETS / "nasbench201" / "transnas.npz"
PHOTOGRAPHS = ("cifar10", "cifar100", "imagenet16-120")
TRANSNAS_NAMES = ("class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal", "autoencoder")
TASKS = (*PHOTOGRAPHS, *tables.NASBENCH360_NAMES, *TRANSNAS_NAMES)
POOLING = OPERATIONS.index("avg_pool_3x3")
HINT = "Check the repository out anew, or make it: python -m metad2a.spaces.nasbench201.make_tables --help"


def read_columns(path: Path, names: Sequence[str], form: str, rows: int) -> dict[str, np.ndarray]:
    """The columns (rows,) of a table with these names. Raises a UserError if the file is missing or damaged."""
    columns = dict.fromkeys(names, ArrayOf(np.floating, (rows,)))
    return read_arrays(path, columns, "a table of tasks", HINT, form)


@cache
def without_pooling() -> np.ndarray:
    """Numbers (4096,) of the cells without pooling."""
    operations = product(range(len(OPERATIONS)), repeat=len(CELL_EDGES))
    return np.array([number for number, cell in enumerate(operations) if POOLING not in cell])


@cache
def validation() -> dict[str, np.ndarray]:
    """Validation accuracies (%) after 200 epochs, (15625,) for each image set. On CIFAR-10 the networks learned
    from half of the training images; the other sets validate on images that are not test images."""
    return read_columns(VALIDATION, PHOTOGRAPHS, "metad2a-validation-1", NUM_CELLS)


@cache
def transnas() -> dict[str, np.ndarray]:
    """Validation values of the last epoch, (15625,) for each task, NaN for cells with pooling; higher is better: top-1
    (%) of `class_scene`, `class_object` and `jigsaw`, pixels (%) of `segmentsemantic`, the negative loss of
    `room_layout` and the structural similarity of `normal` and `autoencoder`, all three times 100."""
    known = read_columns(TRANSNAS, TRANSNAS_NAMES, "metad2a-transnas-1", len(without_pooling()))
    columns = {name: np.full(NUM_CELLS, np.nan) for name in known}
    for name, values in known.items():
        columns[name][without_pooling()] = values
    return columns


def values(task: str) -> np.ndarray | None:
    """What a search sees of each cell after its full training on a task, (15625,), NaN if unknown; None without a
    table."""
    if task in tables.NASBENCH360_NAMES:
        return np.asarray(tables.nasbench360()[task], dtype=float)
    known = transnas() if task in TRANSNAS_NAMES else validation()
    return known[task].astype(float) if task in known else None
