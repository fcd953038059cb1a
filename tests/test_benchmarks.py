"""Every script of benchmarks/ runs, on toy sizes."""

import contextlib
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.authors import authors_features
from helpers.images import write_images
from PIL import Image

import main
from benchmarks import (
    dataset_effect,
    lines,
    quality,
    report_picture,
    rivals,
    speed,
    startup,
    validation,
    ways,
)
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.metatrain.checkpoints import read_checkpoint

RNG = np.random.default_rng(0)


@pytest.fixture
def bench(capsys):
    """Run a benchmark: bench(module, work, "--options") -> its standard output."""

    def call(module, work, line=""):
        code = run(module.build_parser(), work, line.split())
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return call


@pytest.fixture
def run_here(monkeypatch):
    """Commands that a benchmark would start as processes run in this one, which has PyTorch already."""

    def here(command, **options):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert main.main(command[2:]) == 0
        return subprocess.CompletedProcess(command, 0, output.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", here)


def test_all_have_a_test():
    others = dict.fromkeys(("make_results", "pages", "closed"), "test_results.py") | {"script": "test_benchmarks.py"}
    others |= dict.fromkeys(("length", "length_sets", "length_choices"), "test_length.py")
    others |= {"budget": "test_budget_benchmark.py"}
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert {name for name in scripts if f"test_{name}" not in globals()} == set(others)
    assert all((ROOT / "tests" / name).is_file() for name in others.values())


@pytest.mark.usefixtures("authors_data")
def test_dataset_effect(bench, toy_checkpoints, monkeypatch):
    monkeypatch.setattr(dataset_effect, "load_tuples", allowing_pickles(dataset_effect.load_tuples))
    sizes = {"FOLDS": 2, "NUM_COMPONENTS": 2, "NUM_TASKS": 3, "NUM_ARCHITECTURES": 5, "NUM_SAMPLE": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(dataset_effect, name, value)
    line = f"--repetitions 1 --output out.json --gpu cpu --predictor-checkpoint {toy_checkpoints['predictor']}"
    bench(dataset_effect, dataset_effect.measure, line)
    predictor = json.loads(Path("out.json").read_text())["result"]["predictor"]
    assert sum(predictor[name] for name in ("task", "architecture", "interaction")) == pytest.approx(1, abs=1e-3)


@pytest.mark.usefixtures("authors_data")
def test_lines(bench, toy_checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "load_tuples", allowing_pickles(lines.load_tuples))
    monkeypatch.setitem(lines.SMOOTHED, "upper", 50)
    monkeypatch.setattr(lines, "nasbench360", dict)
    torch.save(authors_features(8, 25, seed=4), "data/imagenet16-120bylabel.pt")
    archs = spaces.get("nasbench201").all_architectures()
    for name in ("cifar10", "imagenet16-120"):
        Path(f"{name}.csv").write_text(f"architecture,nwot,synflow,jacov,zen\n{archs[0]},1,2,3,4\n")
    line = "--zero-cost . --num-runs 1 --output out.json --gpu cpu"
    bench(lines, lines.measure, f"{line} --predictor-checkpoint {toy_checkpoints['predictor']}")
    result = json.loads((tmp_path / "out.json").read_text())["result"]
    assert set(result["tables"]) == {"cifar10", "cifar100", "imagenet16-120"}
    assert "transfer" in result["tables"]["cifar10"]["lines"]


@pytest.mark.usefixtures("run_here")
def test_quality(bench, authors_data, toy_checkpoints, tmp_path, monkeypatch):
    torch.save(authors_features(8, 25, seed=4), authors_data / "imagenet16-120bylabel.pt")
    torch.save(authors_features(10, 25, seed=5), authors_data / "mnistbylabel.pt")
    sizes = {"NUM_CANDIDATES": 12, "CANDIDATES": (3, 5), "DRAWS": (1, 2), "GRAPHS_PER_ROUND": 30}
    for name, value in sizes.items():
        monkeypatch.setattr(quality, name, value)
    monkeypatch.setattr(quality, "load_tuples", allowing_pickles(quality.load_tuples))
    line = "--num-runs 1 --output out --gpu cpu"
    line += " ".join(f" --{kind}-checkpoint {path}" for kind, path in toy_checkpoints.items())
    bench(quality, quality.measure, line)
    results = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in quality.SECTIONS}
    assert results["search"]["result"]["cifar10"]["candidates"]["5"]["runs"] == 1


def allowing_pickles(load):
    return lambda *args: load(*args, allow_pickle=True)


def test_speed(bench, monkeypatch):
    for name, value in {"NUM_CANDIDATES": {"nasbench201": 3}, "BATCH": 2, "MAX_RANKED": 0}.items():
        monkeypatch.setattr(speed, name, value)
    out = bench(speed, speed.measure, "--repeats 1 --feature-dim 8 --images 16 --gpu cpu")
    assert "images to features" in out
    rows = [line.split("  ")[0] for line in out.splitlines()[2:-1]]
    assert rows[-4:] == ["train generator", "train predictor", "generate 3", "score 3"]


def test_rivals(bench):
    """Three methods on two tables. A table that is measured again replaces its part of the file."""
    line = "--methods random,metad2a,halving --num-seeds 2 --num-workers 1 --output rivals.json"
    bench(rivals, rivals.measure, f"{line} --datasets cifar10")
    bench(
        rivals, rivals.measure, "--methods random --num-seeds 2 --num-workers 1 --output rivals.json --datasets darcy"
    )
    found = json.loads(Path("rivals.json").read_text())["result"]
    assert list(found) == ["cifar10", "darcy"]
    methods = found["cifar10"]["methods"]
    assert {name: entry["mark"] for name, entry in methods.items()} == {
        "random": "",
        "metad2a": "",
        "halving": "",
    }
    assert methods["metad2a"]["curve"][0][0] == 0
    assert methods["random"]["curve"][-1][1] == pytest.approx(methods["random"]["accuracy"]["mean"])
    by = {(row["convolutions"], row["depth"]): row for row in found["cifar10"]["preferences"]["by_depth"]}
    # The figures that were measured on the table before there was this benchmark
    assert by[3, 2]["short"] == pytest.approx(75.61, abs=0.01)
    assert by[3, 3]["short"] == pytest.approx(73.45, abs=0.01)
    assert by[3, 2]["long"] == pytest.approx(92.19, abs=0.01)
    assert "preferences" not in found["darcy"]


def test_report_picture(bench, monkeypatch, tmp_path):
    """A search runs and a browser is asked for its picture."""

    def here(command, cwd=None, **options):
        if cwd is None:
            [target] = [word.partition("=")[2] for word in command if word.startswith("--screenshot=")]
            assert Path(command[-1].removeprefix("file://")).read_text().startswith("<!")
            Image.new("RGB", (9, 9)).save(target)
        else:
            with contextlib.chdir(cwd):
                assert main.main(command[2:]) == 0

    monkeypatch.setattr(subprocess, "run", here)
    monkeypatch.setattr(report_picture, "IMAGES", 6)
    bench(report_picture, report_picture.make, "--browser none --budget 2e --output report.png")
    assert (tmp_path / "report.png").is_file()


@pytest.mark.usefixtures("authors_data")
def test_validation(bench, toy_checkpoints):
    line = "--num-draws 2 --num-sample 2 --allow-pickle --record --gpu cpu --data-path data"
    out = bench(validation, validation.measure, f"{line} --predictor-checkpoint {toy_checkpoints['predictor']}")
    recorded = read_checkpoint(toy_checkpoints["predictor"], "predictor", "").metrics
    assert f"2 draws: Pearson {recorded['correlation']:.4f}" in out
    assert f"standard error {recorded['validation_loss'] ** 0.5 * 100 * 5:.2f} points" in out


def test_ways(bench, monkeypatch):
    """All methods are tested on the same images; finished ones are not run again."""
    write_images(Path("photos"), n=20)

    def here(command, **options):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert run(ways.build_parser(), ways.measure, command[2:]) == 0
        return subprocess.CompletedProcess(command, 0, output.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", here)
    line = "photos --budgets 3e --methods search,linear,first,from-scratch --gpu cpu --output ways.json"
    bench(ways, ways.measure, line)
    file = json.loads(Path("ways.json").read_text())
    rows = file["result"]["rows"]
    assert [row["method"] for row in rows] == ["search", "linear", "first", "from-scratch"]
    assert {len(row["hits"]) for row in rows} == {6}
    assert [row["way"] for row in rows[1:]] == ["linear classifier", "from nothing", "from nothing"]
    before = Path("ways.json").stat().st_mtime_ns
    bench(ways, ways.measure, line)
    assert Path("ways.json").stat().st_mtime_ns == before
    found = ways.tables({"ways": file["result"]})
    assert "| photos | 3e | **" in found["ways"]
    assert "| photos | 3e | **" in found["ways-scratch"]


def test_a_way_that_is_better_is_marked():
    ours, other = "1" * 50 + "0" * 50, "1" * 80 + "0" * 20
    gain, errors = ways.paired(ours, other)
    assert gain == pytest.approx(-30)
    assert errors == pytest.approx(200 * (0.3 * 0.7) ** 0.5 / 10)
    rows = [{"seed": 1, "hits": hits, "x-test": 50.0} for hits in (ours, other)]
    assert "above" in ways.cell(rows[:1], rows[1:])
    assert "above" not in ways.cell(rows[1:], rows[:1])


def test_startup(bench, monkeypatch):
    monkeypatch.setattr(startup, "LINES", ("--version", "search cifar10"))
    monkeypatch.setattr(startup, "IMPORTS", {"nothing": ["-c", ""]})
    rows = [
        line.split(" | ") for line in bench(startup, startup.measure, "--repeats 1 --images 20 --no-torch").splitlines()
    ]
    assert [row[0].strip("| `") for row in rows[2:]] == ["nothing", "--version", "search cifar10"]
    assert "torch" not in rows[-1][-1]
    assert "PIL" in rows[-1][-1]
    assert startup.until_first_line(["-c", "print('x')"]) > 0
