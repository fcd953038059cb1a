"""`--model compare --form real`: search methods on images, killed and resumed, and bad input."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.images import write_images
from PIL import Image

from metad2a import rivals
from metad2a.core.budget import Budget
from metad2a.core.errors import UserError
from metad2a.core.files import save_torch
from metad2a.data.image_data import ImageData, LabelledImages, load_image_data
from metad2a.rivals import fisher, supernet_search
from metad2a.rivals.real import ImageProblem, Sizes, read_record
from metad2a.spaces import get
from metad2a.training import classifier
from metad2a.training.classifier import Protocol, protocol_for

TINY = "--channels 4 --cells 1 --search-epochs 1,2 --epochs 1 --batch-size 8"
SUPERNETS = "darts,gdas,pc-darts,mdenas-supernet,lpt"


@pytest.fixture(autouse=True)
def _images():
    write_images(Path("images"), num_classes=2, n=10)


def line(methods, tail="", budget="2epochs"):
    start = "--gpu cpu --model compare --form real --data-name toy --image-folder images"
    return f"{start} --methods {methods} --budget {budget} {TINY} {tail}"


def table():
    """What every method chose, and its cost but for the seconds."""
    [path] = Path("results/compare/toy").glob("*/comparison.csv")
    rows = list(csv.DictReader(path.open()))
    return {row["method"]: (row["accuracy"], row["evaluations"], row["epochs"], row["architecture"]) for row in rows}


def test_methods_on_images(command):
    code, out, err = command(line("random,bayesian,naswot,metad2a", "--seed 5"))
    assert code == 0, err
    found = table()
    assert list(found) == ["random", "bayesian", "naswot", "metad2a"]
    assert [found[name][1:3] for name in found] == [("2", "2"), ("2", "2"), ("0", "0"), ("0", "0")]
    assert all(row[3] in out for row in found.values())
    assert "random: 2 of 2 epochs, about 0.0 min left" in err
    [path] = Path("results/compare/toy").glob("*/comparison.json")
    value = json.loads(path.read_text())
    assert value["images"] == {"train": 16, "test": 2, "classes": 2}
    assert value["methods"]["naswot"]["parameters"] == {"samples": 100}
    [run] = value["methods"]["random"]["runs"]
    records = [read_record(file) for file in path.parent.glob("evaluations/*.json")]
    of_random = {record["architecture"]: record["value"] for record in records}
    assert of_random[run["chosen"]] == max(of_random.values())  # by validation accuracy, never by x-test


def test_the_test_set_is_seen_by_no_search(space):
    """Searches learn from one half of the training images and look at the other."""
    labels = torch.arange(12) % 2
    parts = [LabelledImages(torch.full((12, 32, 32, 3), i, dtype=torch.uint8), labels) for i in range(3)]
    data = ImageData("toy", ["a", "b"], *parts, (0.5,) * 3, (0.5,) * 3, "", "memory")
    problem = ImageProblem(space, data, Sizes(4, 1, (1,)), Budget(epochs=1), Path("out"))
    searched = problem.search_training.data
    assert {int(part.pixels.max()) for part in (searched.train, searched.valid, searched.test)} == {0}
    assert (len(searched.train), len(searched.test)) == (6, 6)
    assert problem.final_training.data is data


class Killed(Exception):
    pass


def after(monkeypatch, owner, name, calls):
    """Have a function of a module or class fail after some calls, as a kill would end the process."""
    whole, count = getattr(owner, name), [0]

    def counted(*args, **kwargs):
        count[0] += 1
        if count[0] > calls:
            raise Killed
        return whole(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize(
    ("methods", "budget", "owner", "name", "calls"),
    [
        ("random,evolution,halving", "3epochs", classifier, "train_epoch", 2),
        ("random", "1epochs", classifier, "train_epoch", 1),  # in the final training
        *((name, "3epochs", supernet_search.SupernetRun, "plan", 2) for name in SUPERNETS.split(",")),
    ],
)
@pytest.mark.usefixtures("one_thread")
def test_a_comparison_that_was_killed_goes_on(command, monkeypatch, methods, budget, owner, name, calls):
    """The same choices, accuracies and costs as of one that was not; what was finished is not done again."""
    tail = "--search-epochs 1,2"
    assert command(line(methods, tail, budget))[0] == 0
    expected = table()
    shutil.rmtree("results")
    with monkeypatch.context() as patch:
        after(patch, owner, name, calls)
        with pytest.raises(Killed):
            command(line(methods, tail, budget))
    files = {path: path.read_bytes() for path in Path("results").rglob("evaluations/*.json")}
    code, _, err = command(line(methods, f"{tail} --resume", budget))
    assert code == 0, err
    assert table() == expected
    assert all(path.read_bytes() == content for path, content in files.items())


def test_a_finished_comparison_is_kept(command, refuses, monkeypatch):
    assert command(line("random,gdas"))[0] == 0
    expected = table()
    assert "--resume" in refuses(line("random,gdas"))
    monkeypatch.setattr(classifier, "train_epoch", None)  # nothing is trained again
    monkeypatch.setattr(supernet_search.SupernetRun, "weight_step", None)
    assert command(line("random,gdas", "--resume"))[0] == 0
    assert table() == expected


def test_a_budget_in_minutes_sets_the_epochs_of_a_supernet(space):
    """By the first epoch: 10 seconds of 35 make 3."""
    run = supernet_search.SupernetRun.__new__(supernet_search.SupernetRun)
    run.method = rivals.get("darts")
    run.total, run.past = 0, []
    for budget, past, total in (
        (Budget(seconds=35.0), [], 0),
        (Budget(seconds=35.0), [10.0], 3),
        (Budget(seconds=5.0), [10.0], 1),
        (Budget(epochs=7.5), [], 7),
        (Budget(epochs=1e6), [], 100),
        (Budget(evaluations=5), [], 20),
    ):
        run.problem = type("P", (), {"budget": budget, "fidelities": (4, 12)})
        run.past = [supernet_search._Past(seconds, "") for seconds in past]
        run.plan()
        assert run.total == total


def test_networks_on_ray_workers(command, monkeypatch):
    """Networks go to the workers, as many at once as there are; here they are this process."""
    from metad2a.rivals import real

    calls = []

    def with_ray(options, items, num_workers, address, use_gpus, measure_item):
        calls.append((len(items), num_workers))
        yield from ((item, measure_item(options, item)) for item in reversed(items))  # in the order that they finish

    assert command(line("random", budget="4epochs"))[0] == 0
    expected = table()
    monkeypatch.setattr(real, "measure_with_ray", with_ray)
    assert command(line("random", "--overwrite --num-workers 2", budget="4epochs"))[0] == 0
    assert table() == expected
    assert calls == [(2, 2), (2, 2), (1, 2)]


def test_the_nearest_task_lends_its_cells(command, monkeypatch, space):
    """The library's task that is the dataset itself, under another name, is nearest."""
    cells = [space.architectures[i] for i in (11, 222, 3333)]
    rng = torch.Generator().manual_seed(0)
    state = fisher.small_network(2).state_dict()
    far = {name: torch.randn(value.shape, generator=rng) for name, value in state.items()}
    tasks = {"far": {"state": far, "cells": cells[:1]}, "near": {"state": dict(state), "cells": cells[1:]}}
    path = Path("library.pt")
    save_torch(path, {"tasks": tasks})
    monkeypatch.setattr(fisher, "LIBRARY", path)
    code, _, err = command(line("task-similarity"))
    assert code == 0, err
    _, evaluations, epochs, chosen = table()["task-similarity"]
    assert (evaluations, epochs) == ("2", "2")
    assert chosen in cells[1:]
    [result] = Path("results").rglob("comparison.json")
    [run] = json.loads(result.read_text())["methods"]["task-similarity"]["runs"]
    assert run["notes"]["nearest"] == "near"
    assert set(run["notes"]["distances"]) == {"far", "near"}


