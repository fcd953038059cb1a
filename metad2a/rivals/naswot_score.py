"""NASWOT: the score of an untrained network (Mellor et al., "Neural Architecture Search without Training", ICML 2021).

Every image of a batch has a binary code: which ReLUs let it pass. If a network distinguishes the images, their codes
differ and the kernel of equal places (equation 2) has a large determinant. log|det K| ranks untrained networks.

Dimensions: B images of a batch, U units of a layer.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn as nn

BATCH = 128  # images, not augmented
NO_SCORE = -math.inf  # for a singular kernel: the network cannot distinguish two of the images


def code_kernel(codes: torch.Tensor) -> torch.Tensor:
    """The number of places (B, B) in which codes (B, U), 0 or 1, agree: C C' + (1 - C)(1 - C)'."""
    signs = 2 * codes.to(torch.float32) - 1
    return (signs @ signs.T + codes.shape[1]) / 2


def log_determinant(kernel: torch.Tensor) -> float:
    """log|det K| of a kernel (B, B); minus infinity if it is singular."""
    value = torch.linalg.slogdet(kernel.double()).logabsdet.item()
    return value if math.isfinite(value) else NO_SCORE


def rectified(network: nn.Module) -> Iterator[nn.Module]:
    """The layers of a NAS-Bench-201 network that follow a ReLU: all convolutions but the first. Each counts, as in the
    authors' code, although the network computes a node's ReLU once for all its convolutions."""
    for block in network.blocks:
        yield from (m for m in block.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d))


@torch.no_grad()
def score(network: nn.Module, images: torch.Tensor) -> float:
    """log|det K| of an untrained network for normalised images (B, 3, H, W).

    K sums over the ReLUs that would receive a gradient; the network does not compute edges that lead nowhere. Batch
    norm uses the statistics of the batch.
    """
    kernels: list[torch.Tensor] = []

    def record(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kernels.append(code_kernel((inputs[0] > 0).flatten(1)))

    hooks = [layer.register_forward_pre_hook(record) for layer in rectified(network)]
    hooks.append(network.norm.register_forward_hook(lambda _, inputs, output: record(_, (output,))))
    try:
        network.train()
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return log_determinant(torch.stack(kernels).sum(dim=0))
