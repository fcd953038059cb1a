"""Evaluate a MobileNetV3 architecture on a dataset: fine-tune its subnet and report the test accuracy.

python evaluation/main.py --data-name cifar10 --num-gen-arch 200               the first choice of that meta-test
python evaluation/main.py --data-name cifar10 --num-gen-arch 200 --bound 300   its first choice of at most 300 MFLOPs
python evaluation/main.py --data-name cifar10 --model-config net.subnet        a published network of NSGANetV2
"""

import argparse
import sys

from metad2a.core.cli import run
from metad2a.core.options import fill, options_parser
from metad2a.finetuning.options import EvaluationOptions


def build_parser() -> argparse.ArgumentParser:
    return options_parser(__doc__, EvaluationOptions)


def dispatch(args: argparse.Namespace) -> None:
    from metad2a.core.environment import choose_device
    from metad2a.finetuning.evaluate import evaluate

    print(evaluate(fill(EvaluationOptions, args, device=choose_device(args.gpu))))


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
