"""The dataset encoder: images to class prototypes to one vector per dataset (MetaD2A section 3.1).

Dimensions: B draws of a dataset, C classes, S images per class, D feature width, Z latent, M images in total, K classes
of all draws together.
"""

from typing import NamedTuple

import torch
import torch.nn as nn

from set_encoder.modules import SetPool


class RaggedSets(NamedTuple):
    """Draws of datasets with different numbers of classes; the largest has C."""

    images: torch.Tensor  # (K, S, D), the classes of all draws in a row; or (K, S) long, their rows in the features
    mask: torch.Tensor  # (B, C) bool, which classes each draw has
    place: torch.Tensor  # (K,) long, positions of the true values in the flattened mask


class SharedImages(NamedTuple):
    """Draws `images[rows]` from one dataset; the encoder projects each image only once."""

    images: torch.Tensor  # (M, D)
    rows: torch.Tensor  # (B, C, S) long


Sets = torch.Tensor | RaggedSets | SharedImages  # draws of datasets; a tensor is (B, C, S, D)


def class_counts(x: Sets) -> torch.Tensor:
    """The number of classes of each draw, (B,) long."""
    if isinstance(x, RaggedSets):
        return x.mask.sum(dim=1)
    draws = x.rows if isinstance(x, SharedImages) else x
    return torch.full((len(draws),), draws.shape[1], device=draws.device)


class DatasetEncoder(nn.Module):
    """`intra_setpool` pools the images of each class to a prototype, `inter_setpool` pools the prototypes."""

    def __init__(self, feature_dim: int, nz: int):
        super().__init__()
        self.intra_setpool = SetPool(feature_dim, nz)
        self.inter_setpool = SetPool(nz, nz)

    def forward(self, x: Sets) -> torch.Tensor:
        """Encode draws to dataset vectors (B, Z)."""
        if isinstance(x, RaggedSets):
            prototypes = self.intra_setpool(x.images)  # (K, Z)
            padded = prototypes.new_zeros(x.mask.numel(), prototypes.shape[1]).index_copy(0, x.place, prototypes)
            return self.inter_setpool(padded.unflatten(0, x.mask.shape), x.mask)  # (B, Z)
        project = self.intra_setpool.project
        qkv = project(x.images)[x.rows] if isinstance(x, SharedImages) else project(x)  # (B, C, S, 3Z)
        prototypes = self.intra_setpool.forward_projected(qkv.flatten(0, 1))  # (B * C, Z)
        return self.inter_setpool(prototypes.unflatten(0, qkv.shape[:2]))  # (B, Z)
