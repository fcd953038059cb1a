"""Turn images into the features that MetaD2A reads.

python process_dataset.py --dataset cifar10                        fetched, then processed
python process_dataset.py --dataset mine --image-folder DIR        a folder with one sub-folder of images a class
python process_dataset.py --dataset imagenet32 --image-folder DIR  the ten batches of downsampled ImageNet
"""

import argparse
import sys

from metad2a.core.cli import run
from metad2a.core.options import fill, options_parser
from metad2a.data.options import ProcessOptions


def build_parser() -> argparse.ArgumentParser:
    return options_parser(__doc__, ProcessOptions)


def dispatch(args: argparse.Namespace) -> None:
    from metad2a.data.make_features import make_features

    make_features(fill(ProcessOptions, args, gpu=args.gpu))


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
