"""Build the MobileNetV3 generator's meta-training database from measured ImageNet accuracies, without a predictor.

A fifth of the tasks have all ImageNet classes, the others random classes. Each tuple draws a bound on multiply-
accumulates and takes the best of some measured subnets within it, according to `metad2a.rankings.subnets`. So the
generator learns good subnets of every size.
"""

import math
from pathlib import Path

import torch

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.data.feature_files import find_features
from metad2a.data.features import load_features
from metad2a.database.build import split_by_task
from metad2a.database.options import DatabaseOptions
from metad2a.metatrain.tuples import FEATURES_NAME, save_tuples
from metad2a.rankings import subnets as ranking
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.ofa_mbv3.table import NUM_CLASSES, measured

NUM_SUBNETS = 30  # per task
FEWEST_CLASSES = 10  # per task


def draw_tasks(num_tasks: int, num_classes: int, rng: torch.Generator) -> list[list[int]]:
    """Class numbers (from 1) of each task: a fifth of the tasks has all classes, the others have 10 or more."""
    every = list(range(1, num_classes + 1))
    whole = -(-num_tasks // 5)
    fewest = min(FEWEST_CLASSES, num_classes)
    sizes = fewest * (num_classes / fewest) ** torch.rand(num_tasks - whole, generator=rng)
    random = [torch.randperm(num_classes, generator=rng)[: round(size)] + 1 for size in sizes.tolist()]
    return [every] * whole + [sorted(classes.tolist()) for classes in random]


def choose(flops: torch.Tensor, accuracy: torch.Tensor, num_sampled: int, rng: torch.Generator) -> int:
    """Draw a bound within the range of `flops` (n,) and return the best of `num_sampled` random subnets below it."""
    low, high = flops.quantile(0.01).log().item(), flops.max().log().item()
    bound = math.exp(low + (high - low) * torch.rand((), generator=rng).item())
    within = (flops <= bound).nonzero()[:, 0]
    sampled = within[torch.randperm(len(within), generator=rng)[:num_sampled]]
    return int(sampled[accuracy[sampled].argmax()])


def build(options: DatabaseOptions, space: SearchSpace, folder: Path) -> None:
    """Write `meta_train_tasks_generator.pt` and its split to `folder`."""
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
    columns = [texts[row] for row in chosen], accuracy[chosen].float(), task, split
    sizes = {"image_size": space.image_size, "width_mult": space.width_mult}
    written = save_tuples("generator", folder, *columns, tasks=tasks, num_validation=num_validation, sizes=sizes)
    log.info(
        f"{written}: {len(chosen)} tuples of {len(tasks)} tasks, {len(set(chosen))} distinct architectures with "
        f"{flops[chosen].min():.0f} to {flops[chosen].max():.0f} MFLOPs; their accuracy is {ranking.PREDICTS}"
    )
