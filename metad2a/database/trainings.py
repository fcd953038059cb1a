"""Short trainings on folders of images: what the ranking for a number of images and a length of training learns from.

A shard is one task: some classes and images of a folder, a side of the images in pixels and a length of training. Its
trainings differ in the cell. All take equally long, so a smaller cell sees more images.

Dimensions: K classes, M training images.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.data.image_data import ImageData, LabelledImages, load_image_data
from metad2a.data.options import IMAGE_SIZE
from metad2a.rankings import universal
from metad2a.spaces.base import SearchSpace
from metad2a.training.classifier import Run, accuracy, batch_of, normalized, protocol_for, rate_of, train_batches

LENGTHS = (60, 180, 60, 180, 60, 600)  # nominal seconds of the trainings of a shard, by its number
SPLIT_SEED = 333  # of the halves of the held-out images, both of which are used
CLASSES, IMAGES = (4, 20), (200, 2000)  # of a task: the fewest and the most
LARGER_SIDE, LARGER_SHARE = 48, 0.25  # share of the tasks whose images have this side instead of the benchmark's
ANCHORS = (math.inf, 60.0, 25.0)  # MFLOPs: every task has the best-ranked cell of each cost
STRATA = 4  # and a random cell of each quarter of the costs; its last training repeats an anchor with another seed
TRAININGS = len(ANCHORS) + STRATA + 1
# Nominal seconds that a training spends on an image of 32 pixels: any, and for each MFLOP
PER_IMAGE, PER_MFLOP = 0.005, 0.0001
CURVE, CURVE_IMAGES = 4, 120  # points of a curve, and held-out images that one is measured on
HELD_OUT = 400  # images that the final accuracy is measured on, at most
TRAININGS_FILE = "meta_train_ranking.csv"
COLUMNS = ("folder", "task", "class_names", "images", "held_out", "side", "length", "batch", "steps", "mflops", "seed",
           "architecture", "accuracy", "curve")  # fmt: skip


def row_of(folder: str, header: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """A training as a line of the database's CSV file, in the order of `COLUMNS`."""
    names = " ".join(header["class_names"][number - 1] for number in record["classes"])
    about = [str(record[name]) for name in COLUMNS[3:9]] + [f"{record['mflops']:.6g}", str(record["seed"])]
    curve = " ".join(f"{value:.2f}" for value in record["curve"])
    return [folder, str(header["shard"]), names, *about, record["archs"][0], f"{record['accuracy'][0]:.2f}", curve]


def seconds_of(images: float, mflops: float, side: int = IMAGE_SIZE) -> float:
    """Nominal seconds that a training spends on a number of images: what a processor core of about 2022 takes."""
    return images * (PER_IMAGE + PER_MFLOP * mflops) * (side / IMAGE_SIZE) ** 2


@dataclass(frozen=True)
class Training:
    """One training of a task."""

    shard: int
    number: int
    classes: list[int]  # K positions in the list of the folder's classes
    archs: list[str]  # the cell, as text
    seed: int  # of the weights and the batches
    draw: int  # seed that chooses the task's images
    images: int  # M, or fewer if a class of the folder has too few
    side: int
    seconds: int  # nominal length

    def __str__(self) -> str:
        return f"training {self.number} of task {self.shard}"


def draw_task(space: SearchSpace, name: str, num_classes: int, seed: int, shard: int) -> list[Training]:
    """The trainings of a task, drawn for a folder with a name and `num_classes` classes."""
    draw = zlib.crc32(f"{name} {seed} {shard}".encode())
    rng = np.random.default_rng(draw)
    K = int(rng.integers(min(CLASSES[0], num_classes), min(CLASSES[1], num_classes) + 1))
    classes = rng.permutation(num_classes)[:K].tolist()
    images = round(math.exp(rng.uniform(*map(math.log, IMAGES))))
    side = LARGER_SIDE if rng.random() < LARGER_SHARE else space.image_size
    cells = draw_cells(space, rng, shard)
    seeds = [seed] * (TRAININGS - 1) + [seed + 1]
    length = LENGTHS[shard % len(LENGTHS)]
    return [
        Training(shard, number, classes, [cell], own_seed, draw, images, side, length)
        for number, (cell, own_seed) in enumerate(zip(cells, seeds, strict=True))
    ]


