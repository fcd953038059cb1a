"""Speed and memory of process_dataset: python benchmarks/process.py [--imagenet32-images 100000]

Speed is the ratio to the published loop (one 32x32 image at a time through the same network), in one run. Memory is
that of a process of its own on a synthetic downsampled ImageNet. ResNet-18 has random weights, which cost the same.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights, resnet18

from metad2a.core.cli import positive_int, run
from metad2a.core.environment import keep_freed_memory, peak_gb
from metad2a.core.files import ROOT
from metad2a.data import downsampled_imagenet
from metad2a.data.extractors import Extractor
from metad2a.data.image_source import ImageSource
from metad2a.data.make_features import extract


def source_of(n: int) -> ImageSource:
    """n random 32x32 images of 10 classes, opened as PIL images."""
    pixels = np.random.default_rng(0).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    names = [str(c) for c in range(10)]
    return ImageSource("toy", names, torch.arange(n) % 10, lambda i: Image.fromarray(pixels[i]), str, "memory")


@torch.no_grad()
def published_loop(source: ImageSource, numbers: list[int], network: Extractor) -> None:
    """The published code's loop: open, convert, normalise and embed one image after the other."""
    for number in numbers:
        pixels = torch.from_numpy(np.array(source.open(number).convert("RGB"))).permute(2, 0, 1)
        network((pixels.float() / 255)[None])


def speed(n: int) -> None:
    for name in ("resnet18", "efficientnet_lite0"):
        source = source_of(n)
        numbers = source.select()
        network = Extractor(name, "toy")
        published_loop(source, range(5), network)
        part = n // 8
        start = time.perf_counter()
        published_loop(source, range(part), network)
        slow = (time.perf_counter() - start) / part
        start = time.perf_counter()
        extract(source, numbers, network, 32)
        fast = (time.perf_counter() - start) / n
        print(f"{name:<19} one at a time {1 / slow:6.0f} images/s, here {1 / fast:6.0f} images/s: {slow / fast:.1f}x")


def memory(n: int, folder: Path) -> None:
    rng, batches = np.random.default_rng(0), 10
    images = folder / "imagenet32"
    images.mkdir()
    for batch in range(1, batches + 1):
        labels = rng.permutation(np.arange(n // batches) % downsampled_imagenet.NUM_CLASSES)
        data = rng.integers(0, 255, (len(labels), 3072), dtype=np.uint8)
        value = {"data": data, "labels": (labels + 1).tolist(), "mean": data.mean(axis=0)}
        (images / f"train_data_batch_{batch}").write_bytes(pickle.dumps(value, protocol=2))
    command = [sys.executable, str(ROOT / "process_dataset.py"), "--dataset", "imagenet32"]
    start = time.perf_counter()
    subprocess.run([*command, "--image-folder", str(images), "--data-path", str(folder)], check=True)
    seconds = time.perf_counter() - start
    peak = peak_gb(children=True)
    print(f"imagenet32 of {n:,} images: {seconds:.0f} s, peak memory {peak:.2f} GB")


def measure(args: argparse.Namespace) -> None:
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_HOME"] = folder
        cache = Path(folder) / "hub" / "checkpoints"
        cache.mkdir(parents=True)
        torch.save(resnet18().state_dict(), cache / ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1])
        speed(args.images)
        if args.imagenet32_images:
            memory(args.imagenet32_images, Path(folder))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive_int, default=4000)
    parser.add_argument("--imagenet32-images", type=int, default=100_000, help="0 leaves this part out")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
