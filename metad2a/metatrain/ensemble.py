"""Join trained predictors to one checkpoint: python -m metad2a.metatrain.ensemble A.pt B.pt TARGET.pt"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from metad2a.core.cli import write_command
from metad2a.core.errors import UserError
from metad2a.metatrain.checkpoints import Checkpoint, read_checkpoint
from metad2a.metatrain.models import build_model

HINT = "Train it first."


def join(checkpoints: list[Checkpoint], sources: list[str]) -> Checkpoint:
    """Join several predictors to one checkpoint without training states.

    Raises:
        UserError: there is only one predictor, or a checkpoint of the authors or an ensemble among them, or they differ
            in configuration, search space, features or scale of accuracies.
    """
    if len(checkpoints) < 2:
        raise UserError(f"One predictor ({sources[0]}) is no ensemble: name two or more, then the file to write.")
    first = checkpoints[0]
    for checkpoint, source in zip(checkpoints, sources, strict=True):
        if checkpoint.published:
            raise UserError(
                f"{source} is a checkpoint of the authors, which lacks the scale of its accuracies: join predictors "
                "that were trained here."
            )
        for name in ("config", "search_space", "extractor", "target"):
            if getattr(checkpoint, name) != getattr(first, name):
                raise UserError(f"{source} has another {name} than {sources[0]}: they cannot be joined.")
        config = build_model(source, checkpoint, HINT).config
        if config.members > 1:
            raise UserError(f"{source} is already an ensemble: join its members.")
    state = {f"members.{i}.{name}": t for i, c in enumerate(checkpoints) for name, t in c.state.items()}
    made_by = {f"member_{i}": str(c.history.get("command")) for i, c in enumerate(checkpoints)}
    losses = [c.metrics["validation_loss"] for c in checkpoints if "validation_loss" in c.metrics]
    # The squared error of a mean is at most the mean of the members' squared errors (Jensen)
    metrics = {"validation_loss": sum(losses) / len(losses)} if len(losses) == len(checkpoints) else {}
    config = asdict(replace(config, members=len(checkpoints)))
    return replace(first, config=config, state=state, metrics=metrics, history=first.history | made_by, training={})


def write_ensemble(args: argparse.Namespace) -> str:
    checkpoints = [read_checkpoint(source, "predictor", HINT) for source in args.sources]
    join(checkpoints, args.sources).save(args.target)
    return f"{len(checkpoints)} predictors"


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(write_ensemble, __doc__, argv, sources={"nargs": "+", "help": "checkpoints of the members"})


if __name__ == "__main__":
    sys.exit(main())