def draw_cells(space: SearchSpace, rng: np.random.Generator, shard: int) -> list[str]:
    """The cells of a task: the anchors, a random cell of each quarter of the costs, and an anchor again."""
    numbers = space.cheapest_members(space.all_can_learn())
    archs = [space.all_architectures()[number] for number in numbers]
    mean = universal.load().of_classes()[0][space.classes_of_equals()[numbers]].tolist()
    rank = dict(zip(archs, mean, strict=True))
    costs = dict(zip(archs, space.costs_of_all(10)["flops"][numbers].tolist(), strict=True))
    by_cost = sorted(costs, key=lambda arch: (costs[arch], arch))
    anchors = [max((a for a in by_cost if costs[a] <= most), key=rank.__getitem__) for most in ANCHORS]
    drawn = [str(rng.choice(part)) for part in np.array_split(by_cost, STRATA)]
    return [*anchors, *drawn, anchors[shard % len(anchors)]]


class TrainingsEvaluator:
    """Trains cells on a folder's images by the protocol that `train` uses for folders."""

    def __init__(self, space: SearchSpace, options: Any):
        self.space, self.options = space, options
        self._data: dict[int, ImageData] = {}

    def data(self, side: int) -> ImageData:
        """The folder's images at a side in pixels."""
        if side not in self._data:
            o = self.options
            self._data[side] = load_image_data(o.data_name, o.imgnet, o.data_path, SPLIT_SEED, side)
        return self._data[side]

    def train(self, item: Training) -> dict[str, Any]:
        """Accuracy (%) on held-out images after the last step, and what it depends on."""
        data = self.data(item.side)
        K = len(item.classes)
        images = chosen(data.train, item.classes, item.images // K, item.draw)
        halves = (data.valid, data.test)
        held_out = LabelledImages(*(torch.cat([getattr(h, name) for h in halves]) for name in ("pixels", "labels")))
        held_out = chosen(held_out, item.classes, HELD_OUT // K, item.draw)
        M, mflops = len(images), self.space.cost(item.archs[0], K)["flops"]
        seen = item.seconds / seconds_of(1, mflops, item.side)
        batch = batch_of(M, max(1, round(seen / M)))
        steps = max(CURVE, round(seen / batch))
        protocol = protocol_for(data, epochs=math.ceil(steps * batch / M), batch_size=batch, lr=rate_of(batch))
        torch.manual_seed(item.seed)
        network = self.space.network(self.space.from_text(item.archs[0]), K).to(self.options.device)
        run = Run(network, protocol, {}, item.seed, None)  # type: ignore[arg-type]  # it saves nothing
        curve = _curve(run, images, held_out, data, steps)
        about: dict[str, Any] = {"images": M, "held_out": len(held_out), "side": item.side, "length": item.seconds}
        about |= {"batch": batch, "steps": steps, "mflops": mflops, "seed": item.seed}
        return {"accuracy": [curve[-1]], "curve": curve, **about}


def chosen(images: LabelledImages, classes: list[int], count: int, seed: int) -> LabelledImages:
    """At most `count` random images of each class, with labels 0..K-1."""
    rng = random_generator(seed)
    rows, labels = [], []
    for label, number in enumerate(classes):
        mine = (images.labels == number).nonzero()[:, 0]
        mine = mine[torch.randperm(len(mine), generator=rng)][:count]
        rows.append(mine)
        labels += [label] * len(mine)
    return LabelledImages(images.pixels[torch.cat(rows)], torch.tensor(labels))


def _curve(run: Run, images: LabelledImages, held_out: LabelledImages, data: ImageData, steps: int) -> list[float]:
    """Train for a number of steps; returns the accuracies (%) after each quarter of them. A training whose loss is not
    finite ends at chance."""
    few = held_out[torch.linspace(0, len(held_out) - 1, min(CURVE_IMAGES, len(held_out))).long()]
    per_epoch, done = math.ceil(len(images) / run.protocol.batch_size), 0
    curve: list[float] = []
    for part in range(1, CURVE + 1):
        target = steps * part // CURVE
        while done < target:
            epoch, run.position = divmod(done, per_epoch)

            def pace(number: int, epoch: int = epoch, target: int = target) -> tuple[float, float] | None:
                step = epoch * per_epoch + number
                return (step, steps) if step < target else None

            try:
                train_batches(run, images, data, epoch, pace)
            except UserError:
                return [*curve, 100 / len(held_out.labels.unique())]
            done = epoch * per_epoch + run.position
        seen = held_out if part == CURVE else few
        curve.append(accuracy(run.network, normalized(seen, data, run.device)))
    return curve
