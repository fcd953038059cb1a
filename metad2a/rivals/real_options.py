"""Options of a comparison on images."""

import argparse
from dataclasses import dataclass

from metad2a.core.cli import positive_int
from metad2a.core.options import MirrorOption, option
from metad2a.rivals.options import CompareOptions


def rising(text: str) -> tuple[int, ...]:
    """The argparse type of numbers of epochs, each greater than the one before it."""
    values = tuple(positive_int(part) for part in text.split(","))
    if list(values) != sorted(set(values)):
        raise argparse.ArgumentTypeError(f"takes numbers that rise, for example 1,3,9, not {text!r}")
    return values


@dataclass(frozen=True, kw_only=True)
class RealOptions(CompareOptions, MirrorOption):
    """What is trained in a comparison on images."""

    num_seeds: int = 1
    image_folder: str | None = option(None, "its images, one sub-folder a class")
    search_epochs: tuple[int, ...] = option(
        (4, 12),
        "of --form real: of a network in a search, the fewest first, which most methods use",
        type=rising,
        default_text="4,12",
    )
    epochs: int = option(200, "of the networks that were chosen", type=positive_int)
    channels: int = option(16, "of --form real: C, channels of nasbench201's first stage", type=positive_int)
    cells: int = option(5, "of --form real: N, cells of each of nasbench201's stages", type=positive_int)
    max_per_class: int | None = option(
        None, "of --form real: at most so many training images of a class", type=positive_int
    )
    batch_size: int = option(256, "images of a batch", type=positive_int)
    ray_address: str | None = option(
        None, "of --form real: of a running Ray cluster that has this folder", default_text="start a local one"
    )
    resume: bool = option(False, "continue an interrupted run; what is finished is kept")
    overwrite: bool = option(False, "replace what an earlier run left")
