"""The interface of search spaces."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError

if TYPE_CHECKING:  # a search that only reads tables starts without PyTorch
    import torch
    import torch.nn as nn

    from metad2a.graphs.batch import GraphBatch

COST_UNITS = {"flops": "MFLOPs", "params": "M parameters"}  # the figures of `SearchSpace.cost`
DEVICE_LATENCY = "device_latency"  # the figure of `SearchSpace.device_latency`, in milliseconds


def random_parts(count: int, parts: int) -> "list[torch.Tensor]":
    """Divide the numbers below `count` at random into equal parts, always the same ones."""
    import torch

    return list(torch.randperm(count, generator=random_generator(0)).chunk(parts))


class SearchSpace(ABC):
    """A set of architectures, which are strings or dicts, and its translation to graphs and text.

    A method that a space does not define raises a UserError, or answers that nothing is known.
    """

    name: str  # as given to `--search-space`
    max_n: int  # N, vertices of a graph
    num_vertex_type: int  # T, vertex types
    size: int  # number of encodings
    results_folder: str  # below `--save-path`; the checkpoints of the two published spaces have the same names
    published_epoch: int  # of the authors' generator checkpoint
    image_size: int  # side of the images in pixels, for networks, costs and latency; see `sized`
    width_mult: float = 1.0  # channels of networks and costs, relative to the space's default
    task_sizes: tuple[int, int]  # fewest and most classes of a task when a database is built
    ranks_when_generating: bool = False  # the published meta-test is one step, with a folder for each --num-gen-arch
    fixed_size: bool = True  # `image_size` and `width_mult` cannot change
    # Whether a ranking that is the same for every dataset is shipped: `metad2a.rankings.universal` if the space can be
    # listed, otherwise `metad2a.rankings.subnets`
    ranking_shipped: bool = False
    tuples_shipped: bool  # meta-training tuples of this space are shipped
    # Benchmark dataset -> number of its classes, which are the first classes of the meta-training images
    benchmark_classes: Mapping[str, int] = MappingProxyType({})
    adds_up: bool = False  # a predictor of this space by default includes a regression on the vertices
    gene_choices: tuple[int, ...] = ()  # number of values of each gene, for `metad2a.rivals`; empty without genes

    def sized(self, image_size: int | None = None, width_mult: float | None = None) -> "SearchSpace":
        """This space with networks and costs for images of another side or with another width; None changes nothing.
        Raises a UserError if networks of this space have a fixed size, or no network can have this size."""
        sizes = {"image_size": image_size, "width_mult": width_mult}
        changed = {name: value for name, value in sizes.items() if value not in (None, getattr(self, name))}
        if not changed:
            return self
        from metad2a.core.schema import check
        from metad2a.spaces.sizes import Sizes

        check("This size", changed, Sizes, "a size that networks can have", "Give another --image-size")
        if self.fixed_size:
            raise UserError(f"Networks of {self.name} take only images of {self.image_size}x{self.image_size} pixels.")
        space = copy.copy(self)
        vars(space).update(changed)
        return space

    @property
    def size_text(self) -> str:
        """`image_size` and `width_mult` in words."""
        width = f" at width {self.width_mult:g}" if self.width_mult != 1 else ""
        return f"{self.image_size}x{self.image_size} images{width}"

    def supernet_sizes(self, supernet: str) -> dict[str, float]:
        """`image_size` and `width_mult` of the supernet that measures a database; empty if the space has none."""
        return {}

    @abstractmethod
    def encode(self, archs: list[Any]) -> "GraphBatch":
        """Architectures to graphs, in canonical form. Raises a UserError if one does not belong to this space."""

    @abstractmethod
    def valid(self, graphs: "GraphBatch") -> "torch.Tensor":
        """(B,) bool: which graphs are architectures of this space."""

    @abstractmethod
    def decode(self, graphs: "GraphBatch") -> list[Any]:
        """Graphs to architectures, None for an invalid graph."""

    @abstractmethod
    def sample(self, n: int, rng: "torch.Generator") -> list[Any]:
        """Draw `n` architectures, independently and evenly."""

    @property
    def architectures(self) -> list[Any] | None:
        """All A architectures, or None if they are too many to list."""
        return None

    def all_architectures(self) -> list[Any]:
        """`architectures`. Raises a UserError if they are too many to list."""
        if self.architectures is None:
            raise UserError(
                f"{self.name} has about 10^{len(str(self.size)) - 1} architectures and cannot be ranked whole."
            )
        return self.architectures

    def classes_of_equals(self) -> np.ndarray:
        """(A,) int64: the class of each architecture, numbered in the order of their first members. Members of a class
        compute the same function. By default each architecture is a class."""
        return np.arange(len(self.all_architectures()))

    def cheapest_members(self, allowed: np.ndarray | None = None) -> list[int]:
        """The number of the architecture with the fewest parameters in each class, the first if several have as few,
        among the `allowed` architectures, (A,) bool, or all. Classes without any are left out."""
        classes = self.classes_of_equals()
        numbers = np.arange(len(classes)) if allowed is None else np.flatnonzero(allowed)
        order = numbers[np.argsort(self._params[numbers], kind="stable")]
        order = order[np.argsort(classes[order], kind="stable")]
        return order[np.diff(classes[order], prepend=-1) > 0].tolist()

    @cached_property
    def _params(self) -> np.ndarray:
        """(A,) float64: parameters of each architecture for some number of classes, which does not change their order;
        0 if the space does not know them."""
        return self.costs_of_all(10).get("params", np.zeros(len(self.all_architectures())))

    def can_learn(self, arch: Any) -> bool:
        """Whether images reach the output of an architecture, through at least one layer that learns."""
        return True

    def all_can_learn(self) -> np.ndarray:
        """(A,) bool, `can_learn` of all architectures."""
        return np.array([self.can_learn(arch) for arch in self.all_architectures()])

    def costs_of_all(self, num_classes: int) -> dict[str, np.ndarray]:
        """(A,) float64, each figure of `cost` of all architectures; empty if the space knows no costs."""
        costs = [self.cost(arch, num_classes) for arch in self.all_architectures()]
        return {name: np.array([cost[name] for cost in costs]) for name in costs[0]}

    def features(self) -> "dict[str, torch.Tensor]":
        """What rankings know of each class of equal architectures before any training, each (K, F) float64."""
        raise UserError(f"Nothing is known about the architectures of {self.name} before training.")

    def cost(self, arch: Any, num_classes: int) -> dict[str, float]:
        """`flops`, millions of multiply-accumulates for one image, and `params`, millions of parameters."""
        return {}

    def device_latency(self, device: str) -> dict[str, float]:
        """Measured milliseconds of every architecture on a device, by text."""
        raise UserError(f"--device-latency {device}: no measured latencies of {self.name} are shipped; leave it out.")

    def evaluator(self, options: Any) -> Any:
        """What measures architectures for a database: its `evaluate(arch, classes, rng)` gives the accuracy (%) on
        `classes`, positions among those of the images. `options`: `metad2a.database.workers.EvaluatorOptions`."""
        raise UserError(f"Architectures of {self.name} cannot be measured here.")

    def smallest_cost(self, num_classes: int) -> dict[str, float]:
        """The smallest value of each figure of `cost` of any architecture that can learn; empty if the space knows no
        costs."""
        if self.architectures is None and not self.cost(self.sample(1, random_generator(0))[0], num_classes):
            return {}
        learning = self.all_can_learn()
        return {name: values[learning].min().item() for name, values in self.costs_of_all(num_classes).items()}

    def network(self, arch: Any, num_classes: int) -> "nn.Module":
        """The network of an architecture with initial weights: images (B, 3, S, S) -> logits (B, num_classes)."""
        raise UserError(f"Networks of the search space {self.name} cannot be built yet.")

    def known_accuracy(self, dataset: str, epochs: int = 200) -> dict[str, float] | None:
        """Accuracy (%) of every architecture after `epochs`, by text; None if no benchmark has it for `dataset`."""
        return None

    def vertex_features(self) -> "torch.Tensor":
        """Features of each vertex number and type, (N, T, F) float64, for a regression that adds up vertices."""
        import torch

        return torch.eye(self.num_vertex_type, dtype=torch.float64).expand(self.max_n, -1, -1)

    def genes(self, arch: Any) -> list[int]:
        """An architecture as a number 0..choices - 1 for each of `gene_choices`."""
        raise UserError(f"Architectures of {self.name} have no genes.")

    def from_genes(self, genes: Sequence[int]) -> Any:
        """The architecture with these genes, in canonical form."""
        raise UserError(f"Architectures of {self.name} have no genes.")

    def training_free_scores(self, dataset: str) -> dict[str, float]:
        """NASWOT's score of every architecture, by text, on `dataset` or, if unknown, on another dataset."""
        raise UserError(f"No training-free scores of {self.name} are shipped.")

    @abstractmethod
    def drawing(self, arch: Any) -> tuple[list[str], list[tuple[int, int, str]]]:
        """A picture of an architecture as a graph: names of its nodes, and edges (from, to, label)."""

    @abstractmethod
    def to_text(self, arch: Any) -> str:
        """One line that `from_text` reads back; the same for all encodings of a network."""

    @abstractmethod
    def from_text(self, text: str) -> Any:
        """The architecture that a line describes. Raises a UserError if it describes none of this space."""
