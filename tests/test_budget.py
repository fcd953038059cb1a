"""The search on a budget, through the command line."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.images import write_images

from metad2a.core.budget import Budget, parse_budget
from metad2a.core.errors import UserError
from metad2a.networks import load_network
from metad2a.rankings.length import GRID, LengthRanking
from metad2a.searches.budget import session, training
from metad2a.searches.budget.clock import Clock
from metad2a.searches.budget.plan import next_slice
from metad2a.searches.budget.trials import DONE, FAILED, FURTHER, LINEAR, NEW, PAUSED, RUNNING, STATE, State, Trial
from metad2a.searches.budget.ways import Speed, cells, further, linear_ways, sides
from metad2a.searches.options import SearchOptions
from metad2a.training.classifier import batch_of

LINE = "search images --gpu cpu --data-name toy"
CELLS = f"{LINE} --from-scratch --max-flops 30"


@pytest.fixture
def images():
    write_images(Path("images"), n=20)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def folder():
    [found] = Path("results/search/toy").glob("budget-*")
    return found


def test_units_of_a_budget():
    assert parse_budget("30m") == Budget(seconds=1800.0, text="30m")
    assert parse_budget("90s").amount == 90
    assert parse_budget("2H").amount == 7200
    assert parse_budget("1h30m").amount == parse_budget("1 hour 30 minutes").amount == 5400
    assert parse_budget("600e") == parse_budget("600 epochs") == Budget(epochs=600.0, text="600e")
    assert parse_budget("10n") == parse_budget("10 networks") == Budget(epochs=2000.0, text="10n")
    assert parse_budget("500evaluations") == Budget(evaluations=500, text="500evaluations")
    assert parse_budget("500 evaluations").amount == 6000
    assert parse_budget("90 minutes") == parse_budget("90minute") == parse_budget("90m")
    assert not parse_budget("0")
    assert parse_budget("0") == Budget(text="0") == parse_budget("0m")
    for wrong in ("", "5", "m", "-3m", "1d", "0.5s", "9999999h", "nan", "1e5e", "1h 5", "3e2m", "1e1m"):
        with pytest.raises(UserError):
            parse_budget(wrong)


SPEED = Speed(True, 1e-4)  # seconds of a million multiply-accumulates: 100 million take 10 ms


def cost(arch, side):
    """Like EfficientNet-Lite0's."""
    return (260 if "/" in arch else 380) * (side / 224) ** 2


def test_images_are_enlarged_to_four_times_their_side():
    assert sides(32) == [64, 96, 128]
    assert sides(64) == sides(224) == [64, 96, 128, 160, 192, 224]


def test_linear_classifiers_take_a_part_of_the_budget():
    def chosen(stored, images, total, timed=True):
        speed = SPEED if timed else Speed(False)
        return [side for _, side in linear_ways(["efficientnet_lite0"], stored, cost, speed, images, total)]

    assert chosen(32, 1200, 180) == [64, 128, 96]
    assert chosen(32, 1200, 10) == [64]  # none fits: the cheapest
    assert chosen(224, 96, 60) == [64, 224, 160, 96]
    assert 224 not in chosen(224, 5000, 180)
    assert chosen(224, 5000, 8, timed=False) == [224, 160, 96]  # three of eight epochs
    both = ["efficientnet_lite0", "efficientnet_lite1"]
    assert {name for name, _ in linear_ways(both, 32, cost, SPEED, 1200, 60)} == {"efficientnet_lite0"}
    assert {name for name, _ in linear_ways(both, 32, cost, SPEED, 1200, 600)} == set(both)
    assert {name for name, _ in linear_ways(both, 32, cost, Speed(False), 1200, 600)} == {"efficientnet_lite0"}
    [*_, last] = linear_ways(both, 224, cost, SPEED, 100, 600)
    assert last == ("efficientnet_lite1", 224)  # only where it can say most
    prices = [SPEED.passes(cost("", side), 1200) for side in chosen(224, 1200, 60)]
    assert sum(prices) <= 0.4 * 60


def linear(number, side, percent, arch="efficientnet_lite0", status=DONE):
    return Trial(number, LINEAR, arch, side, status=status, slices=1, spent=1.0, curve=[(1.0, percent)])


