"""ImageNet-trained networks without their classifier, which turn B images of 32 x 32 pixels, as in the paper, into
features of width D. Each network resizes and normalises the images as it needs."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.core.errors import UserError
from metad2a.data.pretrained import LITE_STATS, Colour, lite_layers, torchvision_network

PUBLISHED_EXTRACTOR = "resnet18-32px"  # made the authors' features and checkpoints
HINT = "Or use --extractor efficientnet_lite0, which needs no network."
IMAGENET_STATS: tuple[Colour, Colour] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Mean and standard deviation of each dataset (values 0..1), with which the paper normalises for ResNet-18.
DATASET_STATS: dict[str, tuple[Colour, Colour]] = {
    "imgnet32": ((122.68 / 255, 116.66 / 255, 104.01 / 255), (66.22 / 255, 64.20 / 255, 67.86 / 255)),
    "cifar10": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
    "cifar100": ((129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255)),
    "imagenet16-120": ((122.68 / 255, 116.66 / 255, 104.01 / 255), (63.22 / 255, 61.26 / 255, 65.09 / 255)),
    "mnist": ((0.1307,) * 3, (0.3081,) * 3),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}


@dataclass(frozen=True)
class ExtractorSpec:
    """What a network takes and gives. A features file and a checkpoint must have the same `identity`: names of network
    and layer, and input size."""

    identity: str
    input_size: int  # side of the network's input in pixels
    feature_dim: int  # D


SPECS = {
    "resnet18": ExtractorSpec(PUBLISHED_EXTRACTOR, 32, 512),
    "efficientnet_lite0": ExtractorSpec("efficientnet_lite0-block15-96px", 96, 320),
}


class Extractor(nn.Module):
    """Images (B, 3, 32, 32) with values 0..1 to features (B, D), by the network `name` of `SPECS`. ResNet-18's input is
    normalised with the mean and standard deviation of `dataset`. Raises a UserError if there is no such network, or its
    weights cannot be loaded."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, dataset: str):
        super().__init__()
        if name not in SPECS:
            raise UserError(f"Unknown extractor {name!r}: choose one of {', '.join(SPECS)}.")
        self.spec = SPECS[name]
        if name == "resnet18":
            self.network = torchvision_network("resnet18", HINT)[0]
            self.network.fc = nn.Identity()
            mean, std = DATASET_STATS.get(dataset, IMAGENET_STATS)
        else:
            self.network = _efficientnet_lite0()
            mean, std = LITE_STATS
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.network.to(memory_format=torch.channels_last)
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images - self.mean) / self.std
        if x.shape[-1] != self.spec.input_size:
            x = F.interpolate(x, size=self.spec.input_size, mode="bilinear", align_corners=False)
        return self.network(x.to(memory_format=torch.channels_last)).flatten(1)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, 32, 32) with values 0..255 to features (B, D) in half precision, on the CPU."""
        return self(pixels.to(self.mean.device).float() / 255).half().cpu()


def _efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 up to and including its last inverted residual block, average-pooled."""
    stem_and_blocks = lite_layers(0)[:-1]
    return nn.Sequential(*stem_and_blocks, nn.AdaptiveAvgPool2d(1))
