"""Join trained predictors to one checkpoint: python -m metad2a.metatrain.ensemble A.pt B.pt TARGET.pt"""

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.schema import check, check_sizes, check_state, without_memory
from metad2a.metatrain.checkpoints import PUBLISHED, Checkpoint, check_target, read_checkpoint
from predictor.model import PredictorConfig, PredictorModel


def join(checkpoints: list[Checkpoint], sources: list[str]) -> Checkpoint:
    """One checkpoint of several predictors, without their training states.

    Raises:
        UserError: there is one alone, or one of the authors', or they differ in configuration, search space, features
            or scale of accuracies.
    """
    if len(checkpoints) < 2:
        raise UserError(f"One predictor ({sources[0]}) is no ensemble: name two or more, then the file to write.")
    for checkpoint, source in zip(checkpoints, sources, strict=True):
        if checkpoint.history.get("names") == PUBLISHED:
            raise UserError(
                f"{source} is a checkpoint of the authors, which keeps no scale of its accuracies: predictors that "
                "were trained here can be joined."
            )
    first = checkpoints[0]
    for name in ("config", "search_space", "extractor", "target"):
        for checkpoint, source in zip(checkpoints, sources, strict=True):
            if getattr(checkpoint, name) != getattr(first, name):
                raise UserError(f"{source} has another {name} than {sources[0]}: they cannot be joined.")
    hint = "Train it first."
    config = check(sources[0], first.config, PredictorConfig, "a predictor", hint)
    if config.members > 1:
        raise UserError(f"{sources[0]} is an ensemble already: join its members.")
    for checkpoint, source in zip(checkpoints, sources, strict=True):
        check_sizes(source, checkpoint.state, asdict(config), hint)
        model = without_memory(lambda: PredictorModel(config))
        check_state(source, checkpoint.state, model, "its configuration", hint)
    state = {f"members.{i}.{name}": t for i, c in enumerate(checkpoints) for name, t in c.state.items()}
    made_by = {f"member_{i}": str(c.history.get("command")) for i, c in enumerate(checkpoints)}
    config = asdict(replace(config, members=len(checkpoints)))
    losses = [c.metrics["validation_loss"] for c in checkpoints if "validation_loss" in c.metrics]
    # A mean's squared error is no more than the mean of the members' (Jensen)
    metrics = {"validation_loss": sum(losses) / len(losses)} if len(losses) == len(checkpoints) else {}
    return replace(first, config=config, state=state, metrics=metrics, history=first.history | made_by, training={})


def main(args: argparse.Namespace) -> None:
    check_target(args.target, args.sources, args.overwrite)
    checkpoints = [read_checkpoint(source, "predictor", "Train it first.") for source in args.sources]
    join(checkpoints, args.sources).save(args.target)
    print(f"{display_path(Path(args.target))}: {len(checkpoints)} predictors")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", help="checkpoints of the members")
    parser.add_argument("target", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), main))
