"""Draw the contents of a database: tasks of random classes, each with random architectures to be measured.

Every item is drawn from its own seed, so it does not depend on how many others there are or which process draws it.
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
    """A task and the architectures to measure on it.

    Attributes:
        shard, number: where its results go; together they name the item.
        classes: positions in the list of classes.
        archs: as text.
        seed: of everything random in measuring it.
    """

    shard: int
    number: int
    classes: list[int]
    archs: list[str]
    seed: int

    def __str__(self) -> str:
        return f"task {self.number} of shard {self.shard}"


def draw_item(space: SearchSpace, num_classes: int, num_archs: int, seed: int, shard: int, number: int) -> Item:
    """The item `number` of a shard: as many of the classes as `space.task_sizes` allows, at random."""
    own = int(np.random.SeedSequence([seed, shard, number]).generate_state(1)[0])
    rng = random_generator(own)
    low, high = (min(size, num_classes) for size in space.task_sizes)
    size = int(torch.randint(low, high + 1, (), generator=rng))
    classes = torch.randperm(num_classes, generator=rng)[:size].tolist()
    archs = [space.to_text(arch) for arch in space.sample(num_archs, rng)]
    return Item(shard, number, classes, archs, own)


def name_classes(features: Features, class_order: str | None) -> tuple[list[str], list[int]]:
    """Names of the classes that tasks are made of, and the number (from 1) of each in the features of ImageNet.

    Args:
        class_order: a file of names; None for those of the features. Where the features have none (the authors'), it
            lists all classes in their order.

    Raises:
        UserError: the file is missing or not readable, or the features lack a class that it lists.
    """
    known = features.class_names
    if class_order is None:
        if all(name.isdigit() for name in known):
            raise UserError(
                f"{features.source} does not name its classes: give as --class-order a file that lists their "
                f"{len(known)} folders in the order of downsampled ImageNet."
            )
        return known, list(range(1, len(known) + 1))
    names = read_class_order(class_order)
    if all(name.isdigit() for name in known) and len(names) == len(known):
        return names, list(range(1, len(names) + 1))
    position = {name: number for number, name in enumerate(known, 1)}
    if missing := [name for name in names if name not in position]:
        raise UserError(
            f"{features.source} has no features of class {missing[0]} ({len(missing)} of {len(names)} classes are "
            "missing). Make them with: python process_dataset.py --dataset imgnet32 --image-folder DIR, or take the "
            "class out of --class-order."
        )
    return names, [position[name] for name in names]
