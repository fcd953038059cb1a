"""Train what the ranking by length puts first among all cells: python benchmarks/length_choices.py IMAGES

For each task of the shipped trainings the ranking learns from all other folders, chooses one of the space's cells, and
this cell is trained as the task's other cells were, with the first seed. IMAGES has a folder for each folder of the
trainings, under the same name. What the result file has for the same choice is not trained again.

Writes benchmarks/results/length_choices.json.
"""

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.pages import RESULTS
from benchmarks.script import benchmark_parser, keep_result
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import choose_device
from metad2a.core.messages import log
from metad2a.core.values import positive_int
from metad2a.data.user_folder import folder_parts
from metad2a.database.trainings import Training, draw_task, seconds_of
from metad2a.database.workers import EvaluatorOptions, measure
from metad2a.rankings.fit_length import Process, Trainings, known_cells, read_trainings

SPACE = "nasbench201"
CHOICES = RESULTS / "length_choices.json"


def first_choices(trainings: Trainings) -> list[dict[str, Any]]:
    """For each task the cell that a ranking learned from the other folders puts first, of all cells that can learn."""
    cells, space, found = known_cells(), spaces.get(SPACE), []
    archs = space.all_architectures()
    texts = [archs[number] for number in space.cheapest_members()]
    folders = np.array([row["folder"] for row in trainings.rows])
    for folder in np.unique(folders):
        process = Process(cells, trainings[folders != folder]).fit()
        for task in np.unique(trainings.task[folders == folder]):
            rows = np.flatnonzero(trainings.task == task)
            about = trainings.rows[rows[0]]
            lengths = np.log10(int(about["length"]) / seconds_of(1, cells.flops, int(about["side"])))
            score = process.predict(np.arange(len(lengths)), lengths)[0]
            choice = int(np.where(cells.learns, score, -np.inf).argmax())
            arch = texts[choice]
            same = [row for row in rows if trainings.cell[row] == choice]
            found.append(
                {"folder": str(folder), "task": int(about["task"]), "seconds": int(about["length"]), "arch": arch,
                 "mflops": float(cells.flops[choice]),
                 "accuracy": float(trainings.accuracy[same[0]]) if same else None}
            )  # fmt: skip
    return found


def training_of(choice: dict[str, Any], args: argparse.Namespace) -> tuple[EvaluatorOptions, Training]:
    """What trains a choice on its task's images."""
    images = f"{args.images}/{choice['folder']}"
    names = folder_parts(choice["folder"], images)[0].class_names
    task = draw_task(spaces.get(SPACE), choice["folder"], len(names), args.seed, choice["task"])
    device = str(choose_device(args.gpu))
    options = EvaluatorOptions(SPACE, images, tuple(names), "", 0, 0, device, choice["folder"], args.data_path)
    return options, replace(task[0], archs=[choice["arch"]], seconds=choice["seconds"])


def train_choices(args: argparse.Namespace) -> None:
    known: dict[tuple[Any, ...], float] = {}
    if args.output.exists():
        kept = json.loads(args.output.read_text(encoding="utf-8"))["result"]["choices"]
        known = {key(choice): choice["accuracy"] for choice in kept}
    choices = first_choices(read_trainings())
    for choice in choices:
        choice["accuracy"] = known.get(key(choice), choice["accuracy"])
    todo = sorted((choice for choice in choices if choice["accuracy"] is None), key=lambda choice: -choice["seconds"])
    log.info(f"{len(choices)} choices, {len(todo)} of them to be trained")

    def keep() -> None:
        keep_result(args.output, {"choices": [choice for choice in choices if choice["accuracy"] is not None]}, args)

    keep()
    with ProcessPoolExecutor(args.num_workers, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(measure, *training_of(choice, args)): choice for choice in todo}
        for future in as_completed(running):
            running[future]["accuracy"] = round(future.result()["accuracy"][0], 2)
            keep()


def key(choice: dict[str, Any]) -> tuple[Any, ...]:
    return choice["folder"], choice["task"], choice["seconds"], choice["arch"]


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, CHOICES)
    parser.add_argument("images", help="folder with the folders of images that the trainings name")
    parser.add_argument("--num-workers", type=positive_int, default=1, help="trainings at once")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), train_choices))