def test_backbones_are_trained_further_if_the_budget_pays_for_the_passes():
    found = [linear(0, 64, 60.0), linear(1, 96, 70.0), linear(2, 128, 75.0)]
    plenty = list(further(found, 32, cost, SPEED, 1000, 1000.0))
    assert [(t["arch"], t["side"], t["base"]) for t in plenty] == [
        ("efficientnet_lite0", 128, 2),
        ("efficientnet_lite0/12", 64, 2),
    ]
    short = list(further(found, 32, cost, SPEED, 1000, 120.0))
    assert [t["side"] for t in short] == [96, 64]  # the largest images are too dear
    assert [t["side"] for t in further(found, 32, cost, SPEED, 1000, 40.0)] == [64]
    assert [t["side"] for t in further(found, 32, cost, SPEED, 10**6, 40.0)] == [64]  # less than a pass helps, too
    assert not list(further(found, 32, cost, SPEED, 1000, 5.0))
    same = [linear(0, 64, 60.0, "efficientnet_lite0/12")]
    assert len(list(further(same, 32, cost, SPEED, 1000, 180.0))) == 1


RANKED = [(1, "large", {"flops": 120.0}), (2, "half", {"flops": 60.0}), (0, "small", {"flops": 24.0})]
WHOLE = 160_000.0


def by_length():
    """Cell 0 leads up to 10,000 images, cell 1 from 1,000,000 on; cell 2 is never first by much."""
    share = np.clip((GRID - 4) / 2, 0, 1)[:, None]
    mean = (1 - share) * np.array([9.0, 0.0, 3.0]) + share * np.array([0.0, 12.0, 6.0])
    return LengthRanking(mean, np.ones_like(mean), 20 * (GRID - GRID[0]))


def chosen_cells(seen, stored=32, only=True):
    return list(cells(RANKED, by_length(), np.array(seen), WHOLE, stored, only))


def test_cells_are_chosen_for_the_images_that_they_see():
    assert chosen_cells([2000.0, 4000.0, 9000.0], only=False) == []  # too few to be tried beside other ways
    short = chosen_cells([2000.0, 4000.0, 9000.0])
    assert [t["arch"] for t in short] == ["small", "half"]
    assert short[0]["cell"] == 0
    longer = chosen_cells([100_000.0, 110_000.0, 120_000.0])
    assert longer[0]["arch"] == "large"
    assert longer[1]["arch"] == "small"  # it costs much less, and sees a few more images
    assert [t["arch"] for t in chosen_cells([30_000.0, 30_000.0, 31_000.0], only=False)] == ["small", "half"]
    assert [t["arch"] for t in chosen_cells([1e9] * 3)] == ["large"]  # the whole protocol, which the ranking is about
    few = chosen_cells([29_000.0, 29_000.0, 40_000.0])
    assert [t["arch"] for t in few] == ["small"]  # the others see too little


def test_cells_see_larger_images_if_the_budget_pays():
    found = [[t["side"] for t in chosen_cells([0.0, 0.0, seen], 224)] for seen in (40_000.0, 121_000.0, 159_000.0)]
    assert found == [[32], [64], [64]]
    assert [t["side"] for t in chosen_cells([1e9] * 3, 224)] == [64]  # 160,000 images of 32 px are 40,000 of 64


def test_the_best_half_goes_on_and_the_last_gets_the_rest():
    trials = [linear(0, 64, 60.0), *(Trial(n, FURTHER, "b", 64, status=PAUSED) for n in range(1, 5))]
    left, order = 100.0, []
    while (work := next_slice(trials, left, 100.0, 110.0, 1)) is not None:
        left -= work.amount
        spent = work.trial.spent + work.amount
        order.append(work.trial.number)
        values = {"spent": spent, "before": spent, "slices": work.trial.slices + 1}
        values |= {"curve": [(spent, 50.0 + work.trial.number)]}
        done = DONE if work.last else PAUSED
        trials[work.trial.number] = Trial(work.trial.number, FURTHER, "b", 64, status=done, **values)
    assert order == [1, 2, 3, 4, 4, 3, 4]
    assert left == pytest.approx(0)
    assert trials[4].spent > 65


def test_workers_get_as_many_trainings_to_the_end():
    trials = [Trial(n, NEW, "c", 32, status=PAUSED) for n in range(4)]
    begun = []
    while (work := next_slice(trials, 100.0, 100.0, 100.0, 2)) is not None:
        begun.append(work.amount)
        trials[work.trial.number] = Trial(work.trial.number, NEW, "c", 32, status=RUNNING)
    assert begun == [pytest.approx(15.0)] * 4  # two at a time: 30 of 100 seconds
    values = {"slices": 1, "spent": 20.0, "before": 20.0}
    compared = [Trial(n, NEW, "c", 32, status=PAUSED, curve=[(20.0, 10.0 * n)], **values) for n in range(4)]
    first = next_slice(compared, 60.0, 100.0, 100.0, 2)
    assert (first.trial.number, first.amount) == (3, 60.0)
    compared[3] = Trial(3, NEW, "c", 32, status=RUNNING, curve=[(20.0, 30.0)], **values)
    assert next_slice(compared, 60.0, 100.0, 100.0, 2).trial.number == 2


