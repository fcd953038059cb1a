"""Draws of meta-training tasks.

Dimensions: B tuples, T tasks, C classes of a task, S images of a class, D feature width.
"""

import torch

from set_encoder.encoder import RaggedSets
from tasks.features import Features, draw_images
from tasks.meta_train import Tuples


class TaskDraws:
    """Random images of the classes of tasks, all tensors on one device.

    Attributes:
        grouped: tasks have two tuples or more on average. These then stay together in a batch and share a draw.
        ragged: tasks differ in their number of classes.
    """

    def __init__(self, features: Features, tuples: Tuples, num_sample: int, device: torch.device):
        self.features = features.to(device)
        self.classes = tuples.task_classes.to(device)  # (T, C)
        self.task = tuples.task.to(device)  # (n,)
        self.grouped = len(tuples.task) >= 2 * len(tuples.task.unique())
        self.ragged = bool((tuples.task_classes < 0).any())
        self.num_sample = num_sample
        self.device = device

    def shuffled(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Tuples `rows` (B,) in random order, where they are grouped those of a task one after the other."""
        rows = rows[torch.randperm(len(rows), generator=rng, device=self.device)]
        if not self.grouped:
            return rows
        place = torch.randperm(len(self.classes), generator=rng, device=self.device)  # of each task
        return rows[place[self.task[rows]].argsort(stable=True)]

    def distinct(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tasks (T,) to draw images for, for tuples `rows` (B,), and for each tuple (B,) which of them is its own.

        Each tuple's, or each task once where tuples are grouped.
        """
        if not self.grouped:  # unique() would make the host wait for a GPU
            return self.task[rows], torch.arange(len(rows), device=self.device)
        return torch.unique(self.task[rows], return_inverse=True)

    def index(self, tasks: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Draw images for tasks (T,): (T, C, S) long, rows of the features, -1 beyond a task's own classes."""
        classes = self.classes[tasks]  # (T, C)
        if not self.ragged:
            return draw_images(self.features, classes, self.num_sample, rng)
        index = classes[..., None].repeat(1, 1, self.num_sample)
        there = classes >= 0
        index[there] = draw_images(self.features, classes[there][None], self.num_sample, rng)[0]
        return index

    def images(self, index: torch.Tensor) -> torch.Tensor | RaggedSets:
        """Features of a draw: (T, C, S, D), or ragged where tasks differ in their number of classes."""
        if not self.ragged:
            return self.features.images[index]
        mask = index[..., 0] >= 0
        mask = mask[:, : int(mask.sum(dim=1).max())]  # a task's classes come first
        return RaggedSets(self.features.images[index[:, : mask.shape[1]][mask]], mask)
