"""Draw the contents of a database: tasks with random classes and random architectures to measure.

Every item has its own seed, so it depends neither on other items nor on the process that draws it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.data.features import Features
from metad2a.data.image_source import read_class_order
from metad2a.spaces.base import SearchSpace


@dataclass(frozen=True)
class Item:
    """A task and the architectures to measure on it."""

    shard: int
    number: int
    classes: list[int]  # positions in the list of classes
    archs: list[str]  # as text
    seed: int  # for everything random in the measurement

    def __str__(self) -> str:
        return f"task {self.number} of shard {self.shard}"


def draw_item(space: SearchSpace, num_classes: int, num_archs: int, seed: int, shard: int, number: int) -> Item:
    """Draw the item `number` of a shard; `space.task_sizes` limits its number of classes."""
    item_seed = int(np.random.SeedSequence([seed, shard, number]).generate_state(1)[0])
    rng = random_generator(item_seed)
    low, high = (min(size, num_classes) for size in space.task_sizes)
    size = int(torch.randint(low, high + 1, (), generator=rng))
    classes = torch.randperm(num_classes, generator=rng)[:size].tolist()
    archs = [space.to_text(arch) for arch in space.sample(num_archs, rng)]
    return Item(shard, number, classes, archs, item_seed)


def name_classes(features: Features, class_order: str | None) -> tuple[list[str], list[int]]:
    """Names of the classes for tasks, and their numbers (from 1) in the features of ImageNet.

    The file `class_order` lists some classes. For the authors' features, which lack names, it must list all in order.
    """
    names, every = features.class_names, list(range(1, len(features.class_names) + 1))
    nameless = all(name.isdigit() for name in names)
    if class_order is None:
        if nameless:
            raise UserError(
                f"{features.source} does not name its classes: give as --class-order a file that lists their "
                f"{len(names)} folders in the order of downsampled ImageNet."
            )
        return names, every
    position = dict(zip(names, every, strict=True))
    names = read_class_order(class_order, names)
    if nameless and len(names) == len(every):
        return names, every
    if missing := [name for name in names if name not in position]:
        raise UserError(
            f"{features.source} has no features of class {missing[0]} ({len(missing)} of {len(names)} classes are "
            "missing). Make them with: python process_dataset.py --dataset imgnet32 --image-folder DIR, or take the "
            "class out of --class-order."
        )
    return names, [position[name] for name in names]
