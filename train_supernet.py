"""Train a MobileNetV3 supernet on a folder of images, one sub-folder a class.

python train_supernet.py --imgnet DIR --width-mult 0.35 --image-size 32

For those who cannot fetch the published supernet (get_files/get_ofa_supernet.py), or whose machine is small.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine.cli import gpu_option, image_side, not_negative_float, not_negative_int, positive_int, run, seed_number


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--imgnet", required=True, help="folder of images; with train and val below it, or a quarter is held out")
    add("--class-order", help="a text file whose lines start with a sub-folder's name (default: all sub-folders)")
    add("--save-path", default="results/ofa_mbv3/supernet", help="default results/ofa_mbv3/supernet")
    add("--width-mult", type=not_negative_float, default=1.0, help="channels relative to MobileNetV3's (default 1)")
    add("--image-size", type=image_side, default=224, help="side of the input in pixels (default 224)")
    add("--epochs", type=positive_int, default=30, help="default 30")
    add(
        "--largest-epochs",
        type=not_negative_int,
        default=0,
        help="so many of them train the largest subnet alone, before the others join (default 0)",
    )
    add("--batch-size", type=positive_int, default=128, help="default 128")
    add("--num-random", type=not_negative_int, default=1, help="random subnets a step beside the largest and smallest")
    add("--lr", type=not_negative_float, default=2e-3, help="AdamW's highest learning rate (default 2e-3)")
    add("--weight-decay", type=not_negative_float, default=0.05, help="AdamW's weight decay (default 0.05)")
    add("--seed", type=seed_number, default=333, help="default 333")
    add(
        "--num-workers",
        type=not_negative_int,
        default=0,
        help="processes that read images, where the pixels of all take more than a GB (default 0: none)",
    )
    add("--resume", action="store_true", help="continue the run in --save-path")
    add("--overwrite", action="store_true", help="replace the run in --save-path")
    gpu_option(parser)
    return parser


def train(args: argparse.Namespace) -> None:
    from engine.errors import UserError
    from engine.runs import choose_device
    from images.imagenet import class_names
    from search_spaces.ofa_mbv3.supernet import ofa_class
    from search_spaces.ofa_mbv3.supernet_training import SupernetOptions, train_supernet

    if args.width_mult == 0:
        raise UserError("--width-mult must be above 0.")
    ofa_class()
    values = vars(args)
    device, names = choose_device(values.pop("gpu")), class_names(args.imgnet, values.pop("class_order"))
    print(train_supernet(SupernetOptions(device=device, class_names=names, **values)))


if __name__ == "__main__":
    sys.exit(run(build_parser(), train))
