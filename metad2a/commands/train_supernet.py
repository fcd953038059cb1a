"""Train a MobileNetV3 supernet on a folder of images, one sub-folder a class.

python -m metad2a.commands.train_supernet --imgnet DIR --width-mult 0.35 --image-size 32

For those who cannot fetch the published supernet (get_files/get_ofa_supernet.py), or whose machine is small.
"""

import argparse
import sys

from metad2a.core.cli import run
from metad2a.core.options import fill, options_parser
from metad2a.spaces.ofa_mbv3.options import SupernetOptions


def build_parser() -> argparse.ArgumentParser:
    return options_parser(__doc__, SupernetOptions)


def dispatch(args: argparse.Namespace) -> None:
    from metad2a.core.environment import choose_device
    from metad2a.core.errors import UserError
    from metad2a.data.imagenet import class_names
    from metad2a.spaces.ofa_mbv3.supernet import ofa_class
    from metad2a.spaces.ofa_mbv3.supernet_training import train_supernet

    if getattr(args, "width_mult", None) == 0:
        raise UserError("--width-mult must be above 0.")
    ofa_class()
    device, names = choose_device(args.gpu), class_names(args.imgnet, getattr(args, "class_order", None))
    print(train_supernet(fill(SupernetOptions, args, device=device, class_names=names)))


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
