"""Accuracy of a subnet on some classes, its batch norm calibrated on their training images (SPEC section 4).

Dimensions: n images, C classes.
"""

import torch
import torch.nn as nn
from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

from supernet.images import Images

BATCH = 256


def calibrate(network: nn.Module, images: Images, numbers: torch.Tensor) -> None:
    """Set the running statistics of batch norm to those of images `numbers` (n,), as Once-for-All does."""
    set_running_statistics(network, [(images.store.centered(part), None) for part in numbers.split(BATCH)])


@torch.inference_mode()
def accuracy(
    network: nn.Module, images: Images, numbers: torch.Tensor, labels: torch.Tensor, outputs: torch.Tensor
) -> float:
    """Share of images `numbers` (n,) in % whose label is the largest of the network's `outputs` (C,).

    Args:
        labels: (n,) long, positions in `outputs`.
    """
    network.eval()
    device = next(network.parameters()).device
    right = 0
    for part, truth in zip(numbers.split(BATCH), labels.split(BATCH), strict=True):
        logits = network(images.store.centered(part).to(device))[:, outputs.to(device)]
        right += int((logits.argmax(dim=1).cpu() == truth).sum())
    return 100 * right / len(numbers)
