"""Checkpoints: everything that loading, resuming and trusting a model needs, in one file of tensors and text."""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from engine.errors import UserError
from engine.files import load_torch, save_torch

FORMAT = "metad2a-checkpoint-1"


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

    kind: str
    search_space: str
    config: dict[str, int]
    state: dict[str, torch.Tensor]
    extractor: str
    target: dict[str, float] = field(default_factory=dict)
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint atomically.

        Raises:
            UserError: the file cannot be written.
        """
        save_torch(path, {"format": FORMAT, **{name: getattr(self, name) for name in self.__dataclass_fields__}})

    def for_use(self, dtype: torch.dtype = torch.float32) -> "Checkpoint":
        """A copy without the training state and with parameters of `dtype`, to be shipped."""
        state = {name: tensor.to(dtype) for name, tensor in self.state.items()}
        return replace(self, state=state, training={})


def read_checkpoint(path: str | Path, kind: str, mend: str) -> Checkpoint:
    """Read a checkpoint of ours or of the authors'.

    Args:
        kind: the model wanted, "generator" or "predictor".
        mend: what to do when the file is missing or damaged, a sentence.

    Raises:
        UserError: the file is missing, damaged, of the other model or of an unknown format.
    """
    value = load_torch(path, mend)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a checkpoint. {mend}")
    if "format" not in value:
        return _read_published(path, value, kind, mend)
    if value["format"] != FORMAT:
        raise UserError(f"{path} has the format {value['format']!r}, this version reads {FORMAT!r}. {mend}")
    if missing := set(Checkpoint.__dataclass_fields__) - set(value):
        raise UserError(f"{path} is damaged: it lacks {sorted(missing)[0]!r}. {mend}")
    checkpoint = Checkpoint(**{name: value[name] for name in Checkpoint.__dataclass_fields__})
    if checkpoint.kind != kind:
        raise UserError(f"{path} holds a {checkpoint.kind}, but a {kind} is needed here. {mend}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in checkpoint.state.values()):
        raise UserError(f"{path} holds parameters that are not finite. {mend}")
    return checkpoint


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
PUBLISHED_EXTRACTOR = "resnet18-32px"
PUBLISHED = "published"  # the value of history["names"] for parameters under the authors' names


def _read_published(path: str | Path, state: dict[str, Any], kind: str, mend: str) -> Checkpoint:
    sizes = PUBLISHED_SIZES[kind]
    other = "predictor" if kind == "generator" else "generator"
    is_generator = "grud.weight_hh" in state
    if "grue_forward.weight_hh" not in state or not all(torch.is_tensor(t) for t in state.values()):
        raise UserError(f"{path} is neither a checkpoint of this program nor one of the authors'. {mend}")
    if is_generator != (kind == "generator"):
        raise UserError(f"{path} holds a published {other}, but a {kind} is needed here. {mend}")
    config = {size: state[name].shape[dim] for size, (name, dim) in sizes.items()}
    config["max_n"] = state[PUBLISHED_MESSAGE[kind]].shape[1] - config["hs"]
    config["feature_dim"] = state["intra_setpool.enc.0.mab.fc_q.weight"].shape[1]
    return Checkpoint(kind, "", config, state, PUBLISHED_EXTRACTOR, history={"names": PUBLISHED})


def main() -> None:
    """Strip a checkpoint of its training state and halve its precision, to be shipped."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=["generator", "predictor"])
    parser.add_argument("source")
    parser.add_argument("target")
    args = parser.parse_args()
    read_checkpoint(args.source, args.kind, "Train it first.").for_use(torch.float16).save(args.target)


if __name__ == "__main__":
    main()
