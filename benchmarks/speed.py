"""Time the parts of MetaD2A, and the same work as the published code does it: python benchmarks/speed.py

The sizes are the published ones: a training step has 32 tuples x 20 classes x 20 images x 512 features (the shipped
features of EfficientNet-Lite0 have width 320: `--feature-dim 320`), and scoring has 500 candidates (MobileNetV3: 200) x
10 draws x 10 classes. "Its design here" does the same work in the layout of the published code, one graph at a time
and the dataset encoded anew for every candidate and draw, with this repository's modules. It does a part of the work,
scaled up. All times are medians of several repetitions. `--search-space ofa_mbv3` times the MobileNetV3 space,
`--images N` the features of N images.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

from generator.model import GeneratorConfig, GeneratorModel
from metad2a import spaces
from metad2a.core.cli import gpu_option, run
from metad2a.core.environment import choose_device, keep_freed_memory, random_generator
from metad2a.core.values import positive_int
from metad2a.data.extractors import Extractor
from metad2a.data.features import Features, draw_dataset
from metad2a.data.image_source import ImageSource
from metad2a.data.make_features import extract
from metad2a.metatrain.score import score
from metad2a.searches.generate import generate
from metad2a.spaces.base import SearchSpace
from predictor.model import PredictorConfig, PredictorModel

# Seconds of the published code on two CPU cores (its own training step and search; README, "Speed").
PUBLISHED = {"nasbench201": {"train generator": 0.369, "train predictor": 0.376, "score 500": 20.0}, "ofa_mbv3": {}}
NUM_CANDIDATES = {"nasbench201": 500, "ofa_mbv3": 200}  # published
BATCH = 32
MAX_RANKED = 20_000  # a larger space is not ranked whole
S = 20


def toy_dataset(D: int, device: torch.device) -> Features:
    """10 classes of 100 images."""
    images = torch.randn(1000, D, generator=random_generator(0))
    counts = torch.full((10,), 100)
    return Features("toy", images, counts, [str(c) for c in range(10)], "resnet18-32px", "").to(device)


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int, warm_up: int = 2) -> float:
    """Median wall time of `work`, the device synchronised around it."""

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for i in range(warm_up + repeats):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        if i >= warm_up:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def build_models(space: SearchSpace, D: int, device: torch.device) -> tuple[GeneratorModel, PredictorModel]:
    """A generator and a predictor with the published sizes and random weights."""
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "nz": 56, "feature_dim": D}
    generator, predictor = (
        GeneratorModel(GeneratorConfig(hs=56, **sizes)),
        PredictorModel(PredictorConfig(hs=512, **sizes)),
    )
    return generator.to(device), predictor.to(device)


def training_step(
    model: Any, space: SearchSpace, D: int, device: torch.device, batch: int = BATCH
) -> Callable[[], None]:
    """One step of Adam on a batch that is already drawn."""
    rng = random_generator(0)
    graphs = space.encode(space.sample(batch, rng)).to(device)
    x = torch.randn(batch, 20, S, D, generator=rng).to(device)
    target = torch.randn(batch, generator=rng).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        if isinstance(model, GeneratorModel):
            loss = model.loss(*model.set_encode(x), graphs)[0]
        else:
            loss = (model.predict(model.encode_set(x), model.encode_graph(graphs)) - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@torch.no_grad()
def time_images(n: int, device: torch.device) -> None:
    """Images to features, beside the published loop: open, normalise and embed one 32x32 image after the other."""
    pixels = np.random.default_rng(0).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    names, labels = [str(label) for label in range(10)], torch.arange(n) % 10
    source = ImageSource("toy", names, labels, lambda i: Image.fromarray(pixels[i]), str, "memory")
    network = Extractor("efficientnet_lite0", "toy")

    def one_by_one() -> None:
        for number in range(n // 8):
            image = torch.from_numpy(np.array(source.open(number))).permute(2, 0, 1)
            network((image.float() / 255)[None])

    slow = median_seconds(one_by_one, torch.device("cpu"), 1, 0) / (n // 8)
    network = Extractor("efficientnet_lite0", "toy").to(device)
    fast = median_seconds(lambda: extract(source, source.select(), network, 32), device, 1, 0) / n
    print(f"images to features: {1 / fast:.0f} images/s, one at a time {1 / slow:.0f} images/s: {slow / fast:.1f}x")


@torch.inference_mode()
def published_scoring(model: PredictorModel, space, features: Features, archs: list, num_draws: int) -> None:
    """The published layout: encode the dataset anew and score one graph, for every candidate and draw."""
    rng = random_generator(0, features.images.device)
    for arch in archs:
        for _ in range(num_draws):
            index = draw_dataset(features, 1, S, rng)
            graph_vec = model.encode_graph(space.encode([arch]).to(features.images.device))
            model.predict(model.encode_set(features.images[index]), graph_vec)


def measure(args: argparse.Namespace) -> None:
    keep_freed_memory()
    device, space = choose_device(args.gpu), spaces.get(args.search_space)
    torch.manual_seed(0)
    D = args.feature_dim
    features, rng = toy_dataset(D, device), random_generator(0, device)
    trained = dict(zip(("train generator", "train predictor"), build_models(space, D, device), strict=True))
    generator, predictor = (model.eval() for model in build_models(space, D, device))
    with torch.no_grad():  # an untrained generator seldom makes valid graphs
        generator.decoder.add_edge[2].bias.fill_(3)
        generator.decoder.add_vertex[2].bias[:2] = -5
        generator.decoder.add_vertex[2].bias[11:] -= 20 * (space.num_vertex_type > 11)
    n = NUM_CANDIDATES[space.name]
    candidates = space.sample(n, random_generator(1))

    def timed(work: Callable[[], object], repeats: int = args.repeats) -> float:
        return median_seconds(work, device, repeats, warm_up=2 if repeats == args.repeats else 1)

    rows = {
        **{name: timed(training_step(model, space, D, device)) for name, model in trained.items()},
        f"generate {n}": timed(lambda: generate(generator, space, features, n, S, rng)),
        f"score {n}": timed(lambda: score(predictor, space, features, candidates, 10, S, rng)),
    }
    z = torch.randn(1, 56, device=device)
    part = 5
    slow = {
        **{name: BATCH * timed(training_step(model, space, D, device, 1), 3) for name, model in trained.items()},
        f"generate {n}": n * timed(lambda: generator.decode(z, stochastic=True), 3),
        f"score {n}": n / part * timed(lambda: published_scoring(predictor, space, features, candidates[:part], 10), 3),
    }
    if space.size <= MAX_RANKED:
        everything = space.all_architectures()
        rows[f"rank {space.size:,}"] = timed(lambda: score(predictor, space, features, everything, 10, S, rng), 3)
    print(f"{space.name}, {torch.get_num_threads()} threads, {device}, features {D} wide, torch {torch.__version__}")
    print(f"{'':<18}{'seconds':>9}{'published code, 2 CPU cores':>30}{'ratio':>8}{'its design here':>24}{'ratio':>8}")
    for name, seconds in rows.items():
        cells = "".join(
            f"{other[name]:>{width}.3f}{other[name] / seconds:>7.1f}x" if name in other else " " * (width + 8)
            for other, width in ((PUBLISHED[space.name], 30), (slow, 24))
        )
        print(f"{name:<18}{seconds:>9.4f}{cells}".rstrip())
    if args.images:
        time_images(args.images, device)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search-space", default="nasbench201", choices=spaces.NAMES)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--feature-dim", type=positive_int, default=512, help="width of the features (default 512)")
    parser.add_argument("--images", type=positive_int, help="also time the features of N images")
    gpu_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
