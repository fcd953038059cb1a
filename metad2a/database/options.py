"""Options of building meta-training databases."""

import argparse
import re
from dataclasses import MISSING, dataclass
from typing import ClassVar

from metad2a.core.options import CommonOptions, ModelSizes, Rule, option
from metad2a.core.values import not_negative_int, path, positive_int, safe_name, seed_number
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET

MAX_SHARDS = 500  # of one command, which holds a lock on each
KINDS = ("generator", "predictor", "ranking")
OF_GENERATOR = ("num_sampled", "num_draws", "num_sample", "load_epoch", "predictor_checkpoint", "hs", "nz")
MEASURED = ("index", "imgnet", "num_workers", "ray_address")  # of the predictor and of the ranking
OF_PREDICTOR = ("class_order", "supernet", "num_arch", "num_calibration", "epochs")


def shard_numbers(text: str) -> tuple[int, ...]:
    """The argparse type of `--index`: "3", "0,3" or "0-9"."""
    matches = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip()) for part in text.split(",")]
    parts = [part for part in matches if part is not None]
    if len(parts) < len(matches):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard or range of shards: give for example 3, 0,3 or 0-9")
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts]
    if min(map(len, ranges)) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} has a range that ends before it begins")
    if sum(map(len, ranges)) > MAX_SHARDS:
        raise argparse.ArgumentTypeError(f"{text!r} names more than {MAX_SHARDS} shards, the most for one command")
    return tuple(sorted({number for part in ranges for number in part}))


@dataclass(frozen=True, kw_only=True)
class DatabaseOptions(CommonOptions, ModelSizes):
    """`build-database`: tasks with measured architectures (predictor), or with the predictor's best (generator)."""

    model: str = option(MISSING, "Whose database: generator or predictor.", "--model-name", choices=KINDS)
    num_tasks: int = option(
        0, "Tasks of a shard (default 100), or of the generator's database (default 1710).", type=positive_int
    )
    seed: int = option(333, "Seed of everything random; each shard and task derives its own.", type=seed_number)
    overwrite: bool = option(False, "Replace an earlier database.")
    collect: bool = option(False, "Merge the shards into the predictor's database.")
    index: tuple[int, ...] = option((0,), "Shards to build: 3, 0,3 or 0-9.", type=shard_numbers, default_text="0")
    imgnet: str = option(
        "", "ImageNet: a sub-folder of images for each class, or such folders train and val.", type=path
    )
    class_order: str | None = option(
        None, "File whose lines start with a sub-folder (default: as in the features).", type=path
    )
    data_name: str = option("", "Ranking: a name for the folder of images to train on (--imgnet).", type=safe_name)
    supernet: str = option(PUBLISHED_SUPERNET, "Weights of the supernet.", type=path)
    num_arch: int = option(1, "Architectures to measure on each task.", type=positive_int)
    num_calibration: int = option(2000, "Images that calibrate batch norm.", type=positive_int)
    epochs: int = option(12, "NAS-Bench-201: epochs of each network.", type=positive_int)
    num_workers: int = option(0, "Ray processes; 0 measures in this process.", type=not_negative_int, default_text="0")
    ray_address: str | None = option(
        None, "Use this running Ray cluster, which has these folders (default: start a local one)."
    )
    num_sampled: int = option(100, "Architectures to score for each task.", type=positive_int)
    num_draws: int = option(10, "Average scores over N draws of a task.", type=positive_int)
    num_sample: int = option(20, "Images of each class in a draw.", type=positive_int)
    load_epoch: int | None = option(
        None, "Load the predictor's ckpt_<epoch>.pt (default: the best).", type=positive_int
    )
    predictor_checkpoint: str | None = option(None, "Load the predictor from this file, or `shipped`.", type=path)

    groups: ClassVar = {
        "predictor and ranking": ("collect", *MEASURED),
        "predictor": OF_PREDICTOR,
        "ranking": ("data_name",),
        "generator": OF_GENERATOR,
    }
    rules: ClassVar = (
        Rule(OF_GENERATOR, lambda o: o.model == "generator", "belongs to --model generator: leave it out"),
        Rule(OF_PREDICTOR, lambda o: o.model == "predictor", "belongs to --model predictor: leave it out"),
        Rule(MEASURED, lambda o: o.model != "generator", "does nothing with --model generator: leave it out"),
        Rule(("data_name",), lambda o: o.model == "ranking", "belongs to --model ranking: leave it out"),
        Rule(
            ("num_tasks", "seed", *MEASURED, *OF_PREDICTOR),
            lambda o: not o.collect or o.model == "generator",
            "does nothing with --collect: leave it out",
        ),
    )
