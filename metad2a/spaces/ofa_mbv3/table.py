"""Measured ImageNet accuracies of subnets of the published supernet, and the script that rebuilds the shipped table.

python -m metad2a.spaces.ofa_mbv3.table CSV

The CSV has the columns source, image_size, ks, e, d (20, 20 and 5 digits) and top1 (%). docs/reproduction.md says from
what the shipped table is made. Dimensions: n measured subnets.
"""

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from metad2a.core.arrays import ArrayOf, Schema, TextsOf, read_arrays, save_arrays
from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS
from metad2a.spaces.ofa_mbv3.layers import NUM_LAYERS, Arch
from metad2a.spaces.ofa_mbv3.space import OFAMobileNetV3

TABLE = ASSETS / "ofa_mbv3" / "accuracy.npz"
FORMAT = "metad2a-subnet-accuracies-1"
NUM_CLASSES = 1000  # of ImageNet


SCHEMA: Schema = {
    "operations": ArrayOf(np.uint8, ("n", NUM_LAYERS)),
    "image_size": ArrayOf(np.integer, ("n",), low=1),
    "accuracy": ArrayOf(np.floating, ("n",), low=0, high=100),
    "source": ArrayOf(np.integer, ("n",), low=0),
    "sources": TextsOf(),
}


@dataclass(frozen=True)
class Measured:
    """n subnets and their accuracies."""

    archs: list[Arch]
    image_size: np.ndarray  # (n,) int64, side in pixels of the images
    accuracy: np.ndarray  # (n,) float64, ImageNet top-1, %; the mean if a subnet was measured several times
    source: list[str]  # who measured each subnet

    def __len__(self) -> int:
        return len(self.archs)

    def rows(self, image_size: int) -> np.ndarray:
        """(k,) int64, the subnets measured with images of this side."""
        return np.flatnonzero(self.image_size == image_size)


def operations_to_archs(operations: np.ndarray) -> list[Arch | None]:
    """Vertex types of 20 layers (n, 20) to subnets, None for an invalid row."""
    return OFAMobileNetV3().of_layer_types(operations)


def archs_to_operations(archs: list[Arch]) -> np.ndarray:
    """The inverse of `operations_to_archs`, (n, 20) uint8."""
    return OFAMobileNetV3().layer_types(archs).astype(np.uint8)


@cache
def measured(path: str | Path = TABLE) -> Measured:
    """Read a table. Raises a UserError if it is missing, damaged or of another kind."""
    hint = "Make it with: python -m metad2a.spaces.ofa_mbv3.table CSV"
    value = read_arrays(path, SCHEMA, "a table of subnets' accuracies", hint, FORMAT)
    archs = [arch for arch in operations_to_archs(value["operations"]) if arch]
    count = len(value["operations"])
    columns = [value[name] for name in ("image_size", "accuracy", "source")]
    known = int(value["source"].max()) < len(value["sources"])
    if len(archs) < count or not known or any(len(column) != count for column in columns):
        raise UserError(f"{path} is not a table of subnets' accuracies: its columns do not fit. {hint}")
    names = [value["sources"][number] for number in value["source"].tolist()]
    return Measured(archs, columns[0].astype(np.int64), columns[1].astype(np.float64), names)


def make(csv_file: str | Path, target: str | Path = TABLE) -> None:
    """Write the table of the subnets in a CSV file. Raises a UserError if the file is damaged."""
    space, accuracies = OFAMobileNetV3(), defaultdict(list)  # subnet (text), side of images, source -> %
    try:
        with Path(csv_file).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                arch = {name: [int(digit) for digit in row[name]] for name in ("ks", "e", "d")}
                accuracies[space.to_text(arch), int(row["image_size"]), row["source"]].append(float(row["top1"]))
        if not accuracies:
            raise ValueError("it has no lines")
    except (KeyError, TypeError, ValueError, csv.Error) as error:  # a UserError is a ValueError
        raise UserError(f"{csv_file} is damaged ({error}).") from error
    sources = sorted({source for _, _, source in accuracies})
    value = {
        "format": FORMAT,
        "operations": archs_to_operations([space.from_text(text) for text, _, _ in accuracies]),
        "image_size": np.array([size for _, size, _ in accuracies], dtype=np.int16),
        "accuracy": np.array([sum(values) / len(values) for values in accuracies.values()], dtype=np.float32),
        "source": np.array([sources.index(source) for _, _, source in accuracies], dtype=np.int16),
        "sources": sources,
    }
    save_arrays(target, value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", help="file of measured subnets")
    sys.exit(run(parser, lambda args: make(args.csv)))
