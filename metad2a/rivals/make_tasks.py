"""Add a task to the library of `metad2a.rivals.fisher`.

python -m metad2a.rivals.make_tasks --data-name cifar10 --image-folder DIR
python -m metad2a.rivals.make_tasks --data-name gtsrb --image-folder DIR --cells FOLDER

Its best cells come from the benchmark's table, or from the folder of a comparison on its images.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from metad2a import spaces
from metad2a.core.cli import run_options
from metad2a.core.errors import UserError
from metad2a.core.files import save_torch
from metad2a.core.messages import log
from metad2a.core.options import option
from metad2a.core.values import path, positive_int, safe_name
from metad2a.data.image_data import load_image_data
from metad2a.rivals.fisher import FORMAT, LIBRARY, TaskSimilarity, learn, read_library, shuffled
from metad2a.rivals.real import SEARCH, read_record

LENT = 10


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """A task to add."""

    data_name: str = option("cifar10", "Dataset.", type=safe_name)
    image_folder: str | None = option(None, "Folder of images, a sub-folder for each class.", type=path)
    data_path: str = option("data", "Folder of features and databases.", type=path)
    cells: str | None = option(
        None, "Folder of measured networks, `evaluations` (default: the table's best cells).", type=path
    )
    most_images: int = option(5000, "Draw at most N images to learn from.", type=positive_int)


def best_cells(options: TaskOptions) -> list[str]:
    """The best known cells of a dataset, best first.

    Raises:
        UserError: none are known.
    """
    if options.cells is not None:
        records = [read_record(path) for path in sorted(Path(options.cells).glob("*.json"))]
        records = sorted(records, key=lambda record: (record["epochs"], record["value"]), reverse=True)
        texts = [record["architecture"] for record in records]
    else:
        known = spaces.get("nasbench201").known_accuracy(options.data_name) or {}
        texts = sorted(known, key=lambda text: known[text], reverse=True)
    if not texts:
        raise UserError(
            f"No cell of {options.data_name} is measured: there is no table of it. Run --model compare --form real on "
            f"its images, and give the folder {SEARCH} of the results as --cells."
        )
    return list(dict.fromkeys(texts))[:LENT]


def add_task(options: TaskOptions) -> None:
    """Train the small network on a dataset; add it and the best cells to the library."""
    cells = best_cells(options)
    data = load_image_data(options.data_name, options.image_folder, options.data_path, 333)
    images, labels = shuffled(data.train, data, options.most_images, torch.device("cpu"))
    state = learn(images, labels, len(data.class_names), TaskSimilarity.epochs).state_dict()
    tasks = read_library() if LIBRARY.is_file() else {}
    tasks[options.data_name] = {"state": dict(state), "cells": cells}
    save_torch(LIBRARY, {"format": FORMAT, "tasks": tasks})
    log.info(f"{LIBRARY}: {', '.join(tasks)}")


def main(argv: Sequence[str] | None = None) -> int:
    return run_options(__doc__ or "", TaskOptions, add_task, argv)


if __name__ == "__main__":
    sys.exit(main())
