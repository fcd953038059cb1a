"""Draw the images that stand for a meta-training task: some of each of its classes, at random.

Dimensions: B tuples, T tasks, C classes of a task, S images of a class, D feature width, K classes of T tasks together.
"""

from typing import NamedTuple

import torch

from metad2a.data.features import Features, draw_images
from metad2a.metatrain.tuples import Tuples
from set_encoder.encoder import RaggedSets

MAX_TUPLES, MAX_IMAGES = 100, 40_000  # of a validation batch: 82 MB of features of width 512


class Batch(NamedTuple):
    """Tuples and the images drawn for their tasks, on the device.

    Attributes:
        rows: (B,) long, numbers of the tuples.
        position: (B,) long, which of the T drawn tasks each tuple belongs to.
        drawn: the images, as `TaskDraws.index` returns them.
    """

    rows: torch.Tensor
    position: torch.Tensor
    drawn: torch.Tensor | RaggedSets


class TaskDraws:
    """Draws random images of the classes of tasks.

    Features and drawn images lie on the device. Tuples, tasks and their sizes stay on the host, which therefore never
    waits for a GPU to know how large a tensor is.

    Attributes:
        grouped: whether tasks have two tuples or more on average. A batch then keeps the tuples of a task together,
            and images are drawn once for all of them.
        ragged: whether tasks differ in their number of classes.
    """

    def __init__(self, features: Features, tuples: Tuples, num_sample: int, device: torch.device):
        self.features = features.to(device)
        self.classes = tuples.task_classes  # (T, C)
        self.task = tuples.task  # (n,)
        self.grouped = len(tuples.task) >= 2 * len(tuples.task.unique())
        self.ragged = bool((tuples.task_classes < 0).any())
        self.num_sample = num_sample
        self.device = device

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor from the host to the device, without waiting for the device."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def shuffled(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Shuffle the tuples `rows` (B,). Where tuples are grouped, shuffle the tasks, and the tuples within each."""
        rows = rows[torch.randperm(len(rows), generator=rng, device=self.device).cpu()]
        if not self.grouped:
            return rows
        place = torch.randperm(len(self.classes), generator=rng, device=self.device).cpu()  # of each task
        return rows[place[self.task[rows]].argsort(stable=True)]

    def distinct(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """List the tasks to draw images for: one for each tuple, or each task once where tuples are grouped.

        Returns:
            Numbers of the tasks (T,), and which of these T each of the tuples `rows` (B,) belongs to (B,).
        """
        if not self.grouped:
            return self.task[rows], torch.arange(len(rows))
        return torch.unique(self.task[rows], return_inverse=True)

    def index(self, tasks: torch.Tensor, rng: torch.Generator) -> torch.Tensor | RaggedSets:
        """Draw images for `tasks` (T,): rows of the features (T, C, S), or (K, S) where tasks differ in size."""
        classes = self.classes[tasks]  # (T, C)
        if not self.ragged:
            return draw_images(self.features, self.send(classes), self.num_sample, rng)
        there = classes >= 0
        there = there[:, : int(there.sum(dim=1).max())]  # a task's classes come first
        flat = self.send(classes[:, : there.shape[1]][there])  # (K,)
        place = there.flatten().nonzero()[:, 0]
        index = draw_images(self.features, flat[None], self.num_sample, rng)[0]  # (K, S)
        return RaggedSets(index, self.send(there), self.send(place))

    def images(self, index: torch.Tensor | RaggedSets) -> torch.Tensor | RaggedSets:
        """Look up the features (T, C, S, D) of drawn images, ragged where tasks differ in their number of classes."""
        if isinstance(index, RaggedSets):
            return index._replace(images=self.features.images[index.images])
        return self.features.images[index]

    def batch(self, rows: torch.Tensor, rng: torch.Generator) -> Batch:
        """Draw images of the tasks of tuples `rows` (B,)."""
        tasks, position = self.distinct(rows)
        return Batch(self.send(rows), self.send(position), self.index(tasks, rng))

    def batches(self, rows: torch.Tensor, rng: torch.Generator) -> list[Batch]:
        """Draw images for any number of tuples, in batches of at most 100 tuples and 40,000 images.

        This bounds the memory that features take, however large the tasks are; a single task may exceed it.
        """
        task = self.task[rows].tolist()
        size = ((self.classes >= 0).sum(dim=1) * self.num_sample).tolist()
        ends, images = [0], 0
        known: set[int] = set()
        for i in range(len(rows)):
            new = 0 if self.grouped and task[i] in known else size[task[i]]
            if i - ends[-1] == MAX_TUPLES or (i > ends[-1] and images + new > MAX_IMAGES):
                ends.append(i)
                images, known, new = 0, set(), size[task[i]]
            images += new
            known.add(task[i])
        return [self.batch(part, rng) for part in rows.tensor_split(ends[1:])]
