"""Classify image files with a trained network."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metad2a.core.errors import UserError, reason
from metad2a.core.files import display_path, write_csv
from metad2a.core.messages import counted, log
from metad2a.data.folders import left_out_text, scan
from metad2a.networks.options import PredictOptions
from metad2a.networks.trained import HINT, load_network

GIVE = f"Give a network.pt, or the folder of a training or of a search on a budget. {HINT}"
SHOWN = 20  # images on the screen


@dataclass(frozen=True)
class Prediction:
    """An image's class, the network's confidence (0..1), and the share of each class."""

    path: Path
    name: str
    confidence: float
    shares: list[float]


def find_network(place: str) -> Path:
    """The network of a file or of a run's folder. Raises a UserError if there is none."""
    path = Path(place)
    if path.is_file():
        return path
    networks = [*path.glob("network.pt"), *sorted(path.glob("seed_*/network.pt"))]
    if not networks:
        problem = "a folder without a trained network (network.pt)" if path.is_dir() else "missing"
        raise UserError(f"--network {place} is {problem}. {GIVE}")
    if len(networks) > 1:
        log.info(f"{place} has {len(networks)} networks; {networks[0]} is used.")
    return networks[0]


def find_images(place: str) -> list[Path]:
    """An image file, or all images in a folder and its sub-folders. Raises a UserError if there are none."""
    path = Path(place)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"--images {place} is missing. Give an image or a folder of images.")
    left_out: dict[Path, str] = {}
    images = scan(path, left_out)
    text = left_out_text(left_out)
    if not images:
        raise UserError(f"--images {place} holds no images{f' ({text})' if text else ''}. Give another folder.")
    if text:
        log.info(f"{place}: {text}.")
    return images


def all_images(places: Iterable[str]) -> list[Path]:
    """The images of several places, each once. A place is one for `find_images`, or a list of such places: a text file
    (.txt), or - for standard input. Raises a UserError if a place has no images."""
    found: list[Path] = []
    for place in places:
        if place != "-" and Path(place).suffix.lower() != ".txt":
            found += find_images(place)
            continue
        if not (listed := list(_lines(place))):
            raise UserError(f"--images {place} lists nothing. Write one path in each line.")
        for line in listed:
            try:
                found += find_images(line)
            except UserError as error:
                raise UserError(f"{error} It is listed in {'standard input' if place == '-' else place}.") from error
    return list(dict.fromkeys(found))


def _lines(place: str) -> Iterator[str]:
    """The lines of a list that are not empty."""
    try:
        content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    except OSError as error:
        raise UserError(f"--images {place} cannot be read: {reason(error)}. Give images, or a list of them.") from error
    return (line.rstrip("\r") for line in os.fsdecode(content).split("\n") if line.strip())


@torch.inference_mode()
def predict(options: PredictOptions) -> list[Prediction]:
    """Classify images, prepared like the network's training images; unreadable files are named and left out.

    Raises a UserError if the network or the images are missing, or no image can be read.
    """
    output = Path(options.output or "")
    if options.output and (output.is_dir() or (output.exists() and output.suffix.lower() != ".csv")):
        kind = "a folder" if output.is_dir() else "a file, and not one of .csv"
        raise UserError(f"--output {display_path(output)} is {kind}. Name a CSV file, for example classes.csv.")
    network = load_network(find_network(options.network)).to(options.device)
    paths, predictions = all_images(options.images), []
    for start in range(0, len(paths), options.batch_size):
        batch, pixels = _read(paths[start : start + options.batch_size], network.image_size, network.gray)
        if not batch:
            continue
        shares = network(pixels.to(options.device).float() / 255).softmax(dim=1).cpu()  # (B, K)
        for path, row in zip(batch, shares, strict=True):
            best = int(row.argmax())
            predictions.append(Prediction(path, network.class_names[best], row[best].item(), row.tolist()))
    if not predictions:
        problem = f"none of {len(paths)} files can be read as an image"
        raise UserError(f"--images {' '.join(options.images)}: {problem}. Give other images.")
    if options.output:
        write_csv(output, csv_rows(predictions, network.class_names), keep=True)
    return predictions


def _read(paths: list[Path], side: int, gray: Any) -> tuple[list[Path], torch.Tensor]:
    """The readable files, and their pixels (B, 3, side, side) uint8; `gray` is the network's scale of deep gray."""
    from metad2a.data.image_source import ImageSource, open_image
    from metad2a.data.reading import Squares, collate

    labels = np.zeros(len(paths), dtype=np.int64)
    names = [display_path(path) for path in paths]
    source = ImageSource("", [""], labels, lambda i: open_image(paths[i]), names.__getitem__, "", gray=gray)
    squares = Squares(source, np.arange(len(paths)), side)
    pixels, readable, remarks = collate([squares[i] for i in range(len(paths))])
    for name, good, remark in zip(names, readable.tolist(), remarks, strict=True):
        if not good:
            log.warning(f"{name} cannot be read as an image ({remark}); it is left out.")
        elif remark:
            log.warning(
                f"{name}: {remark}. They use a small part of the bits that the file states or of the range of the "
                "training images, or lie outside this range."
            )
    return [path for path, good in zip(paths, readable.tolist(), strict=True) if good], pixels


def csv_rows(predictions: list[Prediction], names: list[str]) -> Iterator[list[Any]]:
    """All predictions as CSV."""
    yield ["image", "class", "confidence", *(f"share of {name}" for name in names)]
    for each in predictions:
        shares = [f"{share:.6f}" for share in each.shares]
        yield [display_path(each.path), each.name, f"{each.confidence:.6f}", *shares]


def text(predictions: list[Prediction], output: str | None) -> str:
    """The first predictions for the screen, and the file of all."""
    lines = [f"{100 * p.confidence:6.1f} %  {p.name}  {display_path(p.path)}" for p in predictions[:SHOWN]]
    if len(predictions) > SHOWN:
        lines.append(f"and {len(predictions) - SHOWN} more{'' if output else ': --output FILE writes all'}")
    if output:
        lines.append(f"all predictions ({counted(len(predictions), 'image')}): {display_path(output)}")
    return "\n".join(lines)
