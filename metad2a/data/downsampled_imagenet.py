"""Downsampled ImageNet (Chrabaszcz et al., 2017) from its ten pickled batches, resumable class by class.

The batches are not sorted by class. Each is read once and written, sorted, to a working folder beside the result. Then
the classes go through the network one after the other, and each is saved when it is done.

Dimensions: M images in all, C classes, D feature width.
"""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import TypedDict

from metad2a.core.errors import UserError
from metad2a.core.files import atomic_write, load_torch, save_torch
from metad2a.core.messages import log
from metad2a.core.progress import progress
from metad2a.core.schema import Integer, check_form, read_json
from metad2a.data.extractors import IMAGE_SIZE, Extractor
from metad2a.data.features import Features

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
    missing = [path.name for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        raise UserError(
            f"{folder} has no train_data_batch_1 ... 10: give the folder of downsampled ImageNet 32x32 (image-net.org, "
            "after a login) as --image-folder."
        )
    if missing:
        raise UserError(f"{folder} lacks {missing[0]}.")
    return paths


class _Index(TypedDict):
    """Index of a working folder: names, sizes and times of the batches, and each batch's images of each class."""

    stamp: list[Any]
    counts: list[list[Integer]]


class _SortedBatches:
    """Batches on disk, sorted by class: each has the images of a class in one piece."""

    def __init__(self, work: Path, batches: list[Path]):
        self.work, self.batches = work, batches
        index = work / "index.json"
        stamp = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in batches]
        if index.is_file():
            saved = read_json(index, _Index, "a list of sorted batches", f"Remove it and run this again: {index}")
            if saved["stamp"] == stamp and [len(row) for row in saved["counts"]] == [NUM_CLASSES] * len(batches):
                self.counts = np.array(saved["counts"])  # (batches, C)
                return
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.counts = np.zeros((len(batches), NUM_CLASSES), dtype=np.int64)
        for number, path in enumerate(progress(batches, desc="sorting batches", unit="file")):
            pixels, labels = read_batch(path)
            order = np.argsort(labels, kind="stable")
            with (work / f"batch_{number}.bin").open("wb") as stream:
                for start in range(0, len(order), 4096):  # bounds the memory of the sorted copy
                    stream.write(pixels[order[start : start + 4096]].tobytes())
            self.counts[number] = np.bincount(labels, minlength=NUM_CLASSES)
        value = {"stamp": stamp, "counts": self.counts.tolist()}
        atomic_write(index, lambda temporary: temporary.write_text(json.dumps(value), encoding="utf-8"))

    def pixels(self, label: int) -> torch.Tensor:
        """Images (n, 3, 32, 32) uint8 of a class."""
        parts = []
        for number, counts in enumerate(self.counts):
            with (self.work / f"batch_{number}.bin").open("rb") as stream:
                stream.seek(int(counts[:label].sum()) * PIXELS)
                parts.append(np.frombuffer(stream.read(int(counts[label]) * PIXELS), dtype=np.uint8))
        return torch.from_numpy(np.concatenate(parts)).view(-1, 3, IMAGE_SIZE, IMAGE_SIZE)


def extract_imagenet32(
    name: str,
    folder: str | Path,
    target: Path,
    network: Extractor,
    batch_size: int,
    max_per_class: int | None,
    seed: int,
) -> Features:
    """Features of all classes. After an interruption the next call goes on with the first unfinished class.

    Args:
        target: the features file to be. The caller saves it and removes the working folder beside it.

    Raises a UserError if a batch is missing or damaged, or a class has no images.
    """
    batches = _SortedBatches(working_folder(target), find_batches(folder))
    counts = torch.from_numpy(batches.counts.sum(axis=0))
    if not bool(counts.all()):
        label = int((counts == 0).nonzero()[0]) + 1
        raise UserError(f"{folder}: class {label} has no images. Are all ten batches there?")
    if max_per_class is not None:
        counts = counts.clamp(max=max_per_class)
    done = batches.work / f"{network.spec.identity}-{max_per_class}-{seed}"
    done.mkdir(exist_ok=True)
    images = torch.empty(int(counts.sum()), network.spec.feature_dim, dtype=torch.float16)  # (M, D)
    if finished := sum((done / f"{label}.pt").is_file() for label in range(NUM_CLASSES)):
        log.info(f"Going on after {finished} of {NUM_CLASSES} classes.")
    with progress(total=len(images), desc=f"{name} features", unit="img") as bar:
        for label, rows in enumerate(images.split(counts.tolist())):
            part = done / f"{label}.pt"
            if part.is_file():
                hint = f"Remove it and run the command again: {part}"
                saved = load_torch(part, hint)
                check_form(part, saved, rows, "its content", hint)
                rows.copy_(saved)
            else:
                pixels = batches.pixels(label)
                if len(pixels) > len(rows):
                    chosen = np.random.default_rng([seed, label]).choice(len(pixels), len(rows), replace=False)
                    pixels = pixels[torch.from_numpy(np.sort(chosen))]
                rows.copy_(torch.cat(list(_embed(network, pixels, batch_size))))
                save_torch(part, rows.clone())
            bar.update(len(rows))
    names = [str(label + 1) for label in range(NUM_CLASSES)]
    return Features(name, images, counts, names, network.spec.identity, str(folder))


@torch.inference_mode()
def _embed(network: Extractor, pixels: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    for batch in pixels.split(batch_size):
        yield network.embed(batch)


def working_folder(target: Path) -> Path:
    """The folder of unfinished work on `target`."""
    return target.with_name(f".{target.stem}.work")
