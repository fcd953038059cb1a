"""Add a task to the library that `metad2a.rivals.fisher` compares a dataset with.

python -m metad2a.rivals.make_tasks --data-name cifar10 --image-folder DIR
python -m metad2a.rivals.make_tasks --data-name gtsrb --image-folder DIR --cells FOLDER

The best cells are those of the benchmark's table, or those that a comparison on the images measured best.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from metad2a import spaces
from metad2a.core.cli import positive_int, run
from metad2a.core.errors import UserError
from metad2a.core.files import save_torch
from metad2a.core.messages import log
from metad2a.core.names import name_type
from metad2a.core.options import fill, option, options_parser
from metad2a.data.image_data import load_image_data
from metad2a.rivals.fisher import FORMAT, LIBRARY, TaskSimilarity, learn, read_library, whole
from metad2a.rivals.real import SEARCH, read_record

LENT = 10


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """A task to add."""

    data_name: str = option("cifar10", "the dataset", type=name_type)
    image_folder: str | None = option(None, "its images, one sub-folder a class")
    data_path: str = option("data", "folder of features and databases")
    cells: str | None = option(None, "a folder of measured networks (`evaluations`); without it the table's best cells")
    most_images: int = option(5000, "images to learn from, at random", type=positive_int)


def best_cells(options: TaskOptions) -> list[str]:
    """The best cells that are known of a dataset, the best first.

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
            f"No cell of {options.data_name} is measured: there is no table of it, and no result in --cells "
            f"(a folder {SEARCH} that --model compare --form real left)."
        )
    return list(dict.fromkeys(texts))[:LENT]


def add_task(args: argparse.Namespace) -> None:
    """Train the small network on a dataset and write it and its cells into the library."""
    options = fill(TaskOptions, args)
    cells = best_cells(options)
    data = load_image_data(options.data_name, options.image_folder, options.data_path, 333)
    images, labels = whole(data.train, data, options.most_images, torch.device("cpu"))
    state = learn(images, labels, len(data.class_names), TaskSimilarity.epochs).state_dict()
    tasks = read_library() if LIBRARY.is_file() else {}
    tasks[options.data_name] = {"state": dict(state), "cells": cells}
    save_torch(LIBRARY, {"format": FORMAT, "tasks": tasks})
    log.info(f"{LIBRARY}: {', '.join(tasks)}")


def main(argv: Sequence[str] | None = None) -> int:
    return run(options_parser(__doc__ or "", TaskOptions), add_task, argv)


if __name__ == "__main__":
    sys.exit(main())
