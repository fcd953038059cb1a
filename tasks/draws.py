"""Draws of meta-training tasks.

Dimensions: B tuples, C classes of a task, S images of a class, D feature width.
"""

import torch

from tasks.features import Features, draw_images
from tasks.meta_train import Tuples


class TaskDraws:
    """Random images of the classes of each tuple's task, all tensors on one device."""

    def __init__(self, features: Features, tuples: Tuples, num_sample: int, device: torch.device):
        self.features = features.to(device)
        self.classes = tuples.task_classes.to(device)[tuples.task.to(device)]  # (n, C)
        self.num_sample = num_sample
        self.device = device

    def index(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Draw images for tuples `rows` (B,): (B, C, S) long, rows of the features."""
        return draw_images(self.features, self.classes[rows], self.num_sample, rng)

    def images(self, index: torch.Tensor) -> torch.Tensor:
        """Features of a draw: (B, C, S, D)."""
        return self.features.images[index]
