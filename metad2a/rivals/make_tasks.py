"""Add a task to the library of `metad2a.rivals.fisher`.

python -m metad2a.rivals.make_tasks --data-name cifar10 --image-folder DIR
python -m metad2a.rivals.make_tasks --data-name gtsrb --image-folder DIR --cells FOLDER

Its best cells come from the benchmark's table, or from the folder of a comparison on its images.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import save_torch
from metad2a.core.messages import log
from metad2a.core.values import path, positive_int, safe_name
from metad2a.data.image_data import load_image_data
from metad2a.rivals.fisher import FORMAT, LIBRARY, TaskSimilarity, learn, read_library, shuffled
from metad2a.rivals.real import SEARCH, read_record

LENT = 10


def best_cells(options: argparse.Namespace) -> list[str]:
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


def add_task(options: argparse.Namespace) -> None:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-name", default="cifar10", type=safe_name, help="dataset (default cifar10)")
    parser.add_argument("--image-folder", type=path, help="folder of images, a sub-folder for each class")
    parser.add_argument("--data-path", default="data", type=path, help="folder of official files (default data)")
    parser.add_argument("--cells", type=path, help="`evaluations` of a comparison (default: the table's best cells)")
    parser.add_argument("--most-images", default=5000, type=positive_int, help="images to learn from (default 5000)")
    return run(parser, add_task, argv)


if __name__ == "__main__":
    sys.exit(main())
