"""Rebuilding the shipped table: from the benchmark's own API, the authors' file and CSV exports."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metad2a.spaces.nasbench201 import make_table as script

ROOT = Path(__file__).parents[1]

SPLITS = {
    "cifar10": ["ori-test"],
    "cifar10-valid": ["x-valid", "ori-test"],
    "cifar100": ["x-valid", "x-test", "ori-test"],
    "ImageNet16-120": ["x-valid", "x-test", "ori-test"],
}


def accuracy(index, dataset, split, epochs, seed):
    """A different number for everything that must not be mixed up."""
    return (
        index * 7 + list(SPLITS).index(dataset) * 3 + SPLITS[dataset].index(split) + epochs / 100 + (seed - 777) / 1e3
    )


def benchmark_file(space, path):
    """A small file in the official format, made with the API's own classes."""
    from nas_201_api.api_utils import ArchResults, ResultsCount

    texts, infos = space.architectures[100:103], {}
    for index, text in enumerate(texts):
        infos[index] = {}
        for name, epochs in (("less", 12), ("full", 200)):
            results = ArchResults(index, text)
            for dataset, splits in SPLITS.items():
                for seed in (777, 888):
                    count = ResultsCount(dataset, {}, {}, {}, 1.0, 1.0, {}, seed, epochs, None)
                    last = epochs - 1
                    # The official file keeps evaluations of the last epoch alone for most splits.
                    count.eval_names = list(splits)
                    count.eval_acc1es = {f"{s}@{last}": accuracy(index, dataset, s, epochs, seed) for s in splits}
                    count.eval_losses = {f"{s}@{last}": 1.0 for s in splits}
                    results.update(dataset, seed, count)
            infos[index][name] = results.state_dict()
    torch.save({"meta_archs": texts, "arch2infos": infos, "evaluated_indexes": [0, 1, 2]}, path)
    return texts


def test_accuracies_come_from_the_right_splits(space, tmp_path):
    texts = benchmark_file(space, tmp_path / "benchmark.pth")
    columns = script.accuracies_from_api(script.load_api(str(tmp_path / "benchmark.pth")), space)
    for index, text in enumerate(texts):
        both = [
            (columns["test_200"]["cifar10"], ("cifar10", "ori-test", 200)),
            (columns["test_200"]["cifar100"], ("cifar100", "x-test", 200)),
            (columns["test_200"]["imagenet16-120"], ("ImageNet16-120", "x-test", 200)),
            (columns["valid_12"]["cifar10"], ("cifar10-valid", "x-valid", 12)),
            (columns["valid_12"]["cifar100"], ("cifar100", "x-valid", 12)),
            (columns["valid_12"]["imagenet16-120"], ("ImageNet16-120", "x-valid", 12)),
        ]
        for column, (dataset, split, epochs) in both:
            expected = np.mean([accuracy(index, dataset, split, epochs, seed) for seed in (777, 888)])
            assert column[text] == pytest.approx(expected)


def run_script(*arguments):
    command = [sys.executable, "-m", "metad2a.spaces.nasbench201.make_table", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


def test_a_benchmark_that_lacks_architectures_writes_nothing(space, tmp_path):
    benchmark_file(space, tmp_path / "benchmark.pth")
    done = run_script("--benchmark", "benchmark.pth", "--output", "table.pt")
    assert done.returncode == 2
    assert "lacks 15622 of the 15625" in done.stderr
    assert not Path("table.pt").exists()


def test_csv_exports_give_the_shipped_table_back(space):
    names = ["cifar10", "cifar100", "imagenet16-120"]
    shuffled = np.random.default_rng(0).permutation(space.size).tolist()
    for path, column, headers in (
        ("test.csv", "test_200", names),
        ("valid.csv", "valid_12", ["cifar10-val", "cifar100-val", "imagenet-val"]),
    ):
        rows = [f"{space.architectures[i]}," + ",".join(f"{space.table[column][n][i]:.4f}" for n in names)
                for i in shuffled]  # fmt: skip
        Path(path).write_text("\n".join(["arch," + ",".join(headers), *rows]) + "\n")
    done = run_script("--csv", "test.csv", "valid.csv", "--output", "table.pt")
    assert done.returncode == 0, done.stderr
    table = torch.load("table.pt", weights_only=True)
    for column, datasets in space.table.items():
        for name, values in datasets.items():
            torch.testing.assert_close(table[column][name], values, rtol=0, atol=1e-4)


def test_the_authors_table(space):
    import igraph

    values = space.table["test_200"]["cifar100"].tolist()
    arch = {"str": space.architectures, "igraph": [igraph.Graph(2)], "matrix": [np.eye(4)]}
    torch.save({"arch": arch, "test-acc": {"cifar100": values, "ImageNet16-120": values}}, "nasbench201.pt")
    done = run_script("--published", "nasbench201.pt", "--output", "table.pt")
    assert done.returncode == 0, done.stderr
    table = torch.load("table.pt", weights_only=True)
    assert set(table["test_200"]) == {"cifar100", "imagenet16-120"}
    assert torch.equal(table["test_200"]["cifar100"], space.table["test_200"]["cifar100"])


def test_a_missing_benchmark_file():
    done = run_script("--benchmark", "nowhere.pth")
    assert done.returncode == 2
    assert "nowhere.pth is missing" in done.stderr
