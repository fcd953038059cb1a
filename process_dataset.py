"""Turn images into the features that MetaD2A reads.

python process_dataset.py --dataset cifar10                        fetched, then processed
python process_dataset.py --dataset mine --image-folder DIR        a folder with one sub-folder of images a class
python process_dataset.py --dataset imagenet32 --image-folder DIR  the ten batches of downsampled ImageNet
"""

import argparse
import shutil
import sys
from dataclasses import MISSING, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine.cli import default_mirror, gpu_option, image_side, not_negative_int, positive_int, run, seed_number
from engine.errors import UserError
from engine.names import name_type
from engine.options import add_options, fill, option

EXTRACTORS = ("efficientnet_lite0", "resnet18")
FILE_NAMES = {"imagenet32": "imgnet32", "imgnet32": "imgnet32"}  # the authors' name of its features file


@dataclass(frozen=True)
class ProcessOptions:
    """What to process, and how."""

    dataset: str = option(
        MISSING,
        "cifar10, cifar100, mnist, svhn, aircraft, aircraft100, pets, imagenet32 or a name of your own, later given as "
        "--data-name",
        type=name_type,
    )
    image_folder: str | None = option(
        None, "a folder with one sub-folder of images a class; for imagenet32 that of its batches"
    )
    class_order: str | None = option(
        None, "a text file whose lines start with a sub-folder's name, in the order of the classes"
    )
    split: str = option(
        "train",
        "of a known dataset or an image folder; of a folder without a part for testing, train leaves out the images "
        "that are held out to test networks on, all takes every image",
        choices=("train", "test", "all"),
    )
    data_path: str = option("data", "folder for <dataset>bylabel.pt, official files in its raw-data")
    extractor: str = option("efficientnet_lite0", "network whose features they are", choices=EXTRACTORS)
    gpu: str | None = None
    batch_size: int = option(64, "images at a time", type=positive_int)
    num_workers: int = option(0, "processes that read images", type=not_negative_int, shown="0: none")
    first_size: int | None = option(
        None, "bring images to this side in pixels first (ImageNet16-120: 16)", type=image_side
    )
    max_per_class: int | None = option(None, "at most so many images of a class, at random", type=positive_int)
    seed: int = option(333, "of --max-per-class", type=seed_number)
    overwrite: bool = option(False, "replace an existing features file")
    mirror: str | None = option(
        None, "an address or a folder that has the official files under the same paths", shown="METAD2A_MIRROR"
    )

    @property
    def name(self) -> str:
        return FILE_NAMES.get(self.dataset, self.dataset)

    @property
    def target(self) -> Path:
        return Path(self.data_path) / f"{self.name}bylabel.pt"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, ProcessOptions)
    gpu_option(parser)
    return parser


def process(options: ProcessOptions) -> Path:
    """Write the features file of a dataset; returns it.

    Raises:
        UserError: images are missing, too many are unreadable, or the file exists already.
    """
    from engine.runs import choose_device, keep_freed_memory, say
    from images.downsampled_imagenet import extract_imagenet32, working_folder
    from images.folders import EXTENSIONS, listing_digest
    from images.locate import open_source
    from images.source import ExtractOptions, extract

    keep_freed_memory()
    target = options.target
    if target.exists() and not options.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it.")
    device = choose_device(options.gpu)
    how = ExtractOptions(
        options.extractor, device, options.batch_size, options.num_workers, first_size=options.first_size
    )
    if options.dataset == "imagenet32":
        if options.image_folder is None:
            raise UserError("imagenet32 needs --image-folder, the folder of train_data_batch_1 ... 10.")
        if options.first_size is not None:
            raise UserError("--first-size does not go with imagenet32, whose images have 32 x 32 pixels already.")
        limit = (options.max_per_class, options.seed)
        features = extract_imagenet32(options.name, options.image_folder, target, how, *limit)
    else:
        o = options
        source = open_source(o.name, o.image_folder, o.split, o.data_path, o.mirror or default_mirror(), o.class_order)
        if o.split == "test":
            say("These are the images that train_arch and evaluation test networks on: search with others.")
        features = extract(source, source.select(options.max_per_class, options.seed), how)
        if o.image_folder is not None:
            features = replace(features, listing=listing_digest(o.image_folder, EXTENSIONS))
    features.save(target)
    shutil.rmtree(working_folder(target), ignore_errors=True)
    say(
        f"{target}: {len(features.images)} images of {features.num_classes} classes, {features.dim} features each "
        f"({features.extractor})"
    )
    return target


def dispatch(args: argparse.Namespace) -> None:
    process(fill(ProcessOptions, args, gpu=args.gpu))


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
