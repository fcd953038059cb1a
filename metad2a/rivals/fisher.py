"""Task similarity: the nearest dataset of a library lends its best cells (Le et al., 2021, arXiv 2103.00241).

One small network learns each dataset. On the images of a new dataset, the parameters of each task's network matter
differently: the diagonal of the Fisher information, the mean of squared gradients of an image's loss, measures how
much. Tasks with similar logarithms are near.

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

from metad2a.core.environment import random_generator
from metad2a.core.files import ASSETS, load_torch
from metad2a.data.augmentation import normalize
from metad2a.rivals import REAL
from metad2a.rivals.base import BudgetSpent, Method

LIBRARY = ASSETS / "tasks" / "library.pt"  # of each task the state of its network, and its best cells
SMALLEST = 1e-10  # added to numerator and denominator, as published
WIDTHS = (16, 32, 64)
SEED = 777  # one initialisation for all tasks, so that their parameters correspond
BATCH, IMAGES_AT_ONCE = 64, 128
Parameters = dict[str, torch.Tensor]


def small_network(num_classes: int) -> nn.Module:
    """Three convolutions of stride 2 and a linear layer: images (B, 3, 32, 32) -> logits (B, K); no batch norm.

    The convolutions have the same initial weights for any number of classes.
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
    """A network's parameters with at least `num_classes` outputs in the last layer; the additional ones are zero."""
    weight, bias = list(state)[-2:]
    missing = max(0, num_classes - len(state[bias]))
    wider = {weight: F.pad(state[weight], (0, 0, 0, missing)), bias: F.pad(state[bias], (0, missing))}
    return state | wider


def fisher(network: nn.Module, state: Parameters, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The diagonal (P,) of the empirical Fisher information, divided by its sum, at the parameters `state`, for
    normalised images (B, 3, H, W) with labels (B,)."""

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
    """The distance of each task of a library from the task with network `own`, on the latter's images."""
    result = {}
    for name, state in library.items():
        K = max(len(list(parameters.values())[-1]) for parameters in (state, own))
        network = small_network(K).to(images.device)
        there, here = ({name: value.to(images.device) for name, value in padded(s, K).items()} for s in (state, own))
        result[name] = distance(fisher(network, there, images, labels), fisher(network, here, images, labels))
    return result


@dataclass(frozen=True)
class TaskSimilarity(Method):
    """Evaluates the nearest task's best cells in their order while the budget lasts.

    It leaves out a task with the dataset's own name, because the library knows its cells by test accuracy.
    """

    name: ClassVar[str] = "task-similarity"
    title: ClassVar[str] = "task similarity"
    source: ClassVar[str] = "Le et al., 2021"
    spaces: ClassVar[tuple[str, ...]] = ("nasbench201",)
    forms: ClassVar[tuple[str, ...]] = (REAL,)
    changes: ClassVar[str] = "a network of three convolutions for VGG-16; the best cells, not a search among them"

    epochs: int = 10  # of the small network
    images: int = 512  # for the Fisher information

    def search(self, problem: Any, rng: np.random.Generator) -> dict[str, Any]:
        library = load_torch(LIBRARY, "Fetch this file again from the repository.")["tasks"]
        tasks = {name: task for name, task in library.items() if name != problem.dataset}
        measured = self.measured(problem, {name: task["state"] for name, task in tasks.items()})
        nearest = min(measured, key=lambda name: measured[name])
        cells = [problem.space.from_text(text) for text in tasks[nearest]["cells"]]
        problem.choose(*cells)
        with suppress(BudgetSpent):
            problem.evaluate_all(cells)
        return {"distances": measured, "nearest": nearest}

    def measured(self, problem: Any, library: dict[str, Parameters]) -> dict[str, float]:
        """The distance of each task, by half of the training images; its seconds are charged."""
        start, (half, _), data = time.perf_counter(), problem.halves(), problem.images
        rows = torch.randperm(len(half), generator=random_generator(SEED))
        images = normalize(half.pixels[rows], torch.tensor(data.mean), torch.tensor(data.std)).to(problem.device)
        labels = half.labels[rows].to(problem.device)
        own = learn(images, labels, problem.num_classes, self.epochs).state_dict()
        result = distances(library, own, images[: self.images], labels[: self.images])
        problem.charge(time.perf_counter() - start)
        return result
