"""The search on a budget, through the command line."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_train_arch import write_images

from metad2a.core.budget import Budget, parse_budget
from metad2a.core.errors import UserError
from metad2a.data.image_data import load_image_data
from metad2a.networks import load_network
from metad2a.searches.budget.plan import FULL, LONG, SHORT, make_plan, smaller
from metad2a.searches.budget.training import reduced
from metad2a.searches.budget.trials import DONE, FAILED, STATE, State, Trial
from metad2a.training.classifier import batch_of

LINE = "--gpu cpu --model search --data-name toy --image-folder images --max-flops 30"


@pytest.fixture
def images():
    write_images(Path("images"), n=20)


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


def test_the_plan_spends_the_budget_and_ends_at_the_full_protocol():
    for amount, full in ((600.0, 200), (2000.0, 200), (100.0, 80), (8.0, 7)):
        plan = make_plan(Budget(epochs=amount), 1.0, 5000, 32, 1)
        assert plan[FULL].epochs(1.0) == full
        assert plan[FULL].count >= 1
        spent = sum(rung.cost * rung.count for rung in plan.values())
        assert 0.8 * amount < spent <= amount
        assert plan[SHORT].cost < plan[LONG].cost < plan[FULL].cost
        assert (plan[FULL].side, plan[FULL].images) == (32, 5000)


def test_a_budget_in_seconds_gives_a_quick_network_more_epochs():
    plan = make_plan(Budget(seconds=1800.0), 30.0, 5000, 32, 1)
    assert plan[FULL].epochs(30.0) == 50  # of 60: half would be 30 of the protocol's 200
    assert plan[FULL].epochs(10.0) == 151
    assert plan[LONG].count == 1
    assert plan[SHORT].count >= 8
    assert plan[FULL].epochs(1000.0) == 1
    assert plan[SHORT].epochs(30.0) >= 4
    four = make_plan(Budget(seconds=1800.0), 30.0, 5000, 32, 4)[SHORT]
    assert four.count * four.cost > 3 * plan[SHORT].count * plan[SHORT].cost


def test_short_trainings_take_smaller_then_fewer_images():
    assert smaller(4, 5000, 32) == (32, 5000, 1.0)
    assert smaller(2, 5000, 32) == (16, 5000, 0.25)
    side, images, share = smaller(0.1, 5000, 32)
    assert (side, images) == (16, 500)
    assert share == pytest.approx(0.025)
    assert smaller(0.0001, 5000, 32)[1] == 200


def test_batches_are_smaller_for_few_images():
    assert batch_of(50_000, 200) == 256
    assert batch_of(2000, 4) == 32
    assert batch_of(48, 2) == 12


def test_reduced_images_keep_every_class(images):
    data = load_image_data("toy", "images", "data", 333)
    small = reduced(data, 16, 12)
    assert small.train.pixels.shape == (12, 16, 16, 3)
    assert small.train.labels.bincount().tolist() == [4, 4, 4]
    assert small.valid.side == 16
    assert len(small.valid) == len(data.valid)
    torch.testing.assert_close(small.valid.pixels.float().mean(), data.valid.pixels.float().mean(), atol=0.5, rtol=0)


def test_a_search_trains_ranks_and_hands_over_a_network(command, images):
    code, out, err = command(f"{LINE} --budget 8e --export pt2")
    assert "worth 8 epochs of the first choice, and the protocol has 200" in err
    assert code == 0, err
    value = json.loads((folder() / "result.json").read_text())
    trials = value["trials"]
    assert {trial["rung"] for trial in trials} == {"short", "long", "full"}
    assert all(trial["status"] == DONE for trial in trials)
    assert sum(trial["cost"] for trial in trials) == pytest.approx(value["spent"]["epochs"])
    assert value["spent"]["epochs"] <= 8.01
    shorts = [trial["arch"] for trial in trials if trial["rung"] == "short"]
    assert len(set(shorts)) == len(shorts)
    assert {trial["arch"] for trial in trials if trial["rung"] != "short"} <= set(shorts)
    rows = list(csv.DictReader((folder() / "ranking_run_1.csv").open()))
    assert all(float(row["mflops"]) <= 30 for row in rows)
    assert all(0 <= float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) <= 100 for row in rows)
    assert sum(float(row["probability_best"]) for row in rows) == pytest.approx(1, abs=0.01)
    assert f"first choice: {value['choice']['architecture']}" in out

    network = load_network(folder() / "network.pt")
    assert network.architecture == value["choice"]["architecture"]
    data = load_image_data("toy", "images", "data", 333)
    with torch.no_grad():
        correct = network(data.test.pixels.permute(0, 3, 1, 2) / 255).argmax(dim=1) == data.test.labels
    assert 100 * correct.float().mean().item() == pytest.approx(value["network"]["x-test"])
    assert (folder() / "network.pt2").is_file()

    # The same again is refused, and --resume trains nothing.
    code, _, err = command(f"{LINE} --budget 8e")
    assert code == 2
    assert "--resume" in err
    code, _, err = command(f"{LINE} --budget 8e --resume")
    assert code == 0, err
    assert "training 1" not in err.replace("for training", "")
    assert json.loads((folder() / "result.json").read_text())["trials"] == trials


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
        assert command(f"{LINE} --budget 6e --save-path results/{load.__name__}")[0] == 0
        [path] = Path(f"results/{load.__name__}").rglob("result.json")
        value = json.loads(path.read_text())
        found.append([(t["arch"], t["accuracy"]) for t in value["trials"]])
    assert found[0] == found[1]


def started(budget="8e", more=""):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *LINE.split(), "--budget", budget, "--resume", *more.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "STARTED_IN": os.getcwd()},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )


def wait_for(count, process, limit=120):
    """Until so many trainings have been noted."""
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        paths = list(Path("results").rglob(STATE))
        if paths and len(json.loads(paths[0].read_text())["trials"]) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def test_killed_and_resumed_it_is_the_search_it_would_have_been(command, images):
    torch.set_num_threads(1)
    for count in (1, 3):
        process = started()
        wait_for(count, process)
        process.kill()
        process.wait()
    code, _, err = command(f"{LINE} --budget 8e --resume")
    assert code == 0, err
    resumed = json.loads((folder() / "result.json").read_text())
    assert len(resumed["history"]["resumed"]) == 2
    code, _, err = command(f"{LINE} --budget 8e --save-path whole")
    assert code == 0, err
    [path] = Path("whole").rglob("result.json")
    whole = json.loads(path.read_text())
    same = ("arch", "rung", "epochs", "accuracy", "losses")
    assert [[t[name] for name in same] for t in resumed["trials"]] == [
        [t[name] for name in same] for t in whole["trials"]
    ]


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
    assert value["network"] is None or value["rung"] != "short"
    assert (value["network"] is None) == ("no network yet" in out)
    assert "--resume" in err


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_an_interruption_may_come_while_gradients_are_off(command, images, monkeypatch, mode):
    """As between the lines of a context manager's exit, which leaves their mode as it was within."""
    from metad2a.searches.budget.session import BudgetSearch

    original, left = BudgetSearch.note, []

    def interrupted(search, trial):
        original(search, trial)
        if trial.number == 2 and trial.status == DONE:
            left.append(mode())
            left[-1].__enter__()
            raise KeyboardInterrupt

    monkeypatch.setattr(BudgetSearch, "note", interrupted)
    try:
        code, out, err = command(f"{LINE} --budget 40e")
    finally:
        left[0].__exit__(None, None, None)
    assert code == 130, err
    assert "interrupted" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget 3x", "no unit that is known"),
        ("--budget 4e --ranking predictor", "--ranking does nothing with --budget"),
        ("--budget 4e --search-space ofa_mbv3", "not for ofa_mbv3"),
        ("--num-workers 2", "--num-workers needs --budget"),
        ("--budget 4e --max-flops 1", "small"),
    ],
)
def test_bad_input_is_refused(command, images, options, message):
    line = LINE.replace(" --max-flops 30", "")
    code, _, err = command(f"{line} {options}")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(Path().rglob(STATE))


