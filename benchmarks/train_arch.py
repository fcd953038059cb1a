"""Images per second of a training step: python benchmarks/train_arch.py [--gpu 0] [--batch-size 256]

Ours, with augmentation, against the network of the benchmark's authors (package xautodl: pip install --no-deps xautodl)
in an ordinary loop on images that are ready: the same architecture and batch, in turns, in one run. The best of the
repetitions counts, as other programs on the machine only make a step slower. Both are in float32.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from tqdm import tqdm

from metad2a.core.cli import gpu_option, positive_int, run
from metad2a.core.environment import choose_device, keep_freed_memory
from metad2a.core.errors import UserError
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.spaces.nasbench201.network import NASBench201Network
from metad2a.training.classifier import Run, published_protocol, train_epoch

ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def random_data(n: int) -> ImageData:
    """n random images of 10 classes."""
    part = LabelledImages(torch.randint(256, (n, 32, 32, 3), dtype=torch.uint8), torch.arange(n) % 10)
    names = [str(label) for label in range(10)]
    return ImageData("cifar10", names, part, part, part, (0.5,) * 3, (0.25,) * 3, "", "memory")


def our_steps(arch: str, data: ImageData, batch_size: int, device: torch.device) -> Callable[[], None]:
    """An epoch of `metad2a.training.classifier`."""
    protocol = published_protocol("cifar10", batch_size=batch_size)
    training = Run(NASBench201Network(arch, 10).to(device), protocol, {}, 777, Path("unused"))
    images = data.train.to(device)
    return lambda: train_epoch(training, images, data, 0, tqdm(disable=True))


def their_steps(arch: str, data: ImageData, batch_size: int, device: torch.device) -> Callable[[], None]:
    """The ordinary loop: float32, default memory format, images normalised beforehand."""
    try:
        from xautodl.models import CellStructure
        from xautodl.models.cell_infers import TinyNetwork
    except ImportError as error:
        raise UserError(f"xautodl is needed ({error}): pip install --no-deps xautodl") from error
    network = TinyNetwork(16, 5, CellStructure.str2structure(arch), 10).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    images = ((data.train.pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25).contiguous().to(device)
    labels = data.train.labels.to(device)

    def epoch() -> None:
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(x)[1], y).backward()
            optimizer.step()

    return epoch


def seconds(steps: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    steps()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def measure(args: argparse.Namespace) -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    device, n = choose_device(args.gpu), args.batch_size * args.steps
    data = random_data(n)
    contenders = {"xautodl": their_steps, "here": our_steps}
    loops = {name: make(args.arch, data, args.batch_size, device) for name, make in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(args.repetitions + 1):  # the first warms up
        for name, steps in loops.items():
            times[name].append(seconds(steps, device))
    speed = {name: n / min(values[1:]) for name, values in times.items()}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"{args.arch}, batch {args.batch_size}, {where}, torch {torch.__version__}")
    for name, value in speed.items():
        print(f"{name:<8} {value:9.1f} images/s  {value / speed['xautodl']:5.2f}x")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu_option(parser)
    parser.add_argument("--arch", default=ARCH, help="in quotes")
    parser.add_argument("--batch-size", type=positive_int, default=256, help="default 256")
    parser.add_argument("--steps", type=positive_int, default=2, help="steps of a repetition (default 2)")
    parser.add_argument("--repetitions", type=positive_int, default=3, help="default 3")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
