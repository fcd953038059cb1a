"""Folders of images that a network can learn, and MNIST's files."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def write_images(folder, num_classes=3, n=20, seed=0):
    """`n` images of each class, which differ in colour."""
    rng = np.random.default_rng(seed)
    for label in range(num_classes):
        (folder / f"class {label}").mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., label % 3] += 100
            Image.fromarray(pixels).save(folder / f"class {label}" / f"{i:03}.png")


def write_mnist(raw, train=20):
    folder = raw / "mnist" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, n in (("train", train), ("t10k", 10)):
        images = RNG.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + images.tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())


def exists(path, md5=None):
    return Path(path).exists()
