"""The MobileNetV3 generator's meta-training database where no predictor was trained: of measured ImageNet accuracies.

Tasks are classes of ImageNet, all of them and random ones, which stand for all of them. The subnets of a task are each
the best, by `metad2a.rankings.subnets`, of some measured ones within a bound on their multiply-accumulates, which is
drawn anew for each, so that good subnets of every size are learned.
"""

import math
from pathlib import Path

import torch

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.data.features import find_features, load_features
from metad2a.database.build import split_by_task
from metad2a.database.options import DatabaseOptions
from metad2a.metatrain.tuples import FEATURES_NAME, save_tuples
from metad2a.rankings import subnets as ranking
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, measured

NUM_SUBNETS = 30  # of a task
FEWEST_CLASSES = 10  # of a task


def draw_tasks(num_tasks: int, num_classes: int, rng: torch.Generator) -> list[list[int]]:
    """Class numbers from 1 of each task: all for a fifth of them, else random ones of 10 and more, log-uniformly."""
    every = list(range(1, num_classes + 1))
    whole = -(-num_tasks // 5)
    fewest = min(FEWEST_CLASSES, num_classes)
    sizes = fewest * (num_classes / fewest) ** torch.rand(num_tasks - whole, generator=rng)
    drawn = [torch.randperm(num_classes, generator=rng)[: round(size)] + 1 for size in sizes.tolist()]
    return [every] * whole + [sorted(classes.tolist()) for classes in drawn]


def choose(flops: torch.Tensor, accuracy: torch.Tensor, num_sampled: int, rng: torch.Generator) -> int:
    """Of `num_sampled` subnets within a bound, drawn from the range of their `flops` (n,), the most accurate one."""
    low, high = flops.quantile(0.01).log().item(), flops.max().log().item()
    bound = math.exp(low + (high - low) * torch.rand((), generator=rng).item())
    within = (flops <= bound).nonzero()[:, 0]
    sampled = within[torch.randperm(len(within), generator=rng)[:num_sampled]]
    return int(sampled[accuracy[sampled].argmax()])


def build(options: DatabaseOptions, space: SearchSpace, folder: Path) -> None:
    """Write `meta_train_tasks_generator.pt` and its split to `folder`.

    Raises:
        UserError: fewer tuples than a task's are wanted.
    """
    if options.num_tasks < 2 * NUM_SUBNETS:
        raise UserError(f"--num-tasks {options.num_tasks}: {2 * NUM_SUBNETS} or more are needed, {NUM_SUBNETS} a task.")
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    rng, table = random_generator(options.seed), measured()
    tasks = draw_tasks(options.num_tasks // NUM_SUBNETS, features.num_classes, rng)
    texts = list(dict.fromkeys(space.to_text(arch) for arch in table.archs))
    archs = [space.from_text(text) for text in texts]
    accuracy, _ = ranking.load().predict(archs, space.image_size)
    flops = torch.tensor([space.cost(arch, NUM_CLASSES)["flops"] for arch in archs], dtype=torch.float64)
    chosen = [choose(flops, accuracy, options.num_sampled, rng) for _ in range(len(tasks) * NUM_SUBNETS)]
    task = torch.arange(len(tasks)).repeat_interleave(NUM_SUBNETS)
    split, num_validation = split_by_task(task)
    written = save_tuples(
        "generator",
        folder,
        [texts[row] for row in chosen],
        accuracy[chosen].float(),
        task,
        split,
        tasks=tasks,
        num_validation=num_validation,
        sizes={"image_size": space.image_size, "width_mult": space.width_mult},
    )
    log.info(
        f"{written}: {len(chosen)} tuples of {len(tasks)} tasks, {len(set(chosen))} distinct architectures of "
        f"{flops[chosen].min():.0f} to {flops[chosen].max():.0f} MFLOPs; their accuracy is {ranking.PREDICTS}"
    )
