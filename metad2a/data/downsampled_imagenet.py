"""Downsampled ImageNet (Chrabaszcz et al., 2017) from its ten pickled batches, resumable batch by batch.

The batches are not sorted by class. The features of each batch are saved to a working folder beside the result, and
their places in the result follow from the labels, which are read first.

Dimensions: M images in all, C classes, D feature width.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.messages import log
from metad2a.core.progress import progress
from metad2a.core.tensors import check_form
from metad2a.data.extractors import Extractor
from metad2a.data.features import Features
from metad2a.data.options import IMAGE_SIZE, ProcessOptions

NUM_CLASSES = 1000
NUM_BATCHES = 10
PIXELS = 3 * IMAGE_SIZE * IMAGE_SIZE
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays, numbers and text. Refuses everything else that a pickle can call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072) uint8 and labels (n,) from 0 of a pickled batch. Raises a UserError if the file is no batch."""
    try:
        with path.open("rb") as stream:
            value = _ArrayUnpickler(stream, encoding="latin1").load()
        pixels, labels = np.asarray(value["data"]), np.asarray(value["labels"], dtype=np.int64) - 1
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is not a batch of downsampled ImageNet ({error}). Fetch it anew.") from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS):
        raise UserError(f"{path} holds {pixels.dtype} {pixels.shape}, expected uint8 ({len(labels)}, {PIXELS}).")
    if len(labels) and not 0 <= labels.min() <= labels.max() < NUM_CLASSES:
        raise UserError(f"{path} has labels from {labels.min() + 1} to {labels.max() + 1}, not 1 to {NUM_CLASSES}.")
    return pixels, labels


def find_batches(folder: str | Path) -> list[Path]:
    """The files train_data_batch_1 ... 10 of a folder. Raises a UserError if one is missing."""
    paths = [Path(folder) / f"train_data_batch_{number}" for number in range(1, NUM_BATCHES + 1)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise UserError(
            f"{folder} has no {missing[0]}: give the folder with train_data_batch_1 ... 10 of downsampled ImageNet "
            "32x32 (image-net.org, after a login) as --image-folder."
        )
    return paths


def extract_imagenet32(options: ProcessOptions, network: Extractor) -> Features:
    """Features of all classes, which the caller saves. After an interruption the next call goes on with the first
    unfinished batch. Raises a UserError if a batch is missing or damaged, or a class has no images."""
    folder = options.image_folder
    if folder is None:
        raise UserError("imagenet32 needs --image-folder, the folder of train_data_batch_1 ... 10.")
    paths = find_batches(folder)
    labels = [read_batch(path)[1] for path in progress(paths, desc="reading labels", unit="file")]
    chosen = choose(labels, options.max_per_class, options.seed)
    kept = np.concatenate([part[rows] for part, rows in zip(labels, chosen, strict=True)])  # (M,)
    counts = torch.from_numpy(np.bincount(kept, minlength=NUM_CLASSES))
    if not bool(counts.all()):
        label = int((counts == 0).nonzero()[0]) + 1
        raise UserError(f"{folder}: class {label} has no images. Are all ten batches there?")
    places = torch.from_numpy(kept).argsort(stable=True).argsort()  # (M,), rows of the result
    images = torch.empty(len(kept), network.spec.feature_dim, dtype=torch.float16)  # (M, D)
    how = f"{network.spec.identity}-{options.max_per_class}-{options.seed}"
    parts = [working_folder(options.target) / _part_name(path, how) for path in paths]
    if finished := sum(part.is_file() for part in parts):
        log.info(f"Going on after {finished} of {len(parts)} batches.")
    with progress(total=len(images), desc=f"{options.name} features", unit="img") as bar:
        for path, part, rows, place in zip(paths, parts, chosen, places.split(list(map(len, chosen))), strict=True):
            if part.is_file():
                hint = f"Remove it and run the command again: {part}"
                saved = load_torch(part, hint)
                check_form(part, saved, images[: len(rows)], "its content", hint)
            else:
                pixels = torch.from_numpy(read_batch(path)[0][rows]).view(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
                saved = _embed(network, pixels, options.batch_size)
                save_torch(part, saved)
            images[place] = saved
            bar.update(len(rows))
    names = [str(label + 1) for label in range(NUM_CLASSES)]
    return Features(options.name, images, counts, names, network.spec.identity, folder)


def choose(labels: list[np.ndarray], max_per_class: int | None, seed: int) -> list[np.ndarray]:
    """The rows to take from each batch: all, or at most `max_per_class` images of a class, drawn with `seed`."""
    together = np.concatenate(labels)
    keep = np.ones(len(together), dtype=bool)
    for label in range(NUM_CLASSES if max_per_class is not None else 0):
        rows = np.flatnonzero(together == label)
        if len(rows) > max_per_class:
            keep[rows] = False
            keep[rows[np.random.default_rng([seed, label]).choice(len(rows), max_per_class, replace=False)]] = True
    return [np.flatnonzero(part) for part in np.split(keep, np.cumsum([len(part) for part in labels])[:-1])]


@torch.inference_mode()
def _embed(network: Extractor, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
    return torch.cat([network.embed(batch) for batch in pixels.split(batch_size)])


def _part_name(path: Path, how: str) -> str:
    """A file name that changes if the batch or the extraction changes."""
    return f"{path.name}-{path.stat().st_size}-{path.stat().st_mtime_ns}-{how}.pt"


def working_folder(target: Path) -> Path:
    """The folder of unfinished work on `target`."""
    return target.with_name(f".{target.stem}.work")
