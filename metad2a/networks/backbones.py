"""Networks that have seen ImageNet, with a new classifier for the user's classes.

The text of such a network is the backbone's name, as in `--backbone`, and after "/" how many of its blocks are kept:
`efficientnet_lite0/12` has the first 12 of 16 blocks, `efficientnet_lite0` all layers. The classifier of
`efficientnet_lite0+` reads the features after several layers at once.
`ofa_mbv3:<width>:<architecture>` is a subnet of a MobileNetV3 supernet of that width.

Dimensions: B images of S x S pixels, D feature width, K classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.errors import UserError, did_you_mean
from metad2a.data.extractors import IMAGENET_STATS
from metad2a.data.pretrained import LITE_SIZES, LITE_STATS, Colour, lite_layers, timm_network, torchvision_network

SPACE = "backbone"  # the search space in the files of these networks
DEFAULTS = tuple(f"efficientnet_lite{size}" for size in LITE_SIZES)
LITE = re.compile(r"efficientnet_lite([012])(?:/(\d{1,2})|\+)?")
OFA, TIMM = "ofa_mbv3:", "timm/"
HINT = "Or choose --backbone efficientnet_lite0, whose weights are installed."
# Blocks after which Lite's features are tried: those of the middle know less of ImageNet's classes, and more of shapes
KEPT = {0: (12, 16), 1: (16, 21), 2: (16, 21)}
APACHE = "Apache-2.0 (the ImageNet weights that the training began with)"


class BackboneNetwork(nn.Module):
    """Layers whose features (B, D), averaged over the image, a linear classifier reads."""

    def __init__(self, layers: Sequence[nn.Module], width: int, classes: int, taps: Sequence[int] = ()):
        """`taps`: layers whose features the classifier reads beside those of the last."""
        super().__init__()
        self.body = nn.ModuleList(layers)
        self.head = nn.Linear(width, classes)
        self.taps = tuple(taps)

    def embed(self, images: torch.Tensor, taps: Sequence[int] = ()) -> list[torch.Tensor]:
        """Normalised images (B, 3, S, S) -> the features (B, D) after the layers `taps`, then after the last."""
        features = []
        for number, layer in enumerate(self.body):
            images = layer(images)
            if number in taps:
                features.append(pooled(images))
        return [*features, pooled(images)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, S, S) -> logits (B, K)."""
        return self.head(torch.cat(self.embed(images, self.taps), dim=1))


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Features (B, D) of a layer's output, (B, D, H, W) or (B, D)."""
    return features.mean((2, 3)) if features.dim() == 4 else features


@dataclass(frozen=True)
class Look:
    """How a backbone's images are normalised, the side in pixels that it was trained with, and its weights' licence."""

    mean: Colour
    std: Colour
    side: int
    licence: str


def check_name(name: str) -> str:
    """A name for `--backbone`. Raises a UserError if there is no such network."""
    from torchvision import models

    classifiers = models.list_models(module=models)
    if name in DEFAULTS or name in classifiers or name.startswith(TIMM):
        return name
    guess = did_you_mean(name, [*DEFAULTS, *classifiers])
    raise UserError(
        f"--backbone {name!r} is none of {', '.join(DEFAULTS)}, a classifier of torchvision such as resnet18, or one "
        f"of timm such as {TIMM}vit_tiny_patch16_224. {guess}"
    )


def build(text: str, classes: int, weights: bool = False) -> tuple[BackboneNetwork, Look]:
    """The network of a text with a new classifier; the rest has its ImageNet weights, or initial ones.

    Raises a UserError if the text describes no network, or the weights are missing or damaged.
    """
    if match := LITE.fullmatch(text):
        layers = lite_layers(int(match[1]), weights)
        if match[2]:
            kept = int(match[2])
            if not 1 <= kept <= len(layers) - 2:
                raise UserError(f"{text}: it has 1 to {len(layers) - 2} blocks.")
            layers = layers[: kept + 1]
        read = KEPT[int(match[1])] if text.endswith("+") else ()
        width = sum(_width(layer) for layer in (*(layers[number] for number in read), layers[-1]))
        return BackboneNetwork(layers, width, classes, read), Look(*LITE_STATS, 224, APACHE)
    if text.startswith(TIMM):
        network, width, mean, std, side, licence = timm_network(text.removeprefix(TIMM), HINT, weights)
        return BackboneNetwork([network], width, classes), Look(mean, std, side, licence)
    if text.startswith(OFA):
        return _subnet(text.removeprefix(OFA), classes)
    network, about = torchvision_network(check_name(text), HINT, weights)
    width, preparation = _without_classifier(network), about.transforms()
    look = Look(tuple(preparation.mean), tuple(preparation.std), preparation.crop_size[0], LICENCE)
    return BackboneNetwork([_First(network)], width, classes), look


