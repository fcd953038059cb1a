"""Task similarity: the nearest of a library of datasets lends its best cells (Le et al., 2021, arXiv 2103.00241).

One small network learns each dataset. On the images of a new dataset its parameters matter differently to the network
of each task: the diagonal of the Fisher information, the mean of squared gradients of an image's loss, says how much.
Tasks whose logarithms differ little are near.

Dimensions: B images, K classes, P parameters.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from typing_extensions import TypedDict

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, file_digest, load_torch, write_json
from metad2a.core.schema import Names, Number, State, Text, check, check_state, read_json
from metad2a.data.augmentation import normalize
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.rivals.base import BudgetSpent, Method
from metad2a.rivals.cost import REAL

LIBRARY = ASSETS / "tasks" / "library.pt"
FORMAT = "metad2a-task-library-1"
MAKE = "Make it with: python -m metad2a.rivals.make_tasks --help"
SMALLEST = 1e-10  # added to what is divided, as published
WIDTHS = (16, 32, 64)
SEED = 777  # one initialisation for all tasks, so that their parameters correspond
BATCH, IMAGES_AT_ONCE = 64, 128
Parameters = dict[str, torch.Tensor]


class _Task(TypedDict):
    """A task of the library: its network's parameters, and its best cells, the best first."""

    state: State
    cells: Names


class _Library(TypedDict):
    """The file of the library, beside its format."""

    tasks: dict[Text, _Task]


class _Distances(TypedDict):
    """What a search keeps."""

    library: Text
    distances: dict[Text, Number]
    seconds: Number


def small_network(num_classes: int) -> nn.Module:
    """Three convolutions of stride 2 and a linear layer: images (B, 3, 32, 32) -> logits (B, K); no batch norm.

    The convolutions begin alike whatever the number of classes.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for c_in, c_out in pairwise((3, *WIDTHS)):
            layers += [nn.Conv2d(c_in, c_out, 3, 2, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_classes))


def learn(images: torch.Tensor, labels: torch.Tensor, num_classes: int, epochs: int) -> nn.Module:
    """The small network after `epochs` passes over normalised images (M, 3, H, W) with labels (M,)."""
    network, rng = small_network(num_classes).to(images.device), random_generator(SEED)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=rng).to(images.device).split(BATCH):
            loss = F.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def padded(state: Parameters, num_classes: int) -> Parameters:
    """A network's parameters with a last layer of at least `num_classes` outputs, the further ones zero."""
    weight, bias = list(state)[-2:]
    missing = max(0, num_classes - len(state[bias]))
    wider = {weight: F.pad(state[weight], (0, 0, 0, missing)), bias: F.pad(state[bias], (0, missing))}
    return state | wider


def fisher(network: nn.Module, state: Parameters, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The diagonal (P,) of the empirical Fisher information, divided by its sum: mean squared gradients of an image.

    Args:
        network: whose forward pass takes the parameters `state`.
        images: normalised (B, 3, H, W).
        labels: (B,).
    """

    def loss(parameters: Parameters, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(functional_call(network, parameters, (image[None],)), label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    total = torch.zeros(sum(value.numel() for value in state.values()), device=images.device)
    for rows in torch.arange(len(labels), device=images.device).split(IMAGES_AT_ONCE):
        gradients = each(state, images[rows], labels[rows])
        total += torch.cat([value.square().sum(dim=0).flatten() for value in gradients.values()])
    return total / total.sum()


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """The log-determinant distance of two normalised diagonals (P,): the mean of |log((a + s) / (b + s))|."""
    return float(((first.double() + SMALLEST) / (second.double() + SMALLEST)).log().abs().mean())


def distances(
    library: dict[str, Parameters], own: Parameters, images: torch.Tensor, labels: torch.Tensor
) -> dict[str, float]:
    """How far each task of a library is from the one whose network is `own`, on that one's images."""
    found = {}
    for name, state in library.items():
        K = max(len(list(state.values())[-1]), len(list(own.values())[-1]))
        network = small_network(K).to(images.device)
        there, here = ({name: value.to(images.device) for name, value in padded(s, K).items()} for s in (state, own))
        found[name] = distance(fisher(network, there, images, labels), fisher(network, here, images, labels))
    return found


def read_library(path: Any = LIBRARY) -> dict[str, _Task]:
    """The tasks of a library, by name.

    Raises:
        UserError: it is missing or damaged.
    """
    tasks = check(path, load_torch(path, MAKE), _Library, "a library of tasks", MAKE, FORMAT)["tasks"]
    for task in tasks.values():
        check_state(path, task["state"], small_network(len(list(task["state"].values())[-1])), "a task's network", MAKE)
    return tasks


def whole(images: LabelledImages, data: ImageData, most: int | None, device: torch.device) -> tuple[torch.Tensor, ...]:
    """At most so many of the images, normalised (B, 3, H, W), and their labels (B,)."""
    rows = torch.randperm(len(images), generator=random_generator(SEED))[:most]
    mean, std = (torch.tensor(values) for values in (data.mean, data.std))
    return normalize(images.pixels[rows], mean, std).to(device), images.labels[rows].to(device)


@dataclass(frozen=True)
class TaskSimilarity(Method):
    """The nearest task's best cells, tried in their order while the budget lasts.

    A task of the dataset's own name is left out: its cells are known by test accuracy.
    """

    name: ClassVar[str] = "task-similarity"
    title: ClassVar[str] = "task similarity"
    source: ClassVar[str] = "Le et al., 2021"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    forms: ClassVar[tuple[str, ...]] = (REAL,)
    changes: ClassVar[str] = "a network of three convolutions for VGG-16; the best cells, not a search among them"

    epochs: int = 10  # of the small network
    images: int = 512  # of the Fisher information

    def search(self, problem: Any, rng: np.random.Generator) -> dict[str, Any]:
        tasks = {name: task for name, task in read_library().items() if name != problem.dataset}
        if not tasks:
            raise UserError(f"The library {LIBRARY} has no task but {problem.dataset} itself. {MAKE}")
        found = self.measured(problem, tasks)
        nearest = min(found, key=lambda name: found[name])
        cells = [problem.space.from_text(text) for text in tasks[nearest]["cells"]]
        problem.choose(*cells)
        with suppress(BudgetSpent):
            problem.evaluate_all(cells)
        return {"distances": found, "nearest": nearest}

    def measured(self, problem: Any, tasks: dict[str, _Task]) -> dict[str, float]:
        """The distance of each task, kept in a file for a search that goes on."""
        path = problem.folder / "distances.json"
        digest = f"{file_digest(LIBRARY)} {self.epochs} {self.images}"
        if path.is_file():
            kept = read_json(path, _Distances, "distances of tasks", "Remove it, and they are measured anew.")
            if kept["library"] == digest and set(kept["distances"]) == set(tasks):
                problem.charge(kept["seconds"])
                return kept["distances"]
        start, (half, _) = time.perf_counter(), problem.halves()
        images, labels = whole(half, problem.images, None, problem.device)
        own = learn(images, labels, problem.num_classes, self.epochs).state_dict()
        library = {name: task["state"] for name, task in tasks.items()}
        few = min(self.images, len(labels))
        found = distances(library, own, images[:few], labels[:few])
        seconds = time.perf_counter() - start
        write_json(path, {"library": digest, "distances": found, "seconds": seconds})
        problem.charge(seconds)
        return found
