"""From a dataset's images to its features file."""

import shutil
from dataclasses import replace
from pathlib import Path

from metad2a.core.cli import default_mirror
from metad2a.core.environment import choose_device, keep_freed_memory
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.data.downsampled_imagenet import extract_imagenet32, working_folder
from metad2a.data.extraction import ExtractOptions, extract
from metad2a.data.folders import EXTENSIONS, listing_digest
from metad2a.data.open_images import open_source
from metad2a.data.options import ProcessOptions


def process(options: ProcessOptions) -> Path:
    """Write the features file of a dataset; returns it.

    Raises:
        UserError: images are missing, too many are unreadable, or the file exists already.
    """
    keep_freed_memory()
    o, target = options, options.target
    if target.exists() and not o.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it.")
    device = choose_device(o.gpu)
    how = ExtractOptions(o.extractor, device, o.batch_size, o.num_workers, first_size=o.first_size)
    if o.dataset == "imagenet32":
        if o.image_folder is None:
            raise UserError("imagenet32 needs --image-folder, the folder of train_data_batch_1 ... 10.")
        if o.first_size is not None:
            raise UserError("--first-size does not go with imagenet32, whose images have 32 x 32 pixels already.")
        limit = (o.max_per_class, o.seed)
        features = extract_imagenet32(o.name, o.image_folder, target, how, *limit)
    else:
        source = open_source(o.name, o.image_folder, o.split, o.data_path, o.mirror or default_mirror(), o.class_order)
        if o.split == "test":
            log.info("These are the images that train_arch and evaluation test networks on: search with others.")
        features = extract(source, source.select(o.max_per_class, o.seed), how)
        if o.image_folder is not None:
            features = replace(features, listing=listing_digest(o.image_folder, EXTENSIONS))
    features.save(target)
    shutil.rmtree(working_folder(target), ignore_errors=True)
    log.info(
        f"{target}: {len(features.images)} images of {features.num_classes} classes, {features.dim} features each "
        f"({features.extractor})"
    )
    return target
