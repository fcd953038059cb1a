"""Trained networks that can be taken away: one file with everything, and `load_network` to use it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

import search_spaces
from engine.errors import UserError
from engine.files import load_torch, save_torch

FORMAT = "metad2a-network-1"
MEND = "Train one with: python main.py --model train_arch --arch STRING --data-name NAME"


@dataclass(frozen=True)
class TrainedNetwork:
    """Trained weights and what they belong to.

    Attributes:
        search_space: name of the search space.
        architecture: its text.
        class_names: K names, in the order of the logits.
        image_size: S, side in pixels of the images it was trained on.
        mean, std: of each colour, for values in 0..1.
        state: the network's parameters and statistics.
        identity: architecture, images and protocol of the run, see `train_arch.Identity`.
        seed: of the run.
        accuracy: % on the halves `x-valid` and `x-test` of the test set.
        history: command, date, versions, data.
    """

    search_space: str
    architecture: str
    class_names: list[str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    state: dict[str, torch.Tensor]
    identity: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    image_size: int = 32

    def save(self, path: str | Path) -> None:
        """Write the file atomically.

        Raises:
            UserError: it cannot be written.
        """
        save_torch(path, {"format": FORMAT, **{name: getattr(self, name) for name in self.__dataclass_fields__}})

    @staticmethod
    def read(path: str | Path) -> "TrainedNetwork":
        """Read a file that `save` wrote.

        Raises:
            UserError: the file is missing, damaged or something else.
        """
        value = load_torch(path, MEND)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UserError(f"{path} is not a trained network of this program. {MEND}")
        value = {"image_size": 32, **value}  # files of earlier versions do not say
        if missing := set(TrainedNetwork.__dataclass_fields__) - set(value):
            raise UserError(f"{path} is damaged: it lacks {min(missing)!r}. {MEND}")
        return TrainedNetwork(**{name: value[name] for name in TrainedNetwork.__dataclass_fields__})


class Classifier(nn.Module):
    """A network that normalises its images itself.

    Attributes:
        architecture: text of the architecture.
        class_names: in the order of the logits.
        image_size: S, side in pixels of the images.
    """

    def __init__(self, network: nn.Module, trained: TrainedNetwork):
        super().__init__()
        self.network, self.architecture, self.class_names = network, trained.architecture, trained.class_names
        self.image_size = trained.image_size
        self.register_buffer("mean", torch.tensor(trained.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(trained.std).view(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB images (B, 3, S, S) with values 0..1 -> logits (B, K)."""
        return self.network((images - self.mean) / self.std)


def load_network(path: str | Path) -> Classifier:
    """A trained network in evaluation mode, on the CPU.

    It takes RGB images (B, 3, S, S) with values 0..1 and returns logits (B, K); `class_names`, `architecture` and
    `image_size`, S, are among its attributes.

    Raises:
        UserError: the file is missing, damaged or no trained network.
    """
    trained = TrainedNetwork.read(path)
    space = search_spaces.get(trained.search_space).sized(trained.image_size)
    network = space.network(space.from_text(trained.architecture), len(trained.class_names))
    try:
        network.load_state_dict(trained.state)
    except RuntimeError as error:
        raise UserError(f"{path} is damaged: its weights are not those of {trained.architecture}. {MEND}") from error
    return Classifier(network, trained).eval()
