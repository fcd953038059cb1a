"""The search space and the search method that CONTRIBUTING.md describes work as it says, and take what it says."""

import importlib.util
import re
import sys
from dataclasses import asdict

import pytest
import torch
from conftest import NUM_CLASSES, ROOT

from generator.model import GeneratorConfig, GeneratorModel
from metad2a import rivals, spaces
from metad2a.core.errors import UserError
from metad2a.core.options import SEARCH_SPACES
from metad2a.metatrain.checkpoints import Checkpoint
from metad2a.metatrain.tuples import save_tuples
from metad2a.rivals import METHODS
from metad2a.rivals.table import table_problem

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULE, LINE, METHOD, METHOD_LINE = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
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


def test_it_is_meta_trained_and_searched(third, rng, authors_data, command):
    texts = third.sample(24, rng)
    accuracy, task = torch.rand(24, generator=rng) * 10 + 50, torch.arange(24) % 5
    folder = authors_data / third.name
    folder.mkdir()
    tasks = [torch.randperm(NUM_CLASSES, generator=rng)[:4] + 1 for _ in range(5)]
    save_tuples("predictor", folder, texts, accuracy, task, torch.randperm(24, generator=rng), tasks=tasks)
    where = f"--gpu cpu --search-space {third.name}"
    code, _, err = command(f"--model predictor {where} --hs 8 --nz 8 --num-sample 3 --batch-size 5 --max-epoch 1")
    assert code == 0, err
    write_generator(third)
    code, out, err = command(f"--model search {where} --data-name cifar10 --num-gen-arch 5 --num-draws 2")
    assert code == 0, err
    assert "5 architectures ranked for cifar10" in out
    ranked = [line.split(maxsplit=4)[4] for line in out.splitlines() if re.match(r" +\d.* \+- ", line)]
    assert [third.from_text(text) for text in ranked] == ranked
    assert third.decode(third.encode(ranked)) == ranked


def test_the_readme_says_how_long_it_is():
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"took one file of {len(MODULE.splitlines())} lines and one line" in words
    assert len(LINE.splitlines()) == 1


def write_generator(space):
    """The checkpoint of an untrained generator; some of its graphs are valid."""
    torch.manual_seed(0)
    config = GeneratorConfig(hs=8, nz=8, max_n=space.max_n, num_vertex_type=space.num_vertex_type)
    model = GeneratorModel(config)
    Checkpoint("generator", space.name, asdict(config), model.state_dict(), "resnet18-32px", {}, 1).save(
        f"results/{space.name}/generator/model/ckpt_1.pt"
    )


def test_the_method_searches_and_is_compared(tmp_path, monkeypatch, command):
    name = add(METHOD, METHOD_LINE, METHODS, tmp_path, monkeypatch)
    problem = table_problem("cifar10")
    result = rivals.get(name).run(problem, 0)
    here = result.chosen[0]
    values, genes = problem.columns[12], problem.space.genes(here)
    around = [[*genes[:i], value, *genes[i + 1 :]] for i in range(6) for value in range(5)]
    assert values[here] == max(values[problem.space.from_genes(other)] for other in around)  # a summit
    line = f"--model compare --data-name cifar10 --methods {name},random --num-seeds 2 --num-workers 1 --budget 600"
    code, out, err = command(line)
    assert code == 0, err
    assert re.search(rf"^{name} +\d\d\.\d\d", out, flags=re.MULTILINE)
