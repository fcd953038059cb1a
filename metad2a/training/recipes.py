"""How a network that has seen ImageNet is trained further: all layers, by AdamW, on shifted and scaled images."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.core.environment import cosine, random_generator
from metad2a.training.classifier import Protocol, Run

WARM_UP = 0.05  # share of a training in which the learning rate rises
SHIFT, SCALE = 0.2, (0.8, 1.2)  # of the half side, and of the side
CLIP, SMOOTHING = 1.0, 0.1
MOST_EPOCHS = 100
# The highest learning rate, with the smallest batch: a whole network keeps what it knows of ImageNet, while the first
# blocks of one must learn more
RATE, RATE_OF_BLOCKS = 2.5e-4, 7e-4
BATCHES = {16: 0, 32: 10_000, 64: 40_000}  # batch size -> images from which it is used


@dataclass(frozen=True)
class Recipe(Protocol):
    """A training that starts from ImageNet's weights and the classifier that was fitted to their features."""

    lr: float = RATE
    weight_decay: float = 0.05
    label_smoothing: float = SMOOTHING
    pixels: int = 0  # side of the images that the network sees

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)

    def train_mode(self, network: nn.Module) -> None:
        """Batch norm keeps the means and variances that ImageNet gave it: few small batches would spoil them."""
        network.train()
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def learning_rate(self, step: float, num_steps: float) -> float:
        share = step / num_steps
        return self.lr * min(1.0, (share + 1e-3) / WARM_UP) * cosine(share)

    def step(self, run: Run, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rng = random_generator(((run.seed * 1_000_003 + run.epoch) * 100_003 + run.position) % 2**63)
        images = moved(pixels, self.pixels or pixels.shape[-1], rng)
        loss = F.cross_entropy(run.network(images), labels, label_smoothing=self.label_smoothing)
        run.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(run.parameters, CLIP)
        run.optimizer.step()
        return loss.detach() * len(labels)


def moved(images: torch.Tensor, side: int, rng: torch.Generator) -> torch.Tensor:
    """Images (B, 3, H, W), each shifted and scaled at random, on (B, 3, side, side); edges are reflected."""
    B = len(images)
    low, high = SCALE
    scale = low + (high - low) * torch.rand(B, generator=rng)
    matrix = torch.zeros(B, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = SHIFT * (2 * torch.rand(B, 2, generator=rng) - 1)
    grid = F.affine_grid(matrix.to(images.device), [B, 3, side, side], align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def recipe(images: int, pixels: int, whole: bool, epochs: int = MOST_EPOCHS) -> Recipe:
    """The recipe for a number of training images and a whole network, or its first blocks. Larger batches take
    larger steps."""
    batch = max(size for size, least in BATCHES.items() if images >= least)
    rate = (RATE if whole else RATE_OF_BLOCKS) * math.sqrt(batch / min(BATCHES))
    return Recipe(epochs=epochs, augment=False, lr=rate, batch_size=max(1, min(batch, images // 2)), pixels=pixels)
