"""Does what the images show say more? python benchmarks/length_sets.py IMAGES

Makes what `benchmarks/length.py` needs to answer: for each task of the shipped trainings the set vector of its images,
and for each training the graph vector and the score of its cell, by the shipped predictor. IMAGES has a folder for each
folder of the trainings, under the same name. Features of the images are made in --data-path.

Writes benchmarks/results/length_vectors.json.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import nn

from benchmarks.pages import RESULTS
from benchmarks.script import benchmark_parser, keep_result
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.environment import random_generator
from metad2a.data.features import Features, draw_images, load_features
from metad2a.data.make_features import make_features
from metad2a.data.options import ProcessOptions
from metad2a.metatrain.models import find_checkpoint, load_model
from metad2a.metatrain.score import encode_architectures
from metad2a.rankings.fit_length import Process, Trainings, known_cells, read_trainings
from set_encoder.encoder import SharedImages

DRAWS, SAMPLE, PER_CLASS = 10, 20, 20  # draws of a task, images of a class in a draw, images with features
VECTORS = RESULTS / "length_vectors.json"
WIDTH, EPOCHS, SEEDS = 64, 300, 5  # of the predictor's head with the length as an input, and its trainings


def features_of(folder: str, args: argparse.Namespace) -> Features:
    """Features of a folder's training images."""
    how = ProcessOptions(
        folder,
        f"{args.images}/{folder}",
        data_path=args.data_path,
        extractor="efficientnet_lite0",
        gpu=args.gpu or "cpu",
        max_per_class=PER_CLASS,
        seed=args.seed,
    )
    return load_features(how.target if how.target.exists() else make_features(how), folder)


@torch.inference_mode()
def make_vectors(args: argparse.Namespace) -> None:
    space, trainings, device = spaces.get("nasbench201"), read_trainings(), torch.device("cpu")
    model, _ = load_model("predictor", space, find_checkpoint("predictor", space, "", None, "shipped"), device)
    graphs = encode_architectures(model, space, [row["architecture"] for row in trainings.rows])
    sets, features = {}, {}
    scores = np.zeros(len(trainings))
    for number in np.unique(trainings.task):
        rows = np.flatnonzero(trainings.task == number)
        about = trainings.rows[rows[0]]
        folder = about["folder"]
        features[folder] = features.get(folder) or features_of(folder, args)
        found = features[folder]
        classes = torch.tensor([found.class_names.index(name) for name in about["class_names"].split()])
        index = draw_images(found, classes.expand(DRAWS, -1), SAMPLE, random_generator(args.seed))
        images = SharedImages(found.images.float(), index)
        vector = model.encode_set(images)  # (R, Z)
        sets[f"{folder} {about['task']}"] = vector.mean(0).tolist()
        scores[rows] = model.predict_all(vector, graphs[rows]).mean(0).numpy()
    result = {"sets": sets, "graphs": graphs.tolist(), "scores": scores.tolist()}
    keep_result(args.output, rounded(result), args)


def rounded(value: Any) -> Any:
    """Numbers with four digits, which is all that a comparison needs."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else float(f"{value:.4g}")


@cache
def vectors() -> dict[str, Any]:
    return json.loads(VECTORS.read_text(encoding="utf-8"))["result"]


def set_vectors(trainings: Trainings) -> np.ndarray:
    """Set vectors (n, Z) of the trainings' tasks."""
    return np.array([vectors()["sets"][f"{row['folder']} {row['task']}"] for row in trainings.rows])


class WithSets(Process):
    """The process whose weights of cost and shape also depend on the set vector: tasks with alike images share them."""

    def __init__(self, trainings: Trainings, wanted: Trainings):
        self.sets = set_vectors(trainings), set_vectors(wanted)
        apart = ((self.sets[0][:, None] - self.sets[0]) ** 2).sum(-1)
        self.width = float(np.median(apart[apart > 0]))
        self.learning = True
        super().__init__(known_cells(), trainings)

    def _parts(self, here: tuple[np.ndarray, ...], there: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        parts = super()._parts(here, there)
        a, b = (self.sets[0], self.sets[0] if self.learning else self.sets[1])
        alike = np.exp(-((a[:, None] - b) ** 2).sum(-1) / self.width)
        return parts | {"features": parts["features"] * (1 + alike) / 2}


def with_sets(known: Trainings, wanted: Trainings) -> np.ndarray:
    process = WithSets(known, wanted).fit()
    process.learning = False
    return process.predict(wanted.cell, wanted.length)[0]


def inputs(trainings: Trainings) -> torch.Tensor:
    """What the predictor's head sees: set vector, graph vector, its own score, steps, images and side."""
    numbers = [trainings_number(row) for row in trainings.rows]
    found = vectors()
    about = [
        [np.log10(int(row["steps"])), np.log10(int(row["images"])), int(row["side"]) / 32] for row in trainings.rows
    ]
    columns = [set_vectors(trainings), [found["graphs"][n] for n in numbers], [[found["scores"][n]] for n in numbers]]
    return torch.tensor(np.hstack([*columns, about]), dtype=torch.float32)


def trainings_number(row: dict[str, str]) -> int:
    """The place of a training in the shipped file."""
    return _places()[tuple(row.values())]


@cache
def _places() -> dict[tuple[str, ...], int]:
    return {tuple(row.values()): number for number, row in enumerate(read_trainings().rows)}


def with_predictor(known: Trainings, wanted: Trainings) -> np.ndarray:
    """MetaD2A's predictor with steps, images and side as further inputs of its head, which learns the differences
    within tasks; the mean of several trainings."""
    x, new = inputs(known), inputs(wanted)
    mean, spread = x.mean(0), x.std(0) + 1e-3
    x, new = (x - mean) / spread, (new - mean) / spread
    task = torch.from_numpy(known.task).unique(return_inverse=True)[1]
    same = torch.nn.functional.one_hot(task).float()
    same = same / same.sum(0)

    def centred(values: torch.Tensor) -> torch.Tensor:
        return values - (same.T @ values)[task]

    target = centred(torch.from_numpy(known.accuracy).float()) / 10
    scores = torch.zeros(len(new))
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        head = nn.Sequential(nn.Linear(x.shape[1], WIDTH), nn.Tanh(), nn.Dropout(0.2), nn.Linear(WIDTH, 1))
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
        for _ in range(EPOCHS):
            loss = (centred(head(x)[:, 0]) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            scores += head.eval()(new)[:, 0]
    return scores.numpy()


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, VECTORS)
    parser.add_argument("images", help="folder with the folders of images that the trainings name")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), make_vectors))