def test_with_time_left_after_the_last_epoch_another_way_goes_on():
    trials = [Trial(0, FURTHER, "b", 64, status=DONE, slices=2, spent=50.0, curve=[(50.0, 90.0)]),
              Trial(1, NEW, "c", 32, status=PAUSED, slices=1, spent=9.0, before=9.0, curve=[(9.0, 20.0)])]  # fmt: skip
    work = next_slice(trials, 40.0, 100.0, 100.0, 1)
    assert (work.trial.number, work.amount, work.last) == (1, 40.0, True)
    assert next_slice(trials, 3.0, 100.0, 100.0, 1) is None  # too little for another


def test_an_interrupted_part_is_as_long_as_it_would_have_been():
    trials = [Trial(0, FURTHER, "b", 64, status=PAUSED, spent=7.0, curve=[(5.0, 40.0)]),
              Trial(1, FURTHER, "c", 64, status=PAUSED)]  # fmt: skip
    first = next_slice(trials, 93.0, 100.0, 100.0, 1)
    assert (first.trial.number, first.amount) == (0, pytest.approx(15.0))  # of which 7 are spent


def test_the_clock_counts_from_the_start_of_the_command(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    state = State.of(tmp_path)
    clock = Clock(parse_budget("100s"), state, 1000.0, 4.0)
    now[0] += 30
    assert clock.left() == pytest.approx(70)
    clock.keep_for_the_end(10.0, ["onnx"])
    assert 40 < clock.left() < 70 - 10 - 5
    state.spent = 100.0  # an earlier command's seconds count
    assert clock.left() < 0


def test_batches_are_smaller_for_few_images():
    assert batch_of(50_000, 200) == 256
    assert batch_of(2000, 4) == 32
    assert batch_of(48, 2) == 12


def test_a_search_compares_ways_and_hands_over_the_best(command, images):
    code, out, err = command(f"{LINE} --budget 8e --export pt2")
    assert code == 0, err
    value = json.loads((folder() / "result.json").read_text())
    ways = value["ways"]
    assert {way["way"] for way in ways} == {LINEAR, FURTHER}
    assert value["spent"]["epochs"] <= 8.01
    best = max(ways, key=lambda way: way["accuracy"])
    assert value["choice"]["x-valid"] == best["accuracy"]
    assert f"chosen: {value['choice']['title']}" in out
    assert "predict --network" in out
    rows = list(csv.DictReader((folder() / "ranking_run_1.csv").open()))
    assert len(rows) == 4852
    assert "none~0|+|none~0|none~1|+|none~0|none~1|none~2" not in (folder() / "ranking_run_1.csv").read_text()

    network = load_network(folder() / "network.pt")
    assert network.architecture == value["choice"]["architecture"]
    assert network.image_size == value["choice"]["side"]
    code, out, err = command(f"predict --gpu cpu --network {folder()} --images images")
    assert code == 0, err
    assert (folder() / "network.pt2").is_file()
    assert "Apache-2.0" in (folder() / "model_card.md").read_text()

    assert {path.name for path in (folder() / "trials").glob("*.ckpt.pt")} <= {f"{value['choice']['trial']}.ckpt.pt"}

    # The same again is refused, and --resume trains nothing.
    code, _, err = command(f"{LINE} --budget 8e")
    assert code == 2
    assert "--resume" in err
    code, _, err = command(f"{LINE} --budget 8e --resume")
    assert code == 0, err
    assert json.loads((folder() / "result.json").read_text())["ways"] == ways


def test_from_scratch_no_weights_of_imagenet_are_used(command, images):
    code, _, err = command(f"{CELLS} --budget 8e")
    assert code == 0, err
    value = json.loads((folder() / "result.json").read_text())
    assert {way["way"] for way in value["ways"]} == {NEW}
    assert value["choice"]["flops"] <= 30
    rows = list(csv.DictReader((folder() / "ranking_run_1.csv").open()))
    assert all(float(row["mflops"]) <= 30 for row in rows)
    assert (folder() / "best_architecture.svg").is_file()


def test_after_its_whole_protocol_a_cell_is_followed_by_the_most_promising(command, images, monkeypatch):
    from metad2a.core import budget

    monkeypatch.setitem(budget.EPOCHS, "toy", 1)
    code, _, err = command(f"{CELLS} --budget 4e")
    assert code == 0, err
    value = json.loads((folder() / "result.json").read_text())
    assert len(value["ways"]) == len({way["arch"] for way in value["ways"]}) == 4
    assert {way["epochs"] for way in value["ways"]} == {1.0}
    rows = list(csv.DictReader((folder() / "ranking_run_1.csv").open()))
    assert sum(bool(row["x_valid"]) for row in rows) == 4


def test_a_time_is_kept_and_a_training_ends_within_an_epoch(command, images):
    start = time.monotonic()
    code, _, err = command(f"{LINE} --budget 10s")
    assert code == 0, err
    assert time.monotonic() - start < 15.5
    value = json.loads((folder() / "result.json").read_text())
    assert value["spent"]["seconds"] == pytest.approx(time.monotonic() - start, abs=3)
    assert (folder() / "network.pt").is_file()
    assert "left" in err


def test_a_budget_that_is_too_small_for_trainings_says_so(command, images):
    code, _, err = command(f"{LINE} --budget 1e")
    assert code == 0, err
    assert "too small to train a network" in err
    assert (folder() / "network.pt").is_file()


def test_limits_hold_for_every_way(command, images):
    code, _, err = command(f"{LINE} --budget 4e --max-flops 12")
    assert code == 0, err
    assert "efficientnet_lite0 is left out: --max-flops" in err
    value = json.loads((folder() / "result.json").read_text())
    assert {way["way"] for way in value["ways"]} == {NEW}
    assert value["choice"]["flops"] <= 12


def test_of_a_backbone_the_layers_within_the_limits_are_taken(command, images):
    """EfficientNet-Lite0 has 32 MFLOPs at 64 pixels, its first 12 blocks 22."""
    code, _, err = command(f"{LINE} --budget 4e --max-flops 25")
    assert code == 0, err
    value = json.loads((folder() / "result.json").read_text())
    assert {(way["arch"], way["side"]) for way in value["ways"] if way["way"] != NEW} == {("efficientnet_lite0/12", 64)}
    assert all(way["flops"] <= 25 for way in value["ways"])


def test_the_test_part_chooses_nothing(command, images, monkeypatch):
    """Trainings and choices are the same whatever the test part holds."""
    from metad2a.searches.budget import session

    whole, found = session.load_image_data, []

    def broken(*args):
        data = whole(*args)
        data.test.labels.copy_(data.test.labels.roll(1))
        return data

    for load in (whole, broken):
        monkeypatch.setattr(session, "load_image_data", load)
        assert command(f"{CELLS} --budget 4e --save-path results/{load.__name__}")[0] == 0
        [path] = Path(f"results/{load.__name__}").rglob("result.json")
        value = json.loads(path.read_text())
        found.append([(t["arch"], [percent for _, percent in t["curve"]]) for t in value["ways"]])
    assert found[0] == found[1]


def started(budget="8e", more=""):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *CELLS.split(), "--budget", budget, "--resume", *more.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "STARTED_IN": os.getcwd()},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )


