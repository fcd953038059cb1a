"""Trained networks to take away: one file with everything, and `load_network` to use it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn as nn
from annotated_types import Gt, Le

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.schema import CLOSED, Facts, Integer, Names, Number, Percent, Size, Text, check
from metad2a.core.tensors import State, check_sizes, check_state, without_memory
from metad2a.data.image_source import Gray
from metad2a.networks import backbones

if TYPE_CHECKING:
    from metad2a.data.image_data import ImageData

FORMAT = "metad2a-network-1"
MAX_IMAGE_SIZE = 4096  # side in pixels
HINT = "Train one with: python main.py train --arch STRING --data-name NAME"
Positive = Annotated[Number, Gt(0)]


@dataclass(frozen=True)
class TrainedNetwork:
    """Trained weights and what they belong to."""

    __pydantic_config__ = CLOSED

    search_space: Text
    architecture: Text
    class_names: Names  # K, in the order of the logits
    mean: tuple[Number, Number, Number]  # of each colour, for values in 0..1
    std: tuple[Positive, Positive, Positive]
    state: State  # parameters and statistics
    identity: Facts = field(default_factory=dict)  # architecture, images and protocol of the run
    seed: Integer = 0
    accuracy: dict[Text, Percent] = field(default_factory=dict)  # % on the halves x-valid and x-test of the test set
    history: Facts = field(default_factory=dict)  # command, date, versions, data
    image_size: Annotated[Size, Le(MAX_IMAGE_SIZE)] = 32  # side in pixels; files of earlier versions do not say
    gray: tuple[Number, Number, bool] | None = None  # as `metad2a.data.image_source.Gray`

    @staticmethod
    def of(network: nn.Module, space: str, data: "ImageData", **about: Any) -> "TrainedNetwork":
        """A network that was trained on `data`; `about` has architecture, image size, identity, seed, accuracy and
        history. `space` is the name of its search space, or of `metad2a.networks.backbones`."""
        state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
        looks: dict[str, Any] = {"class_names": data.class_names, "mean": data.mean, "std": data.std}
        looks["gray"] = data.gray and tuple(data.gray)
        return TrainedNetwork(search_space=space, state=state, **looks, **about)

    def save(self, path: str | Path, keep: bool = False) -> None:
        """Write the file atomically; `keep` sets an earlier one aside. Raises a UserError if it cannot be written."""
        value = {"format": FORMAT, **{name: getattr(self, name) for name in self.__dataclass_fields__}}
        save_torch(path, value, keep)

    @staticmethod
    def read(path: str | Path) -> "TrainedNetwork":
        """Read a file that `save` wrote. Raises a UserError if it is missing, damaged or something else."""
        trained = check(path, load_torch(path, HINT), TrainedNetwork, "a trained network of this program", HINT, FORMAT)
        check_sizes(path, trained.state, {"number of classes": len(trained.class_names)}, HINT)
        try:
            model = without_memory(trained.untrained)
        except UserError as error:
            raise UserError(f"{path} is damaged: {error} {HINT}") from error
        check_state(path, trained.state, model, trained.architecture, HINT)
        return trained

    def untrained(self) -> nn.Module:
        """The network of the architecture, with initial weights."""
        if self.search_space == backbones.SPACE:
            return backbones.build(self.architecture, len(self.class_names))[0]
        space = spaces.get(self.search_space)
        if not space.fixed_size:
            space = space.sized(self.image_size)
        return space.network(space.from_text(self.architecture), len(self.class_names))

    def network(self) -> nn.Module:
        """The trained network, for normalised images, on the CPU."""
        network = self.untrained()
        network.load_state_dict(self.state)
        return network


class Classifier(nn.Module):
    """A network that normalises its images itself. `class_names` are in the order of its logits."""

    def __init__(self, network: nn.Module, trained: TrainedNetwork):
        super().__init__()
        self.network, self.architecture, self.class_names = network, trained.architecture, trained.class_names
        self.image_size, self.gray = trained.image_size, trained.gray and Gray(*trained.gray)
        self.register_buffer("mean", torch.tensor(trained.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(trained.std).view(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB images (B, 3, S, S) with values 0..1 -> logits (B, K)."""
        return self.network((images - self.mean) / self.std)


def load_network(path: str | Path) -> Classifier:
    """A trained network in evaluation mode, on the CPU: RGB images (B, 3, S, S) with values 0..1 -> logits (B, K).

    It has the attributes `class_names`, `architecture` and `image_size` (S). Raises a UserError if the file is missing,
    damaged or no trained network.
    """
    trained = TrainedNetwork.read(path)
    return Classifier(trained.network(), trained).eval()
