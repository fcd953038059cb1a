"""The shipped tables of NAS-Bench-201, and the script that makes them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metad2a.core.arrays import load_arrays, save_arrays
from metad2a.core.errors import UserError
from metad2a.spaces.nasbench201 import make_tables, tables, tasks
from metad2a.spaces.nasbench201.classes import equivalence_classes

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
    columns = make_tables.api_columns(make_tables.load_api(str(tmp_path / "benchmark.pth")), space)
    for index in range(len(texts)):
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
            assert column[100 + index].item() == pytest.approx(expected)


def run_script(*arguments):
    command = [sys.executable, "-m", "metad2a.spaces.nasbench201.make_tables", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


def test_a_benchmark_that_lacks_architectures_writes_nothing(space, tmp_path):
    benchmark_file(space, tmp_path / "benchmark.pth")
    done = run_script("--benchmark", "benchmark.pth", "--output", ".")
    assert done.returncode == 2
    assert "lacks 15622 of the 15625" in done.stderr
    assert not Path("accuracy.npz").exists()


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
    done = run_script("--csv", "test.csv", "valid.csv", "--output", ".")
    assert done.returncode == 0, done.stderr
    table = load_arrays("accuracy.npz", "")
    for column, datasets in space.table.items():
        for name, values in datasets.items():
            np.testing.assert_allclose(table[column][name], values, rtol=0, atol=1e-4)


def test_a_missing_benchmark_file():
    done = run_script("--benchmark", "nowhere.pth")
    assert done.returncode == 2
    assert "nowhere.pth is missing" in done.stderr


def write(path, names, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["architecture", *names], *rows])


def test_the_shipped_table_has_the_published_maxima(space):
    for name, best in (("ninapro", 94.3854), ("darcy", 98.48)):
        known = space.known_accuracy(name)
        assert max(known.values()) == pytest.approx(best, abs=0.005)
        assert list(known) == space.architectures


def test_the_table_is_made_from_rows_in_any_order(space, tmp_path):
    scores = tables.nasbench360()
    order = np.random.default_rng(0).permutation(space.size).tolist()
    rows = [[space.architectures[i], scores["ninapro"][i].item(), scores["darcy"][i].item() / 100] for i in order]
    write(tmp_path / "table.csv", ["ninapro", "darcy"], rows)
    assert make_tables.main(["--nasbench360", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 0
    made = load_arrays(tmp_path / "nasbench360.npz", "")
    for name in tables.NASBENCH360_NAMES:
        np.testing.assert_allclose(made["score"][name], scores[name], rtol=0, atol=1e-4)


def test_equal_cells_share_a_score_and_the_rest_has_none(space, tmp_path):
    classes = equivalence_classes()
    first = int((np.bincount(classes) > 1).argmax())
    members = np.flatnonzero(classes == first)[:2].tolist()
    other = int((classes != first).argmax())
    rows = [[space.architectures[i], value] for i, value in ((members[0], 1.0), (members[1], 4.0), (other, -1e8))]
    for name in make_tables.SCORED:
        write(tmp_path / f"{name}.csv", ["nwot"], rows)
    made = make_tables.make_nwot(tmp_path, space)["cifar10"]
    assert made[first] == 2.5
    assert made[classes[other]] == tables.NO_SCORE
    assert (made > tables.NO_SCORE).sum() == 1


def test_the_shipped_scores_follow_the_accuracies(space):
    score = tables.nwot()["cifar10"]
    known = np.array(list(space.known_accuracy("cifar10").values()))
    there = np.isfinite(score)
    assert there.mean() > 0.9
    ranks = [values[there].argsort().argsort() for values in (score, known)]
    assert np.corrcoef(ranks)[0, 1] > 0.7  # published: 0.76


@pytest.mark.parametrize("text", ["", "architecture,ninapro\nx,1\n", "architecture,ninapro,darcy\nx,1,1\n"])
def test_other_files_are_refused(tmp_path, capsys, text):
    (tmp_path / "table.csv").write_text(text)
    assert make_tables.main(["--nasbench360", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 2
    assert "table.csv" in capsys.readouterr().err
    assert not (tmp_path / "nasbench360.npz").exists()


def test_the_latencies_are_made_from_rows_in_any_order(space, tmp_path):
    known = tables.device_latency()
    order = np.random.default_rng(0).permutation(space.size).tolist()
    names = ["raspi4", "pixel3"]
    rows = [[space.architectures[i], *(known[name][i].item() for name in names)] for i in order]
    write(tmp_path / "table.csv", names, rows)
    assert make_tables.main(["--latency", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 0
    made = load_arrays(tmp_path / "latency.npz", "")["ms"]
    assert all(np.array_equal(made[name], known[name]) for name in names)
    assert list(made) == names


def test_the_shipped_latencies_are_of_27_devices_and_small(space):
    known = tables.device_latency()
    assert len(known) == 27
    assert tables.LATENCY.stat().st_size < 10**6
    cell = space.from_text(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    )
    assert space.device_latency("pixel3")[cell] == pytest.approx(17.24, rel=1e-3)
    assert space.device_latency("titan_rtx_256")[cell] == pytest.approx(26.51, rel=1e-3)


@pytest.mark.parametrize(
    "text", ["", "architecture\n", "architecture,a,a\n", "architecture,a\nx,1\n", "architecture,a\n"]
)
def test_other_files_are_no_latencies(tmp_path, capsys, text):
    (tmp_path / "table.csv").write_text(text)
    assert make_tables.main(["--latency", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 2
    assert "table.csv" in capsys.readouterr().err
    assert not (tmp_path / "latency.npz").exists()


# Tasks


def test_the_tasks_have_the_published_maxima():
    best = {name: np.nanmax(tasks.values(name)) for name in tasks.TASKS}
    published = {
        "cifar10": 91.57,
        "class_scene": 54.936,
        "room_layout": -60.1,
        "autoencoder": 57.723,
        "ninapro": 94.385,
    }
    for name, value in published.items():
        assert best[name] == pytest.approx(value, abs=0.005), name
    assert tasks.values("mnist") is None


def test_tasks_without_pooling_know_the_other_cells_only(space):
    known = [i for i, arch in enumerate(space.architectures) if "avg_pool" not in arch]
    assert tasks.without_pooling().tolist() == known
    for name in tasks.TRANSNAS_NAMES:
        assert np.flatnonzero(np.isfinite(tasks.values(name))).tolist() == known


@pytest.mark.parametrize(
    ("option", "key", "names", "path"),
    [
        ("--validation", "arch", tasks.PHOTOGRAPHS, tasks.VALIDATION),
        ("--transnas", "architecture", tasks.TRANSNAS_NAMES, tasks.TRANSNAS),
    ],
)
def test_the_tasks_are_made_from_rows_in_any_order(space, tmp_path, option, key, names, path):
    values = {name: tasks.values(name) / make_tables.TRANSNAS_SCALES.get(name, 1.0) for name in names}
    known = np.flatnonzero(np.isfinite(values[names[0]]))
    rows = [
        [space.architectures[i], *(values[name][i] for name in names)]
        for i in np.random.default_rng(0).permutation(known)
    ]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[key, *names], *rows])
    assert make_tables.main([option, str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 0
    with np.load(tmp_path / path.name) as made, np.load(path) as shipped:
        assert set(made.files) == set(shipped.files)
        for name in names:
            np.testing.assert_allclose(made[name], shipped[name], rtol=1e-5)


def test_a_table_that_lacks_an_architecture_is_refused(space, tmp_path, capsys):
    rows = [[arch, *[1] * 7] for arch in space.architectures[:9]]
    write(tmp_path / "table.csv", tasks.TRANSNAS_NAMES, rows)
    assert make_tables.main(["--transnas", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 2
    assert "lacks" in capsys.readouterr().err
    assert not (tmp_path / "transnas.npz").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04"])
def test_a_damaged_table_of_tasks_is_named(tmp_path, content):
    path = tmp_path / "transnas.npz"
    with pytest.raises(UserError, match="missing"):
        tasks.read_columns(path, ["a"], "metad2a-transnas-1", 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"transnas\.npz is (damaged|empty)"):
        tasks.read_columns(path, ["a"], "metad2a-transnas-1", 4096)


@pytest.mark.parametrize("column", [np.full(4, np.nan), np.ones(3)])
def test_a_table_of_tasks_with_other_content_is_named(tmp_path, column):
    save_arrays(tmp_path / "x.npz", {"a": np.ones(4), "b": column, "format": "f"})
    assert tasks.read_columns(tmp_path / "x.npz", ["a"], "f", 4)["a"].tolist() == [1.0] * 4
    for names, form in ((["a", "b"], "f"), (["a", "c"], "f"), (["a"], "other")):
        with pytest.raises(UserError, match="is not a table of tasks"):
            tasks.read_columns(tmp_path / "x.npz", names, form, 4)
