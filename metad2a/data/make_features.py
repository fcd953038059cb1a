"""From a dataset's M images to its features file, D numbers each."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from metad2a.core.environment import choose_device
from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.messages import log
from metad2a.core.progress import progress
from metad2a.data.datasets import open_dataset
from metad2a.data.downsampled_imagenet import extract_imagenet32, working_folder
from metad2a.data.extractors import Extractor
from metad2a.data.features import Features
from metad2a.data.image_source import ImageSource
from metad2a.data.options import DATASETS, IMAGE_SIZE, ProcessOptions
from metad2a.data.reading import Squares, check_readable, collate
from metad2a.data.user_folder import check_classes, folder_digest, open_parts


def make_features(options: ProcessOptions) -> Path:
    """Write the features file of a dataset; returns its path. Raises a UserError if images are missing, too many are
    unreadable, or the file exists already."""
    o, target = options, options.target
    if target.exists() and not o.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it.")
    device = choose_device(o.gpu)
    if o.dataset == "imagenet32":
        features = extract_imagenet32(o, Extractor(o.extractor, o.name).to(device))
    else:
        source = open_dataset(o.name, o.image_folder, o.split, o.data_path, o.mirror, o.class_order)
        check_classes(source)
        if o.split == "test":
            log.info("These are the images that train_arch and evaluation test networks on: search with others.")
        numbers, network = source.select(o.max_per_class, o.seed), Extractor(o.extractor, o.name).to(device)
        features = extract(source, numbers, network, o.batch_size, o.num_workers)
        if o.image_folder is not None:
            train, test = open_parts(o.name, o.image_folder, o.data_path)
            digest = folder_digest(train, test, say=True)
            features = replace(features, listing=digest, folder=display_path(o.image_folder))
    features.save(target)
    shutil.rmtree(working_folder(target), ignore_errors=True)
    log.info(
        f"{target}: {len(features.images)} images of {features.num_classes} classes, {features.dim} features each "
        f"({features.extractor})"
    )
    if o.image_folder is not None and o.name in DATASETS:
        log.warning(
            f"{target} has your images under the name of the official {o.name}: all commands for {o.name} use it until "
            "you remove it. Give your images another name."
        )
    return target


def extract(
    source: ImageSource, numbers: np.ndarray, network: Extractor, batch_size: int = 64, num_workers: int = 0
) -> Features:
    """Features of the images `numbers`, class after class. Unreadable images are named and left out. Raises a UserError
    if more than 5 % of the images, or all of a class, cannot be read."""
    images = torch.empty(len(numbers), network.spec.feature_dim, dtype=torch.float16)  # (M, D)
    loader = DataLoader(Squares(source, numbers, IMAGE_SIZE), batch_size, num_workers=num_workers, collate_fn=collate)
    readable, filled = [], 0
    remarks: list[str] = []
    with torch.inference_mode(), progress(total=len(numbers), desc=f"{source.name} features", unit="img") as bar:
        for batch, ok, texts in loader:
            images[filled : filled + len(batch)] = network.embed(batch)
            filled += len(batch)
            readable.append(ok)
            remarks += texts
            bar.update(len(ok))
    counts = check_readable(source, numbers, torch.cat(readable), remarks)
    images = images[:filled].clone() if filled < len(images) else images
    return Features(source.name, images, counts, source.class_names, network.spec.identity, source.origin)
