"""Rebuild the shipped table of NAS-Bench-201 accuracies from one of its sources.

The official benchmark file (NAS-Bench-201-v1_1-096897.pth, 4.7 GB) is read through `nas_201_api`; the authors'
`nasbench201.pt` and CSV exports of the benchmark serve as well.
"""

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
from typing_extensions import TypedDict

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import load_torch, save_torch
from metad2a.core.messages import log
from metad2a.core.schema import FLOATS, NumbersOf, Text, check
from metad2a.spaces.nasbench201.space import TABLE, NASBench201

# Our name of a dataset -> the benchmark's (name, test split) after 200 epochs, (name, validation split) after 12.
API_SPLITS = {
    "cifar10": (("cifar10", "ori-test"), ("cifar10-valid", "x-valid")),
    "cifar100": (("cifar100", "x-test"), ("cifar100", "x-valid")),
    "imagenet16-120": (("ImageNet16-120", "x-test"), ("ImageNet16-120", "x-valid")),
}
CSV_VALID_COLUMNS = {"cifar10": "cifar10-val", "cifar100": "cifar100-val", "imagenet16-120": "imagenet-val"}
Table = dict[str, dict[str, torch.Tensor]]


def accuracies_from_api(api: Any, space: NASBench201) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracies (%, mean of seeds) in a `NASBench201API`: column -> dataset -> architecture -> accuracy."""
    columns: dict[str, dict[str, dict[str, float]]] = {"test_200": {}, "valid_12": {}}
    for dataset, (test, valid) in API_SPLITS.items():
        for column, (name, split), epochs in (("test_200", test, "200"), ("valid_12", valid, "12")):
            columns[column][dataset] = {
                space.from_text(api.meta_archs[index]): results[epochs].get_metrics(name, split)["accuracy"]
                for index, results in api.arch2infos_dict.items()
            }
    return columns


def table_from_api(api: Any, space: NASBench201) -> Table:
    """The table of a `nas_201_api.NASBench201API`. Raises a UserError when the benchmark lacks an architecture."""
    return {
        column: {dataset: _in_order(by_text, space, "the benchmark file") for dataset, by_text in datasets.items()}
        for column, datasets in accuracies_from_api(api, space).items()
    }


_Accuracies = Annotated[torch.Tensor, NumbersOf(FLOATS, low=0, high=100)]


class _Texts(TypedDict):
    str: list[Text]


_Published = TypedDict("_Published", {"arch": _Texts, "test-acc": dict[Text, _Accuracies]})


def table_from_published(value: dict[str, Any], space: NASBench201, source: str) -> Table:
    """The table of the authors' `nasbench201.pt`: {'arch': {'str'}, 'test-acc': {dataset: [...]}}."""
    what = "the authors' table of NAS-Bench-201"
    value = check(source, value, _Published, what, "Fetch it anew.")
    texts = [space.from_text(text) for text in value["arch"]["str"]]
    if wrong := [name for name, column in value["test-acc"].items() if len(column) != len(texts)]:
        raise UserError(f"{source} is not {what}: {wrong[0]!r} has not an accuracy for each of {len(texts)} texts.")
    names = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet16-120"}
    tests = {
        names.get(name, name): _in_order(dict(zip(texts, column.tolist(), strict=True)), space, source)
        for name, column in value["test-acc"].items()
    }
    return {"test_200": tests, "valid_12": {}}


def table_from_csv(test_200: Path, accuracy_12: Path, space: NASBench201) -> Table:
    """The table of two CSV files with a column `arch`."""

    def columns(path: Path, names: dict[str, str]) -> dict[str, torch.Tensor]:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(space.from_text(row["arch"]), row) for row in csv.DictReader(file)]
        return {
            dataset: _in_order({text: float(row[column]) for text, row in rows}, space, str(path))
            for dataset, column in names.items()
        }

    return {
        "test_200": columns(test_200, {dataset: dataset for dataset in API_SPLITS}),
        "valid_12": columns(accuracy_12, CSV_VALID_COLUMNS),
    }


def _in_order(by_text: dict[str, float], space: NASBench201, source: str) -> torch.Tensor:
    missing = [text for text in space.architectures if text not in by_text]
    if missing:
        raise UserError(f"{source} lacks {len(missing)} of the {space.size} architectures, {missing[0]} among them.")
    return torch.tensor([by_text[text] for text in space.architectures], dtype=torch.float32)


def load_api(path: str) -> Any:
    """Open the official benchmark file with its own API, which unpickles it."""
    from nas_201_api import NASBench201API

    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # the API's torch.load is older than weights_only
    try:
        return NASBench201API(path, verbose=False)
    finally:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--benchmark", help="the official file; it is unpickled, so it must come from its authors")
    source.add_argument("--published", help="the MetaD2A authors' nasbench201.pt (holds igraph graphs: trusted files)")
    source.add_argument("--csv", nargs=2, metavar=("TEST_200", "ACCURACY_12"), help="two CSV exports")
    parser.add_argument("--output", default=str(TABLE), help="file to write")
    return parser


def make(args: argparse.Namespace) -> None:
    space = NASBench201()
    if args.benchmark:
        if not Path(args.benchmark).is_file():
            raise UserError(f"{args.benchmark} is missing. The README says where the official file is published.")
        table = table_from_api(load_api(args.benchmark), space)
    elif args.published:
        value = load_torch(args.published, "Fetch it anew.", allow_pickle=True)
        table = table_from_published(value, space, args.published)
    else:
        table = table_from_csv(Path(args.csv[0]), Path(args.csv[1]), space)
    save_torch(args.output, table)
    log.info(f"{args.output}: {space.size} architectures, " + ", ".join(table["test_200"]))


if __name__ == "__main__":
    sys.exit(run(build_parser(), make))
