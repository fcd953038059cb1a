"""--model compare on a table: what it prints and writes, and what it refuses."""

import csv
import json
import re
from pathlib import Path

import pytest

from metad2a.rivals.compare import rows_of, run_all, usable
from metad2a.rivals.options import CompareOptions
from metad2a.rivals.table import table_problem

LINE = "--model compare --data-name cifar10 --num-workers 1"


def test_a_comparison_prints_and_writes_each_search(command, space):
    code, out, err = command(f"{LINE} --methods random,evolution,halving,metad2a --num-seeds 3 --budget 1200epochs")
    assert code == 0, err
    assert "3 searches of each method on cifar10" in out
    assert "They look at validation accuracies" in out
    assert "4,852 functions" in out
    rows = {line.split()[0]: line for line in out.splitlines() if re.match(r"\w+ +\d\d\.\d\d \+- ", line)}
    assert list(rows) == ["random", "evolution", "halving", "metad2a"]
    assert not any(" oracle " in line for line in rows.values())
    folder = Path("results/compare/cifar10/001")
    with (folder / "comparison.csv").open() as file:
        searches = list(csv.DictReader(file))
    known = space.known_accuracy("cifar10")
    assert len(searches) == 12
    for row in searches:
        assert float(row["accuracy"]) == pytest.approx(known[row["architecture"]], abs=1e-3)
        assert float(row["epochs"]) <= 1200
    written = json.loads((folder / "comparison.json").read_text())
    assert written["budget"] == {"epochs": 1200.0}
    method = written["methods"]["evolution"]
    assert method["parameters"] == {"population": 10, "tournament": 3}
    for run, row in zip(method["runs"], searches[3:6], strict=True):
        assert run["chosen"][0] == row["architecture"] == run["trajectory"][-1][3]
        assert [step[1] for step in run["trajectory"]] == sorted(step[1] for step in run["trajectory"])
    assert command(f"{LINE} --methods metad2a --num-seeds 1")[0] == 0
    assert Path("results/compare/cifar10/002/comparison.csv").is_file()


def test_of_all_methods_those_that_cannot_are_named(command, caplog):
    line = "--model compare --search-space ofa_mbv3 --data-name imagenet-224 --num-seeds 1 --num-workers 1"
    code, out, err = command(f"{line} --methods random,evolution --budget 40evaluations")
    assert code == 0, err
    assert "the best of the table: 77.47" in out
    options = CompareOptions(search_space="ofa_mbv3", data_name="imagenet-224")
    names = usable(table_problem("imagenet-224", "ofa_mbv3"), options)
    assert {"random", "evolution", "bayesian", "mdenas", "nsganetv2"} <= set(names)
    assert not {"naswot", "transfer", "pc-darts"} & set(names)


def test_several_at_a_time_are_the_same():
    options = {"data_name": "cifar10", "methods": "random,mdenas", "num_seeds": 2}
    problem = table_problem("cifar10")
    alone, both = (
        rows_of(problem, run_all(problem, ["random", "mdenas"], CompareOptions(**options, num_workers=workers)))
        for workers in (1, 2)
    )
    for one, other in zip(alone, both, strict=True):
        assert one.accuracy == other.accuracy
        assert [result.chosen for result in one.results] == [result.chosen for result in other.results]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("--methods evoluton", "Did you mean evolution?"),
        ("--methods random,", "there is no method ''"),
        ("--budget 11e", "too small: one evaluation on cifar10 takes 12 epochs"),
        ("--data-name cifar1", "Did you mean cifar10?"),
        ("--data-name ninapro --methods halving", "halving needs accuracies after fewer epochs"),
        ("--data-name cifar100 --methods metad2a-predictor", "cifar100"),
        ("--search-space ofa_mbv3 --data-name imagenet-224 --methods naswot", "naswot needs training-free scores"),
        (
            "--search-space ofa_mbv3 --data-name imagenet-224 --methods metad2a",
            "metad2a does not know the search space",
        ),
        ("--methods pc-darts", "pc-darts has no table form: use --form real"),
        ("--num-draws 3", "--num-draws belongs to"),
    ],
)
def test_bad_input(refuses, rest, expected):
    assert expected in refuses(f"{LINE} {rest}")
    assert not Path("results").exists()


@pytest.mark.parametrize("value", ["", "x", "0", "-3", "5years", "1e9", "nan"])
def test_other_budgets_are_refused(command, value):
    code, _, err = command(f"{LINE} --budget={value}")
    assert code == 2
    assert "--budget" in err


def test_a_dataset_is_needed(refuses):
    assert "--data-name is missing" in refuses("--model compare")
