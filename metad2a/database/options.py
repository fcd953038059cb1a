"""Options of building meta-training databases."""

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metad2a.core.cli import not_negative_int, positive_int, seed_number
from metad2a.core.options import option
from metad2a.spaces.ofa_mbv3.options import PUBLISHED_SUPERNET

if TYPE_CHECKING:
    import torch

MAX_SHARDS = 500  # of one command, which holds a lock on each


def shard_numbers(text: str) -> tuple[int, ...]:
    """The argparse type of `--index`: "3", "0,3" or "0-9"."""
    found = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip()) for part in text.split(",")]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard or a range of them: give for example 3, 0,3 or 0-9")
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts]
    if min(map(len, ranges)) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} has a range that ends before it begins")
    if sum(map(len, ranges)) > MAX_SHARDS:
        raise argparse.ArgumentTypeError(f"{text!r} are more than {MAX_SHARDS} shards, the most of one command")
    return tuple(sorted({number for part in ranges for number in part}))


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """Shards of the predictor's database to build."""

    search_space: str
    data_path: str
    device: "torch.device"
    use_gpus: bool = True  # of a Ray cluster
    seed: int = option(333, "each shard and task has its own, which follow from this one", type=seed_number)
    index: tuple[int, ...] = option((0,), "shards to build: 3, 0,3 or 0-9", type=shard_numbers, default_text="0")
    imgnet: str = option("", "ImageNet: a folder with a sub-folder of images a class, or such folders train and val")
    class_order: str | None = option(None, "file: lines start with a sub-folder", default_text="as in the features")
    supernet: str = option(PUBLISHED_SUPERNET, "weights of the supernet")
    num_tasks: int = option(100, "tasks of a shard, or of the generator's database (1710)", type=positive_int)
    num_arch: int = option(1, "architectures measured on each task", type=positive_int)
    num_calibration: int = option(2000, "images that calibrate batch norm", type=positive_int)
    epochs: int = option(12, "for networks trained from scratch, nasbench201", type=positive_int)
    num_workers: int = option(0, "Ray processes", type=not_negative_int, default_text="0: this process alone")
    ray_address: str | None = option(None, "a running Ray cluster that has these folders", default_text="a local one")
