"""Evaluate a MobileNetV3 architecture on a dataset: fine-tune its subnet and report the test accuracy.

python evaluation/main.py --data-name cifar10 --num-gen-arch 200               the first choice of that meta-test
python evaluation/main.py --data-name cifar10 --num-gen-arch 200 --bound 300   its first choice of at most 300 MFLOPs
python evaluation/main.py --data-name cifar10 --model-config net.subnet        a published network of NSGANetV2
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.cli import (
    fraction,
    gpu_option,
    image_side,
    mirror_option,
    not_negative_float,
    not_negative_int,
    positive_int,
    run,
    seed_number,
)
from engine.names import name_type
from search_spaces.ofa_mbv3.supernet import PUBLISHED


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--data-name",
        required=True,
        type=name_type,
        help="cifar10, cifar100, aircraft100, pets or another; any name with a folder",
    )
    add("--image-folder", help="images of --data-name, one sub-folder a class, or such folders train and test")
    add("--num-gen-arch", type=positive_int, default=200, help="of the meta-test that chose (default 200)")
    add("--bound", type=not_negative_float, help="the first choice of at most so many MFLOPs")
    add("--model-config", help="a network of NSGANetV2 instead: its net.subnet or net.config")
    add("--arch", help="an architecture's text instead")
    add("--supernet", default=str(PUBLISHED), help=f"weights (default {PUBLISHED})")
    add("--data-path", default="data", help="folder of official files (default data)")
    mirror_option(parser)
    add("--save-path", default="results", help="folder of meta-tests and results (default results)")
    add("--image-size", type=image_side, help="side of the input (default: the supernet's, 224 for the published)")
    add("--epochs", type=positive_int, default=150, help="default 150")
    add("--batch-size", type=positive_int, default=96, help="default 96")
    add("--lr", type=not_negative_float, default=0.01, help="default 0.01")
    add("--valid-share", type=fraction, default=0.1, help="of the training images, to choose the epoch (default 0.1)")
    add("--num-workers", type=not_negative_int, default=0, help="processes that read images (default 0: none)")
    add("--seed", type=seed_number, default=333, help="default 333")
    add("--resume", action="store_true", help="continue an interrupted run")
    add("--overwrite", action="store_true", help="replace an earlier run")
    gpu_option(parser)
    return parser


def dispatch(args: argparse.Namespace) -> None:
    from engine.runs import choose_device
    from evaluation.evaluate import EvaluationOptions, evaluate

    values = vars(args)
    print(evaluate(EvaluationOptions(device=choose_device(values.pop("gpu")), **values)))


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
