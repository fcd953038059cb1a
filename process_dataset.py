"""Turn images into the features that MetaD2A reads: python process_dataset.py --dataset NAME --image-folder DIR."""

import argparse
import sys
from pathlib import Path

from engine.cli import gpu_option, positive_int, run
from engine.errors import UserError
from engine.runs import choose_device, say


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", required=True, help="name of the dataset, later given as --data-name")
    parser.add_argument("--image-folder", required=True, help="a folder with one sub-folder of images a class")
    parser.add_argument("--class-order", help="a text file whose lines start with a sub-folder's name, in class order")
    parser.add_argument("--data-path", default="data", help="folder for <dataset>bylabel.pt")
    parser.add_argument(
        "--extractor", default="efficientnet_lite0", choices=["efficientnet_lite0", "resnet18"], help="network"
    )
    parser.add_argument("--batch-size", type=positive_int, default=128, help="images at a time")
    parser.add_argument("--num-workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--max-per-class", type=positive_int, help="at most so many images of a class, at random")
    parser.add_argument("--seed", type=int, default=333, help="of --max-per-class")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing features file")
    gpu_option(parser)
    return parser


def process(args: argparse.Namespace) -> None:
    from tasks.images import extract_folder, list_image_folder

    target = Path(args.data_path) / f"{args.dataset}bylabel.pt"
    if target.exists() and not args.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it.")
    folder = list_image_folder(args.image_folder, args.class_order, args.max_per_class, args.seed)
    device = choose_device(args.gpu)
    features = extract_folder(args.dataset, folder, args.extractor, device, args.batch_size, args.num_workers)
    features.save(target)
    say(
        f"{target}: {len(features.images)} images of {features.num_classes} classes, {features.dim} features each "
        f"({features.extractor})"
    )


if __name__ == "__main__":
    sys.exit(run(build_parser(), process))