def _width(layer: nn.Module) -> int:
    """The number of channels that a layer of EfficientNet-Lite ends with."""
    return [module.num_features for module in layer.modules() if isinstance(module, nn.BatchNorm2d)][-1]


LICENCE = "the one of torchvision's ImageNet weights, see its documentation"


class _First(nn.Module):
    """A network of which only the main output is used: GoogLeNet and Inception also have auxiliary ones."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.network(images)
        return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def _without_classifier(network: nn.Module) -> int:
    """Replace the last layer with ImageNet's 1,000 outputs by nothing; returns how many inputs it had."""
    for name, module in reversed(list(network.named_modules())):
        outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
        if outputs == 1000:
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, nn.Identity())
            return getattr(module, "in_features", getattr(module, "in_channels", 0))
    raise UserError("This network has no layer with ImageNet's 1,000 outputs: choose another --backbone.")


def _subnet(text: str, classes: int) -> tuple[BackboneNetwork, Look]:
    """A subnet of the MobileNetV3 supernet with initial weights."""
    from metad2a import spaces

    width, _, arch = text.partition(":")
    space = spaces.get("ofa_mbv3").sized(width_mult=float(width))
    return of_subnet(space.network(space.from_text(arch), classes), classes), SUBNET_LOOK


SUBNET_LOOK = Look(*IMAGENET_STATS, 224, "the one of the supernet's weights")


def of_subnet(network: nn.Module, classes: int) -> BackboneNetwork:
    """A subnet with a new classifier."""
    width: Any = network.classifier.in_features
    network.classifier = nn.Identity()
    return BackboneNetwork([network], width, classes)


def is_whole(text: str) -> bool:
    """Whether a text's network has all, or nearly all, layers of its backbone."""
    match = LITE.fullmatch(text)
    return not match or not match[2] or int(match[2]) >= KEPT[int(match[1])][-1]


def taps(text: str) -> dict[str, int]:
    """The texts of a backbone's networks that keep only some of its blocks, and the layer after which they end."""
    match = LITE.fullmatch(text)
    whole = match and not match[2] and not text.endswith("+")
    return {f"{text}/{kept}": kept for kept in KEPT[int(match[1])]} if match and whole else {}


def readings(text: str) -> list[str]:
    """The texts of the networks whose classifier reads a backbone's features: several layers at once, which is the
    safest, then each of them."""
    kept = list(taps(text))
    return [f"{text}+", *kept, text] if kept else [text]


def name_of(text: str) -> str:
    """The backbone of a text."""
    return text.partition("/")[0].removesuffix("+") if LITE.fullmatch(text) else text


@cache
def cost(text: str, classes: int, side: int) -> dict[str, float]:
    """`flops`, millions of multiply-accumulates of convolutions and linear layers for an image of `side` pixels, and
    `params`, millions of parameters."""
    counts: list[int] = []

    def count(layer: Any, inputs: object, outputs: torch.Tensor) -> None:
        # Each output is a sum of as many products as the weights have for one of their outputs
        counts.append(outputs.numel() * layer.weight[0].numel())

    with torch.device("meta"):
        network = build(text, classes)[0].eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        network(torch.empty(1, 3, side, side))
    return {"flops": sum(counts) / 1e6, "params": sum(p.numel() for p in network.parameters()) / 1e6}


def load(text: str, classes: int, supernet: str | None = None) -> BackboneNetwork:
    """The network of a text with ImageNet's weights and a new classifier; a subnet takes them from the supernet's file.

    Raises a UserError if weights are missing or damaged."""
    if not text.startswith(OFA):
        return build(text, classes, weights=True)[0]
    from metad2a import spaces
    from metad2a.spaces.ofa_mbv3.supernet import load_supernet, subnet

    network, _ = load_supernet(supernet or "")
    arch = spaces.get("ofa_mbv3").from_text(text.removeprefix(OFA).partition(":")[2])
    return of_subnet(subnet(network, arch), classes)


@cache
def look(text: str) -> Look:
    """How the images of a text's network are normalised, and its weights' licence."""
    with torch.device("meta"):
        return build(text, 2)[1]