# Bad input


def test_one_image_of_a_class(refuses):
    folder = Path("images/class 2")
    folder.mkdir()
    for name in ("a", "b"):  # one of them is held out to test on
        Image.new("RGB", (32, 32)).save(folder / f"{name}.png")
    message = refuses(line("random"))
    assert "'class 2' has 1 image" in message
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("methods", "tail", "budget", "expected"),
    [
        ("random", "--search-epochs 2", "1epochs", "budget of 1 epoch is too small"),
        ("darts", "--search-epochs 2", "1epochs", "Give a larger --budget"),
        ("random", "", "3 bananas", "no unit that is known"),
        ("random", "--search-epochs 9,3", "9epochs", "numbers that rise"),
        ("rando", "", "2epochs", "random"),
        ("darts", "--search-space ofa_mbv3", "9epochs", "darts does not know the search space ofa_mbv3"),
        ("random", "--image-folder nowhere", "2epochs", "nowhere"),
    ],
)
def test_bad_options(command, methods, tail, budget, expected):
    code, _, err = command(line(methods, tail, budget.replace(" ", "")))
    assert code == 2
    assert expected in err
    assert "Traceback" not in err


def test_a_table_has_no_images(refuses):
    assert "darts has no table form" in refuses("--model compare --data-name cifar10 --methods darts")
    assert "--cells needs --form real" in refuses("--model compare --data-name cifar10 --cells 1")


