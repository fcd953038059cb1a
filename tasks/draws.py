"""Draws of meta-training tasks.

Dimensions: B tuples, C classes of a task, S images of a class, D feature width.
"""

import torch

from set_encoder.encoder import RaggedSets
from tasks.features import Features, draw_images
from tasks.meta_train import Tuples


class TaskDraws:
    """Random images of the classes of each tuple's task, all tensors on one device."""

    def __init__(self, features: Features, tuples: Tuples, num_sample: int, device: torch.device):
        self.features = features.to(device)
        self.classes = tuples.task_classes.to(device)[tuples.task.to(device)]  # (n, C)
        self.ragged = bool((tuples.task_classes < 0).any())
        self.num_sample = num_sample
        self.device = device

    def index(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Draw images for tuples `rows` (B,): (B, C, S) long, rows of the features, -1 beyond a task's own classes."""
        classes = self.classes[rows]  # (B, C)
        if not self.ragged:
            return draw_images(self.features, classes, self.num_sample, rng)
        index = classes[..., None].repeat(1, 1, self.num_sample)
        there = classes >= 0
        index[there] = draw_images(self.features, classes[there][None], self.num_sample, rng)[0]
        return index

    def images(self, index: torch.Tensor) -> torch.Tensor | RaggedSets:
        """Features of a draw: (B, C, S, D), or ragged where tasks differ in their number of classes."""
        if not self.ragged:
            return self.features.images[index]
        mask = index[..., 0] >= 0
        mask = mask[:, : int(mask.sum(dim=1).max())]  # a task's classes come first
        return RaggedSets(self.features.images[index[:, : mask.shape[1]][mask]], mask)
