"""Checkpoints: everything that loading, resuming and trusting a model needs, in one file of tensors and text."""

import argparse
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
from annotated_types import Gt
from pydantic import Strict

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.schema import CLOSED, Facts, Integer, Number, State, Text, check, describe
from metad2a.data.extractors import PUBLISHED_EXTRACTOR
from metad2a.metatrain.options import Kind

FORMAT = "metad2a-checkpoint-1"
WHAT = "a checkpoint"


@dataclass
class Checkpoint:
    """A trained generator or predictor.

    Attributes:
        kind: "generator" or "predictor".
        search_space: name of the search space.
        config: fields of the model's configuration.
        state: the model's parameters.
        extractor: identity of the image features it was trained on.
        target: mean and standard deviation of the accuracies (%) the predictor was trained on.
        epoch: finished epochs.
        metrics: validation figures of that epoch.
        history: command, seed, data and versions that made it.
        training: optimiser, scheduler and random state, for resuming; empty in a model for use alone.
    """

    __pydantic_config__ = CLOSED

    kind: Kind
    search_space: Text
    config: Facts
    state: State
    extractor: Text
    target: dict[Text, Number] = field(default_factory=dict)
    epoch: Integer = 0
    metrics: dict[Text, Annotated[float, Strict()]] = field(default_factory=dict)
    history: Facts = field(default_factory=dict)
    training: dict[Text, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint atomically. Raises a UserError when the file cannot be written."""
        save_torch(path, {"format": FORMAT, **{name: getattr(self, name) for name in self.__dataclass_fields__}})

    def for_use(self, dtype: torch.dtype = torch.float32) -> "Checkpoint":
        """A copy without the training state and with parameters of `dtype`, to be shipped."""
        state = {name: tensor.to(dtype) for name, tensor in self.state.items()}
        return replace(self, state=state, training={})


def numbered_checkpoints(folder: Path) -> dict[int, Path]:
    """The files of a folder that are of one epoch, `ckpt_<epoch>.pt`."""
    return {int(m[1]): path for path in folder.glob("ckpt_*.pt") if (m := re.fullmatch(r"ckpt_(\d+)", path.stem))}


def read_checkpoint(path: str | Path, kind: Kind, hint: str) -> Checkpoint:
    """Read a checkpoint of ours or of the authors'.

    Args:
        kind: the model wanted, "generator" or "predictor".
        hint: what to do when the file is missing or damaged, a sentence.

    Raises:
        UserError: the file is missing, damaged, of the other model or of an unknown format.
    """
    value = load_torch(path, hint)
    if isinstance(value, dict) and "format" not in value:
        return _read_published(path, value, kind, hint)
    checkpoint = check(path, value, Checkpoint, WHAT, hint, FORMAT)
    if checkpoint.kind != kind:
        raise UserError(f"{path} holds a {checkpoint.kind}, but a {kind} is needed here. {hint}")
    if kind == "predictor" and checkpoint.history.get("names") != PUBLISHED:
        check(path, checkpoint.target, Target, WHAT, hint)
    return checkpoint


@dataclass(frozen=True)
class Target:
    """Scale of the accuracies (%) that a predictor was trained on."""

    __pydantic_config__ = CLOSED

    mean: Number
    std: Annotated[Number, Gt(0)]


# Sizes of a published state dict: (name of a parameter, its dimension).
PUBLISHED_SIZES = {
    "generator": {"hs": ("grud.weight_hh", 1), "nz": ("fc1.weight", 0), "num_vertex_type": ("grud.weight_ih", 1)},
    "predictor": {
        "hs": ("grue_forward.weight_hh", 1),
        "nz": ("fc1.weight", 0),
        "num_vertex_type": ("grue_forward.weight_ih", 1),
    },
}
PUBLISHED_MESSAGE = {"generator": "decoding_gate.0.weight", "predictor": "gate_forward.0.weight"}
PUBLISHED_FEATURES = "intra_setpool.enc.0.mab.fc_q.weight"
PUBLISHED = "published"  # the value of history["names"] for parameters under the authors' names


def _read_published(path: str | Path, state: dict[str, Any], kind: Kind, hint: str) -> Checkpoint:
    what = "a checkpoint, neither of this program nor of the authors"
    state = check(path, state, State, what, hint)
    sizes = {**PUBLISHED_SIZES[kind], "max_n": (PUBLISHED_MESSAGE[kind], 1), "feature_dim": (PUBLISHED_FEATURES, 1)}
    if ("grud.weight_hh" in state) != (kind == "generator") and "grue_forward.weight_hh" in state:
        other = "predictor" if kind == "generator" else "generator"
        raise UserError(f"{path} holds a published {other}, but a {kind} is needed here. {hint}")
    for name, _ in sizes.values():
        if name not in state:
            raise UserError(f"{path} is not {what}: it lacks {name!r}. {hint}")
        if state[name].ndim != 2:
            raise UserError(f"{path}: {name} is {describe(state[name])}, but should have two dimensions. {hint}")
    config = {size: state[name].shape[dim] for size, (name, dim) in sizes.items()}
    config["max_n"] -= config["hs"]
    return Checkpoint(kind, "", config, state, PUBLISHED_EXTRACTOR, history={"names": PUBLISHED})


def check_target(target: str, sources: list[str], overwrite: bool) -> None:
    """Check that a command may write the file `target`.

    Raises:
        UserError: it is one of its sources, or is there already.
    """
    if any(Path(target).resolve() == Path(source).resolve() for source in sources):
        raise UserError(f"{target} is what is read: give another file to write.")
    if Path(target).exists() and not overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it.")


def target_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of a command that writes one file, `target`, and nothing over it without --overwrite."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")
    return parser


def main(args: argparse.Namespace) -> None:
    check_target(args.target, [args.source], args.overwrite)
    read_checkpoint(args.source, args.kind, "Train it first.").for_use(torch.float16).save(args.target)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Strip a checkpoint of its training state and halve its precision, to be shipped."
    )
    parser.add_argument("kind", choices=get_args(Kind))
    parser.add_argument("source")
    parser.add_argument("target", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), main))
