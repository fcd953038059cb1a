"""`train`: train an architecture on a dataset."""

from typing import Any

from metad2a.commands.base import Command
from metad2a.core.errors import UserError
from metad2a.networks.options import TrainOptions
from metad2a.searches.options import ALL


def run(options: TrainOptions) -> Any:
    """Train with each seed, and print and return the outcome."""
    if options.data_name == ALL:
        raise UserError("--data-name all: train takes one dataset.")
    from metad2a.networks.train_arch import train_arch

    outcome = train_arch(options)
    if outcome.text:
        print(outcome.text)
    return outcome


COMMAND = Command(
    "train",
    "Train an architecture on a dataset by the benchmark's protocol, and report its test accuracy.",
    "train --arch results/search/photos/001 --data-name photos --image-folder photos --epochs 20",
    TrainOptions,
    run,
)
