"""Checkpoints: one file of tensors and text with everything that loading, resuming and trusting a model needs.

To ship a checkpoint, strip it of its training state and halve its precision:
python -m metad2a.metatrain.checkpoints KIND SOURCE TARGET
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
from annotated_types import Gt
from pydantic import Strict

from metad2a.core.cli import write_command
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.published_weights import plain_state
from metad2a.core.schema import CLOSED, Facts, Integer, Number, Text, check
from metad2a.core.tensors import State
from metad2a.data.extractors import PUBLISHED_EXTRACTOR
from metad2a.metatrain.options import Kind

FORMAT = "metad2a-checkpoint-1"
PUBLISHED = "published"  # the value of history["names"] if parameters have the authors' names


@dataclass
class Checkpoint:
    """A trained generator or predictor."""

    __pydantic_config__ = CLOSED

    kind: Kind
    search_space: Text  # "" in the authors' checkpoints, which do not say
    config: Facts  # fields of the model's configuration
    state: State
    extractor: Text  # identity of the image features for training
    target: dict[Text, Number] = field(default_factory=dict)  # a `Target`; empty for a generator
    epoch: Integer = 0  # finished epochs
    metrics: dict[Text, Annotated[float, Strict()]] = field(default_factory=dict)  # validation figures of that epoch
    history: Facts = field(default_factory=dict)  # command, seed, data and versions of the training
    training: dict[Text, Any] = field(default_factory=dict)  # what resuming needs; may be empty

    @property
    def published(self) -> bool:
        """True for a checkpoint of the authors, whose parameters have their names."""
        return self.history.get("names") == PUBLISHED

    def save(self, path: str | Path) -> None:
        """Write the checkpoint atomically. Raises a UserError if the file cannot be written."""
        save_torch(path, {"format": FORMAT, **vars(self)})

    def for_use(self, dtype: torch.dtype = torch.float32) -> "Checkpoint":
        """Copy the checkpoint with parameters of `dtype` and without the training state."""
        state = {name: tensor.to(dtype) for name, tensor in self.state.items()}
        return replace(self, state=state, training={})


@dataclass(frozen=True)
class Target:
    """Scale of a predictor's training accuracies (%)."""

    __pydantic_config__ = CLOSED

    mean: Number
    std: Annotated[Number, Gt(0)]


def numbered_checkpoints(folder: Path) -> dict[int, Path]:
    """The files `ckpt_<epoch>.pt` in a folder, by epoch."""
    return {int(m[1]): path for path in folder.glob("ckpt_*.pt") if (m := re.fullmatch(r"ckpt_(\d+)", path.stem))}


def read_checkpoint(path: str | Path, kind: Kind, hint: str) -> Checkpoint:
    """Read a checkpoint of this program or of the authors.

    A missing or damaged file, the other model, or an unknown format raise a UserError that ends in the sentence `hint`.
    """
    value = load_torch(path, hint)
    if isinstance(value, dict) and "format" not in value:
        return _read_published(path, value, kind, hint)
    checkpoint = check(path, value, Checkpoint, "a checkpoint", hint, FORMAT)
    if checkpoint.kind != kind:
        raise UserError(f"{path} holds a {checkpoint.kind}, but a {kind} is needed here. {hint}")
    if kind == "predictor" and not checkpoint.published:
        check(path, checkpoint.target, Target, "a checkpoint", hint)
    return checkpoint


# The parameters of a published state dict that show the sizes: (name, dimension)
PUBLISHED_SIZES = {"nz": ("fc1.weight", 0), "feature_dim": ("intra_setpool.enc.0.mab.fc_q.weight", 1)}
PUBLISHED_GRAPH_PARTS = {"generator": ("grud", "decoding_gate"), "predictor": ("grue_forward", "gate_forward")}


def _read_published(path: str | Path, state: dict[str, Any], kind: Kind, hint: str) -> Checkpoint:
    what = "a checkpoint, neither of this program nor of the authors"
    state = check(path, plain_state(state), State, what, hint)
    actual = "generator" if "grud.weight_hh" in state else "predictor"
    if actual != kind and "grue_forward.weight_hh" in state:  # both models have the latter
        raise UserError(f"{path} holds a published {actual}, but a {kind} is needed here. {hint}")
    gru, gate = PUBLISHED_GRAPH_PARTS[kind]
    sizes = PUBLISHED_SIZES | {"hs": (f"{gru}.weight_hh", 1), "num_vertex_type": (f"{gru}.weight_ih", 1)}
    sizes |= {"max_n": (f"{gate}.0.weight", 1)}
    for name, _ in sizes.values():
        if name not in state or state[name].ndim != 2:
            raise UserError(f"{path} is not {what}: it has no matrix {name!r}. {hint}")
    config = {size: state[name].shape[dim] for size, (name, dim) in sizes.items()}
    config["max_n"] -= config["hs"]  # the columns are hs + max_n
    return Checkpoint(kind, "", config, state, PUBLISHED_EXTRACTOR, history={"names": PUBLISHED})


def write_for_use(args: argparse.Namespace) -> str:
    read_checkpoint(args.source, args.kind, "Train it first.").for_use(torch.float16).save(args.target)
    return f"a {args.kind} in half precision, without its training state"


def main(argv: Sequence[str] | None = None) -> int:
    return write_command(write_for_use, __doc__, argv, kind={"choices": get_args(Kind)}, source={})


if __name__ == "__main__":
    sys.exit(main())
