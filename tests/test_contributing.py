"""The search space and the search method of CONTRIBUTING.md work as it says, with its commands in its order."""

import csv
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT

from metad2a import rivals, spaces
from metad2a.core.errors import UserError
from metad2a.core.options import SEARCH_SPACES
from metad2a.rivals import METHODS
from metad2a.rivals.table import table_problem

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULE, LINE, DATABASE, METHOD, METHOD_LINE = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
SIZES = {  # of the test, added to the commands of CONTRIBUTING.md
    "meta-train": "--hs 16 --nz 16 --num-sample 3 --max-epoch 20 --batch-size 4 --lr 1e-2",
    "build-database": "--num-tasks 8 --num-sampled 3 --num-draws 1 --num-sample 3",
    "search": "--num-gen-arch 3 --num-draws 2 --num-sample 3",
    "compare": "--num-seeds 2 --num-workers 1 --budget 600epochs",
}
CELL = "conv3x3,maxpool3x3|0>1 0>3 1>2 2>3"


def add(source, line, known, tmp_path, monkeypatch):
    """Write a module, load it as the name that its line says, and enter the line; returns the name."""
    ((name, where),) = re.findall(r'^ +"([\w-]+)": "([\w.]+:\w+)",$', line, flags=re.MULTILINE)
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(where.partition(":")[0], path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(known, name, where)
    return name


@pytest.fixture
def third(tmp_path, monkeypatch):
    """The space, added as CONTRIBUTING.md says."""
    name = add(MODULE, LINE, SEARCH_SPACES, tmp_path, monkeypatch)
    yield spaces.get(name)
    spaces.get.cache_clear()


def test_its_cells_survive_graphs_and_text(third, rng):
    archs = [CELL, "|0>1", *third.sample(40, rng)]
    graphs = third.encode(archs)
    assert third.valid(graphs).all()
    assert third.decode(graphs) == archs == [third.from_text(third.to_text(arch)) for arch in archs]
    assert graphs.max_n == third.max_n
    assert int(graphs.types.max()) < third.num_vertex_type


def test_equal_cells_have_one_text(third):
    same = [third.from_text(f"{a},{b}|0>1 0>2 1>3 2>3") for a, b in (("conv1x1", "conv3x3"), ("conv3x3", "conv1x1"))]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "text",
    ["", "conv3x3", "conv5x5|0>1 1>2", "conv3x3|0>1", "conv3x3|1>0 1>2", "conv3x3|0>1 1>3", f"{CELL} 1>3 0>2 0>9"],
)
def test_other_lines_are_refused(third, text):
    with pytest.raises(UserError):
        third.from_text(text)


def commands_of(section):
    """The commands of a section in their order, with the test's sizes."""
    text = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    for line in re.findall(r"^\$ python main.py (.*)$", text, flags=re.MULTILINE):
        yield f"{line} --gpu cpu {SIZES[line.split()[0]]}"


def test_its_commands_run_in_their_order(third, rng, command):
    with open("measured.csv", "w", newline="") as file:
        accuracy = (torch.rand(24, generator=rng) * 10 + 50).tolist()
        csv.writer(file).writerows(zip([i % 5 for i in range(24)], accuracy, third.sample(24, rng), strict=True))
    tasks = [(torch.randperm(600, generator=rng)[:4] + 1).tolist() for _ in range(5)]
    Path("tasks.csv").write_text("".join(",".join(map(str, task)) + "\n" for task in tasks))
    exec(DATABASE, {})
    for line in commands_of("A search space"):
        code, out, err = command(line)
        assert code == 0, (line, err)
    assert "3 architectures ranked for cifar10" in out
    ranked = [line.split(maxsplit=4)[4] for line in out.splitlines() if re.match(r" +\d.* \+- ", line)]
    assert [third.from_text(text) for text in ranked] == ranked
    assert third.decode(third.encode(ranked)) == ranked


def test_errors_advise_what_helps(third, refuses):
    """Nothing of this space is published, so nothing can be fetched."""
    error = refuses(f"search cifar10 --gpu cpu --search-space {third.name}")
    assert "get_files" not in error
    assert f"meta-train --model generator --search-space {third.name}" in error


def test_names_that_are_to_be_edited_exist():
    """`NAME` of `file.py` or `NAME` (`file.py`): the file has the name."""
    text = " ".join(TEXT.split())
    places = re.findall(r"`(\w+)`(?: or `(\w+)`)? (?:of |\()`([\w/]+\.py)`", text)
    assert len(places) >= 8
    for *names, path in places:
        assert all(re.search(rf"\b{name}\b", (ROOT / path).read_text()) for name in names), (names, path)


def test_the_method_searches_and_is_compared(tmp_path, monkeypatch, command):
    name = add(METHOD, METHOD_LINE, METHODS, tmp_path, monkeypatch)
    problem = table_problem("cifar10")
    result = rivals.get(name).run(problem, 0)
    here = result.chosen[0]
    values, genes = problem.columns[12], problem.space.genes(here)
    around = [[*genes[:i], value, *genes[i + 1 :]] for i in range(6) for value in range(5)]
    neighbours = [problem.text_of(problem.nearest(other)) for other in around]
    assert values[here] == max(values[other] for other in neighbours)  # a summit
    (line,) = commands_of("A search method")
    assert name in line
    code, out, err = command(line)
    assert code == 0, err
    assert re.search(rf"^{name} +\d\d\.\d\d", out, flags=re.MULTILINE)
