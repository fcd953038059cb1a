"""The dataset encoder: images to class prototypes to one vector a dataset (MetaD2A section 3.1).

Dimensions: B draws of a dataset, C classes, S images of a class, D feature width, Z latent, M images in all, K classes
of all draws together.
"""

from typing import NamedTuple

import torch
import torch.nn as nn

from set_encoder.modules import SetPool


class RaggedSets(NamedTuple):
    """Draws of datasets that differ in their number of classes.

    Attributes:
        images: (K, S, D), the classes of all draws, one draw after the other; before they are read their rows (K, S).
        mask: (B, C) bool, C that of the largest: which classes each draw has.
        place: (K,) long, where `mask` is true, counted through all B * C.
    """

    images: torch.Tensor
    mask: torch.Tensor
    place: torch.Tensor


def class_counts(x: torch.Tensor | RaggedSets) -> torch.Tensor:
    """How many classes each of the draws `x`, (B, C, S, ...) or ragged, has: (B,) long."""
    if isinstance(x, RaggedSets):
        return x.mask.sum(dim=1)
    return torch.full((len(x),), x.shape[1], device=x.device)


class DatasetEncoder(nn.Module):
    """`intra_setpool` pools the images of each class to a prototype, `inter_setpool` the prototypes."""

    def __init__(self, feature_dim: int, nz: int):
        super().__init__()
        self.intra_setpool = SetPool(feature_dim, nz)
        self.inter_setpool = SetPool(nz, nz)

    def forward(self, x: torch.Tensor | RaggedSets) -> torch.Tensor:
        """Encode draws, (B, C, S, D) or ragged; returns dataset vectors (B, Z)."""
        if not isinstance(x, RaggedSets):
            return self._pool(self.intra_setpool.project(x))
        prototypes = self.intra_setpool(x.images)  # (K, Z), of the classes there are alone
        padded = prototypes.new_zeros(x.mask.numel(), prototypes.shape[1]).index_copy(0, x.place, prototypes)
        return self.inter_setpool(padded.unflatten(0, x.mask.shape), x.mask)  # (B, Z)

    def encode_draws(self, images: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Encode draws (B, C, S) long of rows of `images` (M, D), each image projected once; returns (B, Z).

        Equal to `forward(images[index])`.
        """
        return self._pool(self.intra_setpool.project(images)[index])

    def _pool(self, qkv: torch.Tensor) -> torch.Tensor:
        prototypes = self.intra_setpool.forward_projected(qkv.flatten(0, 1))  # (B * C, Z)
        return self.inter_setpool(prototypes.unflatten(0, qkv.shape[:2]))  # (B, Z)
