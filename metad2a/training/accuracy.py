"""Accuracy of a classifier."""

from collections.abc import Iterable

import torch
import torch.nn as nn


@torch.inference_mode()
def accuracy(
    network: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], outputs: torch.Tensor | None = None
) -> float:
    """Percent of the images whose class has the highest logit.

    Args:
        batches: images (B, 3, H, W), normalised, and their labels (B,).
        outputs: numbers (C,) of the network's outputs that labels are positions in; None for all.
    """
    network.eval()
    device = next(network.parameters()).device
    right, seen = torch.zeros((), dtype=torch.long, device=device), 0
    for images, labels in batches:
        images, labels = (tensor.to(device, non_blocking=True) for tensor in (images, labels))
        logits = network(images)  # (B, outputs)
        if outputs is not None:
            logits = logits[:, outputs.to(device)]  # (B, C)
        right += (logits.argmax(dim=1) == labels).sum()
        seen += len(labels)
    return 100 * right.item() / seen