def test_a_damaged_supernet(command, refuses):
    assert command(line("gdas"))[0] == 0
    [path] = Path("results").rglob("supernets/*.pt")
    value = torch.load(path)
    save_torch(path, value | {"network": {"stem.0.weight": torch.zeros(1)}})
    assert str(path) in refuses(line("gdas", "--resume"))
    path.write_bytes(b"no file of weights")
    assert "--overwrite" in refuses(line("gdas", "--resume"))
    assert command(line("gdas", "--overwrite"))[0] == 0


def test_images_of_the_users_own_are_trained_on_as_train_arch_does():
    own = load_image_data("toy", "images", "data", 333)
    assert protocol_for(own) == Protocol(200, augment=True, mirror=False)
    assert protocol_for(replace(own, own=False)) == Protocol(200, augment=False)
    assert protocol_for(own, augment=False) == Protocol(200, augment=False, mirror=False)


def test_networks_of_another_space_have_no_such_sizes(space):
    other = get("ofa_mbv3")
    text = other.to_text(other.sample(1, torch.Generator().manual_seed(0))[0])
    with pytest.raises(UserError, match="--channels and --cells only work for nasbench201"):
        Sizes(4, 1).network(other, text, 3)


def test_an_epoch_ends_with_the_budget():
    """Of a method whose epoch costs more than all there is: LPT's; the first batch it has anyway."""
    data = load_image_data("toy", "images", "data", 0)
    run = supernet_search.SupernetRun.__new__(supernet_search.SupernetRun)
    run.device, run.problem = torch.device("cpu"), SimpleNamespace(images=data)
    count = len(data.train) // 4
    assert count > 2
    for deadline, batches in ((math.inf, count), (0.0, 1)):
        run.rng, run.deadline = torch.Generator().manual_seed(0), deadline
        assert len(list(run.batches(data.train, 4))) == batches


def test_a_method_is_charged_for_what_it_took():
    """Also for the only epoch, if that takes longer than the whole budget."""
    data, sizes = load_image_data("toy", "images", "data", 333), Sizes(4, 1, (1,))
    problem = ImageProblem(get("nasbench201"), data, sizes, Budget(seconds=0.006), Path("out"))
    result = rivals.get("lpt").run(problem, 0)
    assert result.cost.seconds > 0.006
    assert result.notes["supernet_epochs"] == 1
