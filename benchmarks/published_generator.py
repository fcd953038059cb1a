"""Compare the authors' generator with the shipped one: python benchmarks/published_generator.py FILE

FILE is a checkpoint in the authors' format (bare state dict), for example ckpt_400.pt. Latents are z ~ N(0, 1), so that
no dataset is needed; each is decoded once, by sampling. Writes benchmarks/results/published_generator.json: shares of
valid graphs, of distinct architectures among these, and of those that the shipped generator was not trained on, mean
and 95 % interval over seeds.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.quality import shares
from generator.model import GeneratorModel
from metad2a import spaces
from metad2a.core.cli import gpu_option, positive_int, run, seed_number
from metad2a.core.environment import choose_device, provenance, random_generator
from metad2a.core.files import ASSETS, ROOT, write_json
from metad2a.core.messages import log
from metad2a.core.statistics import interval
from metad2a.data.features import find_features, load_features
from metad2a.metatrain.models import load_model
from metad2a.metatrain.tuples import FEATURES_NAME, load_tuples

SHIPPED = ASSETS / "checkpoints" / "nasbench201" / "generator.pt"
BATCH = 1000


@torch.inference_mode()
def decoded(model: GeneratorModel, number: int, seed: int) -> list[str | None]:
    """Architectures of `number` random latents, None where a graph is not valid."""
    space, device = spaces.get("nasbench201"), next(model.parameters()).device
    rng = random_generator(seed, device)
    archs: list[str | None] = []
    while len(archs) < number:
        z = torch.randn(min(BATCH, number - len(archs)), model.config.nz, generator=rng, device=device)
        archs += space.decode(model.decode(z, stochastic=True, rng=rng))
    return archs


def measure(args: argparse.Namespace) -> None:
    space, device = spaces.get("nasbench201"), choose_device(args.gpu)
    features = load_features(find_features(FEATURES_NAME, args.data_path), FEATURES_NAME)
    tuples = load_tuples("generator", space, args.data_path, features.num_classes)
    trained = {tuples.archs[row] for row in tuples.training.tolist()}
    result: dict[str, Any] = {"decoded": args.decoded, "seeds": args.num_seeds, "training_architectures": len(trained)}
    for name, path in (("published", args.checkpoint), ("shipped", SHIPPED)):
        model, _ = load_model("generator", space, path, device)
        runs = [
            shares(decoded(model, args.decoded, args.seed + number), trained, space.known_accuracy("cifar10"))
            for number in range(args.num_seeds)
        ]
        result[name] = {
            key: dict(zip(("mean", "interval_95"), interval([run[key] for run in runs]), strict=True))
            for key in runs[0]
        }
        log.info(f"{name}: " + ", ".join(f"{key} {value['mean']:.4f}" for key, value in result[name].items()))
    history = provenance(args.seed, device=device, threads=torch.get_num_threads())
    history["command"] = history["command"].replace(args.checkpoint, "FILE")  # which lies elsewhere on each machine
    write_json(args.output, {"history": history, "result": result})
    print(f"{args.output} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a generator in the authors' format")
    parser.add_argument("--decoded", type=positive_int, default=10_000, help="graphs of each seed")
    parser.add_argument("--num-seeds", type=positive_int, default=5)
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "published_generator.json"))
    parser.add_argument("--seed", type=seed_number, default=333)
    gpu_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
