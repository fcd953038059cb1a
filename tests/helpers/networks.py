"""A small network, and a few images in memory to train it with."""

import torch

from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.spaces.nasbench201.network import NASBench201Network
from metad2a.training.classifier import Protocol, Run

SMALL = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"


def toy_data(n=50, num_classes=3):
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % num_classes
    pixels = torch.randint(100, (n, 32, 32, 3), generator=rng, dtype=torch.uint8)
    pixels[..., 0] += (60 * labels[:, None, None]).to(torch.uint8)  # classes differ in red
    part = LabelledImages(pixels, labels)
    stats = ((0.5,) * 3, (0.25,) * 3)
    return ImageData("toy", [str(c) for c in range(num_classes)], part, part, part, *stats, "fingerprint", "memory")


def toy_run(folder, data, epochs=2, **changes):
    torch.manual_seed(1)
    protocol = Protocol(epochs, changes.pop("augment", True), 16)
    return Run(NASBench201Network(SMALL, 3), protocol, {"arch": SMALL}, 7, folder / "ckpt_last.pt", **changes)
