"""NASWOT's scores here against the published ones of CIFAR-10: python benchmarks/naswot.py --image-folder CIFAR10

Architectures that have a published score are drawn at random, and scored on one batch of training images. With
--data-name they are another dataset's, added to those of the first: what do such scores know of the images?
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy.stats import spearmanr

from metad2a import spaces
from metad2a.core.cli import positive_int, run
from metad2a.core.environment import keep_freed_memory, provenance, random_generator
from metad2a.core.files import ROOT, write_json
from metad2a.core.progress import progress
from metad2a.data.augmentation import normalize
from metad2a.data.image_data import load_image_data
from metad2a.rivals.naswot import NO_SCORE, score

RESULT = ROOT / "benchmarks" / "results" / "naswot.json"
PUBLISHED, SEED = "cifar10", 333


def measure(args: argparse.Namespace) -> None:
    keep_freed_memory()
    space = spaces.get("nasbench201")
    published = space.training_free_scores(PUBLISHED)
    known = [arch for arch in space.architectures if np.isfinite(published[arch])]
    data = load_image_data(args.data_name, args.image_folder, args.data_path, SEED)
    rows = torch.randperm(len(data.train), generator=random_generator(SEED))[: args.batch_size]
    images = normalize(data.train.pixels[rows], torch.tensor(data.mean), torch.tensor(data.std))
    drawn = np.random.default_rng(SEED).choice(len(known), args.num_archs, replace=False)
    archs, scores, start = [known[i] for i in drawn], [], time.perf_counter()
    for arch in progress(archs, desc="scores"):
        torch.manual_seed(SEED)
        scores.append(score(space.network(arch, len(data.class_names)), images))
    seconds = (time.perf_counter() - start) / len(archs)
    agreement = float(spearmanr(scores, [published[arch] for arch in archs]).statistic)
    found = json.loads(args.output.read_text()) if args.output.is_file() else {"result": {}, "history": {}}
    found["result"][args.data_name] = {"images": len(rows), "spearman": agreement, "seconds": seconds} | {
        "scores": {arch: None if value == NO_SCORE else value for arch, value in zip(archs, scores, strict=True)}
    }
    print(f"{len(archs)} architectures, {len(rows)} images: Spearman {agreement:.4f}, {seconds:.2f} s each")
    found["history"][args.data_name] = provenance(SEED, threads=torch.get_num_threads(), device="cpu")
    write_json(args.output, found)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-folder", required=True, help="images, one sub-folder a class")
    parser.add_argument("--data-name", default=PUBLISHED, help=f"what they are (default {PUBLISHED})")
    parser.add_argument("--data-path", default="data", help="folder of decoded images (default data)")
    parser.add_argument("--num-archs", type=positive_int, default=200, help="architectures (default 200)")
    parser.add_argument("--batch-size", type=positive_int, default=128, help="images of the batch (default 128)")
    parser.add_argument("--output", type=Path, default=RESULT, help="file of the result")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
