"""Draw random images of each class of meta-training tasks.

Dimensions: B tuples, T tasks, C classes per task, S images per class, D feature width, K classes of T tasks together.
"""

from typing import NamedTuple

import torch

from metad2a.core.environment import send
from metad2a.data.features import Features, draw_images
from metad2a.metatrain.tuples import Tuples
from set_encoder.encoder import RaggedSets

MAX_TUPLES, MAX_IMAGES = 100, 40_000  # in a validation batch: 82 MB of features with width 512


class Batch(NamedTuple):
    """Tuples and the images for their tasks, on the device."""

    rows: torch.Tensor  # (B,) long, numbers of the tuples
    position: torch.Tensor  # (B,) long, each tuple's place among the T tasks
    image_rows: torch.Tensor | RaggedSets  # as `TaskDraws.index` returns them


class TaskDraws:
    """Draws random images of the classes of tasks.

    Features and images are on the device. Tuples, tasks and their sizes stay on the host, so the host never waits for
    a GPU to learn the size of a tensor.
    """

    def __init__(self, features: Features, tuples: Tuples, num_sample: int, device: torch.device):
        self.features = features.to(device)
        self.classes = tuples.task_classes  # (T, C)
        self.task = tuples.task  # (n,)
        # With two or more tuples per task on average, batches keep a task's tuples together; they share one draw
        self.grouped = len(tuples.task) >= 2 * len(tuples.task.unique())
        self.ragged = bool((tuples.task_classes < 0).any())
        self.num_sample = num_sample
        self.device = device

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor from the host to the device without waiting for the device."""
        return send(tensor, self.device)

    def shuffled(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Shuffle the tuples `rows` (B,); if they are grouped, shuffle the tasks and the tuples within each task."""
        rows = rows[torch.randperm(len(rows), generator=rng, device=self.device).cpu()]
        if not self.grouped:
            return rows
        place = torch.randperm(len(self.classes), generator=rng, device=self.device).cpu()  # each task's
        return rows[place[self.task[rows]].argsort(stable=True)]

    def distinct(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tasks (T,) of the tuples `rows` (B,), each task once if tuples are grouped, and each tuple's place (B,)."""
        if not self.grouped:
            return self.task[rows], torch.arange(len(rows))
        return torch.unique(self.task[rows], return_inverse=True)

    def index(self, tasks: torch.Tensor, rng: torch.Generator) -> torch.Tensor | RaggedSets:
        """Draw images for `tasks` (T,); returns rows of the features, (T, C, S) or ragged (K, S)."""
        classes = self.classes[tasks]  # (T, C)
        if not self.ragged:
            return draw_images(self.features, self.send(classes), self.num_sample, rng)
        mask = classes >= 0
        mask = mask[:, : int(mask.sum(dim=1).max())]  # a task's classes come first
        flat = self.send(classes[:, : mask.shape[1]][mask])  # (K,)
        place = mask.flatten().nonzero()[:, 0]  # (K,)
        rows = draw_images(self.features, flat[None], self.num_sample, rng)[0]  # (K, S)
        return RaggedSets(rows, self.send(mask), self.send(place))

    def images(self, index: torch.Tensor | RaggedSets) -> torch.Tensor | RaggedSets:
        """Look up the features of drawn images, (T, C, S, D) or ragged."""
        if isinstance(index, RaggedSets):
            return index._replace(images=self.features.images[index.images])
        return self.features.images[index]

    def batch(self, rows: torch.Tensor, rng: torch.Generator) -> Batch:
        """Draw images for the tasks of the tuples `rows` (B,)."""
        tasks, position = self.distinct(rows)
        return Batch(self.send(rows), self.send(position), self.index(tasks, rng))

    def batches(self, rows: torch.Tensor, rng: torch.Generator) -> list[Batch]:
        """Draw images for any number of tuples, in batches of at most 100 tuples and 40,000 images.

        This bounds the memory for features. Only a single task may exceed it.
        """
        task = self.task[rows].tolist()
        size = ((self.classes >= 0).sum(dim=1) * self.num_sample).tolist()
        ends, images = [0], 0
        drawn: set[int] = set()  # the tasks of this batch
        for i in range(len(rows)):
            new = 0 if self.grouped and task[i] in drawn else size[task[i]]
            if i - ends[-1] == MAX_TUPLES or (i > ends[-1] and images + new > MAX_IMAGES):
                ends.append(i)
                images, drawn, new = 0, set(), size[task[i]]
            images += new
            drawn.add(task[i])
        return [self.batch(part, rng) for part in rows.tensor_split(ends[1:])]
