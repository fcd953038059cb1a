"""`meta-train`: meta-train the generator or the predictor (MetaD2A section 3)."""

from metad2a.commands.base import Command
from metad2a.core.errors import UserError
from metad2a.metatrain.options import MetaTrainOptions


def run(options: MetaTrainOptions) -> None:
    """Meta-train a model."""
    check_vertex_types(options.search_space, options.nvt)
    from metad2a.metatrain.train import train_model

    train_model(options)


def check_vertex_types(search_space: str, nvt: int | None) -> None:
    """Raise a UserError if the published option `--nvt` is not the search space's number of vertex types."""
    from metad2a import spaces

    space = spaces.get(search_space)
    if nvt not in (None, space.num_vertex_type):
        raise UserError(f"--nvt {nvt}: {space.name} has {space.num_vertex_type} vertex types.")


COMMAND = Command(
    "meta-train",
    "Meta-train the generator or the predictor on a database of tasks and architectures.",
    "meta-train --model predictor",
    MetaTrainOptions,
    run,
)