def test_a_damaged_state_is_refused(command, refuses, images):
    assert command(f"{LINE} --budget 6e")[0] == 0
    path = folder() / STATE
    path.write_text(
        path.read_text().replace('"cell": ', '"cell": "x', 1).replace(',\n   "fidelity', '",\n   "fidelity', 1)
    )
    assert STATE in refuses(f"{LINE} --budget 6e --resume")


def test_a_training_that_fails_does_not_end_the_search(command, images, monkeypatch):
    from metad2a.searches.budget import training

    whole, calls = training.train_trial, []

    def failing(trainer, trial, *rest):
        calls.append(trial.number)
        if trial.number == 1:
            raise UserError("the loss became nan")
        return whole(trainer, trial, *rest)

    monkeypatch.setattr(training, "train_trial", failing)
    code, _, err = command(f"{LINE} --budget 6e")
    assert code == 0, err
    trials = json.loads((folder() / "result.json").read_text())["trials"]
    assert [trial["status"] for trial in trials[:3]] == ["done", "failed", "done"]
    assert trials[1]["message"] == "the loss became nan"


def test_a_training_that_an_older_version_stopped_early_counts_as_failed(tmp_path):
    state = State.of(tmp_path)
    values = {"arch": "", "fidelity": SHORT, "epochs": 4, "batch": 8, "side": 32, "images": 32}
    state.keep(Trial(0, cell=3, status=DONE, accuracy=70.0, **values))
    state.keep(Trial(1, cell=7, **values))
    file = json.loads((tmp_path / STATE).read_text())
    file["trials"][0]["accuracies"] = [60.0, 70.0]
    file["trials"][1] |= {"status": "stopped", "accuracies": [20.0]}
    (tmp_path / STATE).write_text(json.dumps(file))
    again = State.of(tmp_path)
    assert again.trials[0] == state.trials[0]
    assert again.trials[1].status == FAILED
    assert [o.cell for o in again.observations(100)] == [3]


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


def test_without_ray_nothing_is_begun(refuses, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "Or leave the option out" in refuses(f"{LINE} --budget 2e --num-workers 2")
    assert not Path("results/search").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their names")
def test_two_workers_of_ray_one_of_them_killed(images):
    pytest.importorskip("ray")
    process = started("8e", "--num-workers 2")
    wait_for(2, process, limit=300)
    end = time.monotonic() + 300
    while not (pids := workers_in_training()) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    assert pids, process.communicate()
    os.kill(pids[0], signal.SIGKILL)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    value = json.loads((folder() / "result.json").read_text())
    assert {trial["status"] for trial in value["trials"]} == {DONE}
    assert value["rung"] == "full"
    assert all(len(trial["losses"]) == trial["epochs"] for trial in value["trials"])
    assert "first choice" in out