def wait_for(count, process, limit=120):
    """Until `count` accuracies have been measured."""
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        paths = list(Path("results").rglob("trials/[0-9]*.json"))
        if sum(len(json.loads(path.read_text())["curve"]) for path in paths if path.is_file()) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def test_killed_and_resumed_it_is_the_search_it_would_have_been(command, images):
    for count in (2, 5):
        process = started()
        wait_for(count, process)
        process.kill()
        process.wait()
    code, _, err = command(f"{CELLS} --budget 8e --resume")
    assert code == 0, err
    resumed = json.loads((folder() / "result.json").read_text())
    assert len(resumed["history"]["resumed"]) == 2
    code, _, err = command(f"{CELLS} --budget 8e --save-path whole")
    assert code == 0, err
    [path] = Path("whole").rglob("result.json")
    whole = json.loads(path.read_text())
    same = ("arch", "epochs", "accuracy", "status")
    assert [[t[name] for name in same] for t in resumed["ways"]] == [[t[name] for name in same] for t in whole["ways"]]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupted_it_ends_with_the_best_so_far(images):
    process = started("40e")
    wait_for(3, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "interrupted" in out
    value = json.loads((folder() / "result.json").read_text())
    assert value["interrupted"]
    assert (folder() / "network.pt").is_file()
    assert "--resume" in err


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_an_interruption_may_come_while_gradients_are_off(command, images, monkeypatch, mode):
    """As between the lines of a context manager's exit, which leaves their mode as it was within."""
    from metad2a.searches.budget.session import BudgetSearch

    original, left = BudgetSearch.note, []

    def interrupted(search, trial):
        original(search, trial)
        if len(trial.curve) > 1:
            left.append(mode())
            left[-1].__enter__()
            raise KeyboardInterrupt

    monkeypatch.setattr(BudgetSearch, "note", interrupted)
    try:
        code, out, err = command(f"{CELLS} --budget 40e")
    finally:
        left[0].__exit__(None, None, None)
    assert code == 130, err
    assert "interrupted" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget 3x", "no unit that is known"),
        ("--budget 4e --ranking predictor", "--ranking does nothing with --budget"),
        ("--budget 4e --search-space ofa_mbv3", "get_ofa_supernet.py"),
        ("--num-workers 2", "--num-workers needs --budget"),
        ("--budget 4e --max-flops 1", "small"),
        ("--budget 4e --backbone resnet81", "Did you mean resnet18"),
        ("--budget 4e --backbone resnet18 --from-scratch", "--backbone is left out by --from-scratch"),
        ("--from-scratch", "--from-scratch needs --budget"),
    ],
)
def test_bad_input_is_refused(command, images, options, message):
    code, _, err = command(f"{LINE} {options}")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(Path().rglob(STATE))


