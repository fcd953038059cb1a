"""`process-dataset`: turn images into the features that the models read."""

from metad2a.commands.base import Command
from metad2a.data.options import ProcessOptions


def run(options: ProcessOptions) -> None:
    """Write a features file."""
    from metad2a.data.make_features import make_features

    make_features(options)


COMMAND = Command(
    "process-dataset",
    "Turn images into the features that the models read.",
    "process-dataset --dataset mine --image-folder path/to/images",
    ProcessOptions,
    run,
    writes=("data_path",),
)
