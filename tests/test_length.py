"""The ranking for a number of images and a length of training: its database, its fit, and the search that uses it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from benchmarks import length as benchmark
from benchmarks import length_choices, length_sets
from metad2a import search, spaces
from metad2a.core.errors import UserError
from metad2a.data.features import Features
from metad2a.database import trainings
from metad2a.database.shards import read_shard
from metad2a.rankings import fit_length, length, universal
from metad2a.rankings.fit_length import Process, Trainings, known_cells, on_grid, read_trainings, ways
from metad2a.spaces.nasbench201.cells import parse

BEST = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
BUILD = "build-database --model ranking --data-name toy --imgnet photos --gpu cpu"
SHARD = Path("data/ranking_shards/toy/shard_0000.jsonl")


@pytest.fixture
def photos(tmp_path):
    """Four classes of eight images."""
    rng = np.random.default_rng(0)
    for name in "abcd":
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(8):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return "photos"


@pytest.fixture
def short(monkeypatch):
    """Trainings of a few steps, of two cells."""
    monkeypatch.setattr(trainings, "LENGTHS", (1,))
    monkeypatch.setattr(trainings, "LARGER_SHARE", 0.0)
    monkeypatch.setattr(trainings, "PER_IMAGE", 0.02)


def test_the_database_is_built_continued_and_collected(command, photos, short):
    code, _, err = command(f"{BUILD} --num-tasks 3")
    assert code == 0, err
    header, records, _ = read_shard(SHARD)
    assert [record["number"] for record in records] == [0, 1, 2]
    lines = SHARD.read_text().splitlines(keepends=True)
    SHARD.write_text("".join(lines[:3]) + lines[3][:40])  # as a killed command leaves it
    assert command(f"{BUILD} --num-tasks 3")[0] == 0
    again = read_shard(SHARD)[1]
    same = ("archs", "accuracy", "curve", "steps")
    assert [[r[name] for name in same] for r in again] == [[r[name] for name in same] for r in records]
    code, _, err = command("build-database --model ranking --collect")
    assert "3 trainings on images of 1 folder" in err
    path = Path("data/meta_train_ranking.csv")
    rows = list(csv.DictReader(path.open()))
    assert list(rows[0]) == list(trainings.COLUMNS)
    assert [row["architecture"] for row in rows] == [record["archs"][0] for record in records]
    assert rows[0]["class_names"].split() == [header["class_names"][n - 1] for n in records[0]["classes"]]
    found = read_trainings(path)
    assert found.accuracy == pytest.approx([record["accuracy"][0] for record in records], abs=0.005)
    assert 10**found.length == pytest.approx([record["steps"] * record["batch"] for record in records])


def test_trainings_of_a_task_take_equally_long_and_one_repeats_an_anchor(space):
    task = trainings.draw_task(space, "photos", 30, seed=333, shard=1)
    assert len(task) == trainings.TRAININGS
    assert len({(tuple(t.classes), t.images, t.side, t.seconds, t.draw) for t in task}) == 1
    assert task[0].archs == [BEST]
    costs = [space.cost(t.archs[0], 10)["flops"] for t in task]
    assert costs[1] <= 60
    assert costs[2] <= 25
    assert sorted(costs[3:7]) == costs[3:7]  # a cell of each quarter of the costs
    assert task[-1].archs in [t.archs for t in task[:3]]
    assert task[-1].seed != task[0].seed
    assert trainings.draw_task(space, "photos", 30, 333, 1) == task
    assert trainings.draw_task(space, "signs", 30, 333, 1) != task
    assert trainings.seconds_of(1000, 100, 64) == pytest.approx(4 * 1000 * 0.015)


def test_a_task_has_as_many_images_of_each_class(space):
    images = trainings.LabelledImages(*map(trainings.torch.as_tensor, (np.zeros((9, 2, 2, 3)), [0, 1, 2] * 3)))
    some = trainings.chosen(images, [2, 0], 2, seed=1)
    assert some.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("build-database --model ranking --imgnet photos", "--data-name is missing"),
        ("build-database --model ranking --data-name toy", "--imgnet is missing"),
        ("build-database --model ranking --collect", "no trainings in"),
        ("build-database --model predictor --data-name toy", "--data-name belongs to --model ranking"),
        ("build-database --model ranking --search-space ofa_mbv3", "leave --search-space out"),
        ("search photos --ranking predictor --epochs 3", "--epochs does nothing with the ranking by the predictor"),
        ("search cifar10 --epochs 3", "--epochs ranks the cells of nasbench201 for a training on your images"),
        ("search photos --time 3m --epochs 3", "--time and --epochs both say how long"),
        ("search photos --time '3 epochs'".replace("'", "").replace("3 epochs", "3epochs"), "is no time"),
        ("search photos --time 3m --budget 3m", "--time does nothing with --budget"),
    ],
)
def test_wrong_options(refuses, photos, line, message):
    assert message in refuses(line)


def test_convolutions_on_the_ways_through_a_cell():
    assert ways(parse(BEST)) == [3, 0, 7 / 4, 1]
    one = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|nor_conv_1x1~2|"
    assert ways(parse(one)) == [2, 2, 2, 0]
    assert ways(parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")) == [0, 0, 0, 0]


def test_a_regression_learns_from_the_cells_that_it_is_shown():
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(500, 3)), rng.integers(0, 500, 400)
    y = 50 + x[rows] @ np.array([4.0, 0, -2]) + rng.normal(size=400)
    y[:4] = 0.0  # trainings that learned nothing
    found = fit_length.regression(x, y, rows)
    assert np.corrcoef(found, x @ np.array([4.0, 0, -2]))[0, 1] > 0.99
    cells = known_cells()
    apart = (cells.quality - (cells.short + cells.whole + cells.tuples) / np.sqrt(7.1))[cells.learns]
    assert abs(apart).max() < 0.3  # the mean of three scores that agree


@pytest.fixture(scope="module")
def process():
    return Process(known_cells(), read_trainings()).fit()


def test_the_posterior_is_that_of_the_plain_formulas(process):
    """Against a covariance that is added up term by term for each pair."""
    some = process.trainings[np.arange(len(process.trainings)) < 12]
    small = Process(process.cells, some)
    small.logarithms = process.logarithms
    h, cells = process.values(), process.cells

    def covariance(a, la, b, lb):
        walk = max(0, min(fit_length.SHORT - la, fit_length.SHORT - lb))
        apart = np.sqrt(3 * ((cells.operations[a] - cells.operations[b]) ** 2).sum() / 6)
        return (
            h["quality"] ** 2 * cells.quality[a] * cells.quality[b]
            + h["features"] ** 2 * walk * float(cells.features[a] @ cells.features[b]) / cells.features.shape[1]
            + h["cells"] ** 2 * walk * (1 + apart) * np.exp(-apart)
        )

    wanted, at = [5, 4000, 2500], [3.5, 4.2, 5.0]
    n = len(some)
    noisy = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            growth = h["growth"] ** 2 * (some.length[i] - fit_length.SHORT) * (some.length[j] - fit_length.SHORT)
            noisy[i, j] = covariance(some.cell[i], some.length[i], some.cell[j], some.length[j]) + growth
            noisy[i, j] += fit_length.OFFSET * (some.task[i] == some.task[j])
    pairs = list(zip(wanted, at, strict=True))
    cross = np.array([[covariance(some.cell[i], some.length[i], c, a) for c, a in pairs] for i in range(n)])
    y = some.accuracy - some.accuracy.mean()
    for i, row in enumerate(some.rows):
        count, right = int(row["held_out"]), some.accuracy[i] / 100
        share = (right * count + 1) / (count + 2)
        noisy[i, i] += h["noise"] ** 2 + 100**2 * share * (1 - share) / count
    own = np.array([covariance(c, a, c, a) for c, a in pairs])
    expected = cross.T @ np.linalg.solve(noisy, y)
    spread = np.sqrt(own - (cross * np.linalg.solve(noisy, cross)).sum(0))
    small.condition()
    mean, deviation = small.predict(np.array(wanted), np.array(at), growth=False)
    assert mean == pytest.approx(expected, abs=1e-6)
    assert deviation == pytest.approx(spread, abs=1e-6)


def test_the_shipped_ranking_is_what_the_command_makes_of_the_shipped_trainings(process):
    grid, shipped = on_grid(process), length.load()
    for place in (0, len(length.GRID) // 2, -1):
        assert stats.spearmanr(grid["mean"][place], shipped.mean[place])[0] > 0.995
    assert shipped.mean == pytest.approx(grid["mean"], abs=0.5)


def test_after_a_whole_training_the_order_is_the_universal_one():
    order = universal.load().of_classes()[0].argsort(kind="stable")
    mean, _ = length.load().predict(200.0 * 50_000)
    assert (np.diff(mean[order]) >= 0).all()
    assert mean.argmax() == order[-1]


def test_scores_between_lengths_lie_between_and_longer_trainings_gain():
    ranking = length.load()
    low, high = (ranking.predict(10.0**at)[0] for at in (4.0, 4.25))
    middle, _ = ranking.predict(10.0**4.125)
    assert middle == pytest.approx((low + high) / 2)
    lengths = np.full(ranking.mean.shape[1], 10.0**4)
    alike, _ = ranking.predict(lengths)
    assert alike - alike[0] == pytest.approx(low - low[0])
    lengths[7] *= 10
    assert ranking.predict(lengths)[0][7] - alike[7] > ranking.predict(10.0**5)[0][7] - low[7]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing"])
def test_a_damaged_ranking(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        length.load(tmp_path / "x.npz")


@pytest.mark.parametrize(("name", "value"), [("accuracy", "101"), ("accuracy", "nan"), ("held_out", "0")])
def test_trainings_without_a_percentage_are_refused(tmp_path, name, value):
    row = read_trainings().rows[0] | {name: value}
    (tmp_path / "x.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    with pytest.raises(UserError, match="is no file of trainings"):
        read_trainings(tmp_path / "x.csv")


def test_a_damaged_file_of_trainings(tmp_path):
    (tmp_path / "x.csv").write_text("architecture,steps\n1,2\n")
    with pytest.raises(UserError, match="is no file of trainings"):
        read_trainings(tmp_path / "x.csv")


def ranked(text):
    return [line.split()[-1] for line in text.splitlines() if "|+|" in line]


def test_a_search_ranks_for_the_images_of_the_folder(command, photos):
    code, few, err = command("search photos --report")
    assert code == 0, err
    assert "ranked for 200 epochs of " in few.splitlines()[0]
    page = Path("results/search/photos/001/report.html").read_text()
    assert "How long you train" in page
    summary = json.loads(Path("results/search/photos/001/summary.json").read_text())
    assert "predicted_points" in summary
    many = command("search photos --epochs 1000000")[1]
    assert "python main.py train" in many
    assert "--epochs 1000000" in many.splitlines()[-1]
    assert ranked(many)[0] == BEST != ranked(few)[0]
    assert "predicted_points" in Path("results/search/photos/001/ranking_run_1.csv").read_text().splitlines()[0]


def test_a_search_for_a_time_measures_the_machine(command, photos):
    code, out, err = command("search photos --time 10s")
    assert code == 0, err
    assert "ranked for 10 s on " in out.splitlines()[0]
    assert "--epochs " in out.splitlines()[-1]


def test_the_order_for_the_datasets_of_the_paper_stays(command):
    out = command("search cifar10")[1]
    assert "in one order for all photographs" in out
    assert ranked(out)[0] == BEST


def test_seconds_per_image_rise_with_the_cost(space):
    from metad2a.searches.planned import seconds_per_image

    seconds = seconds_per_image(spaces.get("nasbench201"), 10, "cpu")
    assert (seconds > 0).all()
    assert seconds[known_cells().flops.argmax()] == seconds.max()


def made(rows):
    """Trainings from (folder, task, cell, accuracy)."""
    lines = [
        {"folder": folder, "task": str(task), "length": "60", "images": "500", "side": "32"}
        for folder, task, _, _ in rows
    ]
    columns = [
        np.array(column) for column in zip(*[(cell, 4.0, accuracy) for _, _, cell, accuracy in rows], strict=True)
    ]
    names = [(row["folder"], row["task"]) for row in lines]
    tasks = list(dict.fromkeys(names))
    return Trainings(
        columns[0].astype(int), columns[1], columns[2], np.array([tasks.index(name) for name in names]), lines
    )


def test_the_benchmark_leaves_whole_folders_out_and_judges_whole_tasks():
    rows = [("a", 0, cell, 10.0 * cell) for cell in range(6)] + [("b", 0, cell, -cell) for cell in range(6)]
    trainings = made([*rows, ("b", 1, 3, 7.0)])
    seen = []

    def method(known, wanted):
        seen.append(({row["folder"] for row in known.rows}, {row["folder"] for row in wanted.rows}))
        return wanted.cell.astype(float)

    found = benchmark.judged(trainings, benchmark.left_out(trainings, method))
    assert seen == [({"b"}, {"a"}), ({"a"}, {"b"})]
    assert [(task["folder"], task["spearman"], task["choice"], task["best"]) for task in found] == [
        ("a", pytest.approx(1), 50, 50),
        ("b", pytest.approx(-1), -5, 0),
    ]


def test_the_noise_is_that_of_repeated_trainings():
    trainings = made([("a", 0, 5, 10.0), ("a", 0, 5, 14.0), ("a", 0, 6, 1.0), ("a", 1, 6, 90.0)])
    assert benchmark.noise(trainings) == pytest.approx(np.std([10, 14], ddof=1))


def test_each_method_of_the_benchmark_scores_a_folder_that_it_has_not_seen():
    trainings = read_trainings()
    folder = np.array([row["folder"] == "gtsrb" for row in trainings.rows])
    for name, method in benchmark.METHODS.items():
        scores = method(trainings[~folder], trainings[folder])
        assert scores.shape == (folder.sum(),), name
        assert len(set(scores.tolist())) > 2, name


def test_set_vectors_are_those_of_the_trainings_classes(tmp_path, monkeypatch):
    names = ["n1", "n2", "n3"]
    images = torch.randn(15, 320, generator=torch.Generator().manual_seed(0))
    identity = "efficientnet_lite0-block15-96px"
    Features("gtsrb", images, torch.full((3,), 5), names, identity, "").save(tmp_path / "gtsrbbylabel.pt")
    rows = [{"folder": "gtsrb", "task": "0", "class_names": "n3 n1", "architecture": BEST}]
    one = Trainings(np.zeros(1, int), np.ones(1), np.ones(1), np.zeros(1, int), rows)
    monkeypatch.setattr(length_sets, "read_trainings", lambda: one)
    args = length_sets.build_parser().parse_args(["photos", "--data-path", str(tmp_path), "--output", "v.json"])
    length_sets.make_vectors(args)
    result = json.loads(Path("v.json").read_text())["result"]
    assert list(result["sets"]) == ["gtsrb 0"]
    assert len(result["graphs"]) == len(result["scores"]) == 1
    assert len(result["sets"]["gtsrb 0"]) == len(result["graphs"][0])


def test_from_python_a_training_is_as_long_as_the_search_was_for(photos):
    found = search("photos", epochs=3)
    assert found.options["epochs"] == 3
    assert "for 3 epochs of" in found.report.read_text()


def test_first_choices_come_from_the_other_folders_and_are_trained_once(tmp_path, monkeypatch):
    every = read_trainings()
    some = every[np.array([(row["folder"], row["task"]) in {("gtsrb", "0"), ("tiny", "0")} for row in every.rows])]
    choices = length_choices.first_choices(some)
    assert [(choice["folder"], choice["task"], choice["seconds"]) for choice in choices] == [
        ("gtsrb", 0, 60),
        ("tiny", 0, 60),
    ]
    for choice in choices:
        cell = known_cells().number[choice["arch"]]
        assert known_cells().learns[cell]
        assert choice["mflops"] == known_cells().flops[cell]
    unlike = some.accuracy.copy()
    last = some.task == some.task[-1]
    unlike[last] = 100 - unlike[last]  # what tiny's own trainings say has no say in its choice
    other = length_choices.first_choices(Trainings(some.cell, some.length, unlike, some.task, some.rows))
    assert other[1]["arch"] == choices[1]["arch"]
    assert other[0]["arch"] != choices[0]["arch"]
    known = [choice | {"accuracy": 50.0 + place} for place, choice in enumerate(choices)]
    Path("known.json").write_text(json.dumps({"result": {"choices": known}}))
    monkeypatch.setattr(length_choices, "read_trainings", lambda: some)
    length_choices.train_choices(length_choices.build_parser().parse_args(["nowhere", "--output", "known.json"]))
    assert json.loads(Path("known.json").read_text())["result"]["choices"] == known


def test_a_choice_is_trained_on_its_tasks_images_for_its_tasks_time(photos):
    args = length_choices.build_parser().parse_args([".", "--gpu", "cpu"])
    choice = {"folder": "photos", "task": 1, "seconds": 180, "arch": BEST}
    options, training = length_choices.training_of(choice, args)
    assert options.class_names == ("a", "b", "c", "d")
    task = trainings.draw_task(spaces.get("nasbench201"), "photos", 4, args.seed, 1)
    assert (training.classes, training.images, training.draw) == (task[0].classes, task[0].images, task[0].draw)
    assert (training.archs, training.seconds, training.seed) == ([BEST], 180, task[0].seed)
