"""`train-supernet`: train a MobileNetV3 supernet, for those who cannot fetch the published one."""

from dataclasses import replace

from metad2a.commands.base import Command
from metad2a.spaces.ofa_mbv3.options import SupernetOptions


def run(options: SupernetOptions) -> None:
    """Train, and print where the supernet is."""
    from metad2a.data.imagenet import class_names
    from metad2a.spaces.ofa_mbv3.supernet import ofa_class
    from metad2a.spaces.ofa_mbv3.supernet_training import train_supernet

    ofa_class()  # refuses a missing package before images are read
    names = class_names(options.imgnet, options.class_order)
    print(train_supernet(replace(options, class_names=names)))


COMMAND = Command(
    "train-supernet",
    "Train a MobileNetV3 supernet on a folder of images.",
    "train-supernet --imgnet path/to/imagenet --width-mult 0.35 --image-size 32",
    SupernetOptions,
    run,
)