def test_a_damaged_state_is_refused(command, refuses, images):
    assert command(f"{CELLS} --budget 2e")[0] == 0
    path = folder() / STATE
    path.write_text(path.read_text().replace('"side": 32', '"side": "x"', 1))
    assert STATE in refuses(f"{CELLS} --budget 2e --resume")


@pytest.mark.parametrize("error", [UserError("the loss became nan"), RuntimeError("CUDA out of memory")])
def test_a_training_that_fails_does_not_end_the_search(command, images, monkeypatch, error):
    whole = training.train_slice

    def failing(trainer, work, *rest):
        if work.trial.way == FURTHER:
            raise error
        return whole(trainer, work, *rest)

    monkeypatch.setattr(training, "train_slice", failing)
    code, out, err = command(f"{LINE} --budget 6e")
    assert code == 0, err
    ways = json.loads((folder() / "result.json").read_text())["ways"]
    assert {way["status"] for way in ways if way["way"] == FURTHER} == {FAILED}
    assert all(str(error) in way["message"] for way in ways if way["way"] == FURTHER)
    assert "(failed)" in out


def workers_in_training():
    """Worker processes of Ray that train, by their names."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            started_here = os.getcwd() in (path.parent / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if name.startswith("ray::attempt") and started_here:
            found.append(int(path.parent.name))
    return found


def test_a_cluster_without_workers_is_refused(refuses, images):
    assert "--ray-address needs --num-workers" in refuses(f"{LINE} --budget 2e --ray-address auto")
    assert "--ray-address needs --num-workers" in refuses("compare --data-name cifar10 --form real --ray-address auto")


def test_without_ray_nothing_is_begun(refuses, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "Or leave the option out" in refuses(f"{LINE} --budget 2e --num-workers 2")
    assert not Path("results/search").exists()


def test_work_that_goes_on_is_paid_for(images, monkeypatch):
    """Two workers that ask before either has ended share the rest of a counted budget."""
    monkeypatch.setattr(session, "load_ray", lambda: None)
    options = SearchOptions(
        data_name="toy", image_folder="images", gpu="cpu", budget=parse_budget("8e"), from_scratch=True, num_workers=2
    )
    search = session.BudgetSearch(options)
    with search.run:
        search.begin()
        works = []
        while (work := search.next()) is not None:
            works.append(work)
        assert len(works) > 1
        assert sum(work.amount for work in works) + search.left() == pytest.approx(8)
        assert search.clock.left() == 8  # nothing is spent yet


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their names")
def test_two_workers_of_ray_one_of_them_killed(command, images):
    """The budget is spent once, and the result is that of a single process."""
    pytest.importorskip("ray")
    process = started("8e", "--num-workers 2")
    wait_for(1, process, limit=300)
    end = time.monotonic() + 300
    while not (pids := workers_in_training()) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    assert pids, process.communicate()
    os.kill(pids[0], signal.SIGKILL)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    value = json.loads((folder() / "result.json").read_text())
    assert FAILED not in {way["status"] for way in value["ways"]}
    assert (folder() / "network.pt").is_file()
    assert "chosen:" in out
    assert sum(way["spent"] for way in value["ways"]) == pytest.approx(8, abs=0.1)
    assert command(f"{CELLS} --budget 8e --save-path single")[0] == 0
    (path,) = Path("single").rglob("result.json")
    single = json.loads(path.read_text())
    same = ("arch", "status", "epochs", "accuracy")
    assert [[way[name] for name in same] for way in value["ways"]] == [
        [way[name] for name in same] for way in single["ways"]
    ]
