"""Searching through the command line: in one go, and in the published two steps."""

import csv
import json
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import pytest
import torch
from helpers.authors import authors_features
from helpers.images import write_images

from metad2a.metatrain import ensemble
from metad2a.metatrain.checkpoints import Checkpoint, read_checkpoint
from metad2a.searches.instant import search
from metad2a.searches.options import SearchOptions

ROOT = Path(__file__).parents[1]


@pytest.fixture
def toy(authors_data, toy_checkpoints):
    return toy_checkpoints


def lines(path):
    return Path(path).read_text().splitlines()


def check_generated(path, n, space):
    elapsed, *texts = lines(path)
    assert float(elapsed) > 0
    assert len(set(texts)) == len(texts) == n
    assert all(space.from_text(text) == text for text in texts)
    return texts


@pytest.mark.parametrize(("data_name", "num", "runs"), [("cifar10", 500, 10), ("pets", 50, 1)])
def test_published_commands_as_typed(command, toy, space, data_name, num, runs):
    tail = f"--test --num-gen-arch {num} --data-name {data_name}"
    for path in toy.values():
        widen(path)
    code, _, err = command(
        f"--gpu 0 --model generator --hs 56 --nz 56 --test --load-epoch 400 --num-gen-arch {num} "
        f"--data-name {data_name}"
    )
    assert code == 0, err
    folder = Path("results/meta_test") / data_name
    candidates = [check_generated(folder / "generated_arch" / f"run_{r}.txt", num, space) for r in range(1, runs + 1)]
    assert len({tuple(texts) for texts in candidates}) == runs
    code, _, err = command(f"--gpu 0 --model predictor --hs 512 --nz 56 {tail}")
    assert code == 0, err
    best = lines(folder / "best_arch" / "architecture.txt")
    assert len(best) == runs
    assert all(text in texts for text, texts in zip(best, candidates, strict=True))
    accuracy = (folder / "best_arch" / "accuracy.txt").read_text()
    assert ("oracle of the top 30" in accuracy) == (data_name == "cifar10")
    assert (folder / "time.txt").read_text()


def widen(path):
    """Give a toy checkpoint the published sizes, untrained."""
    from metad2a import spaces
    from metad2a.metatrain.models import CLASSES

    torch.manual_seed(0)
    kind = "generator" if "generator" in str(path) else "predictor"
    space = spaces.get("nasbench201")
    config_class, model_class = CLASSES[kind]
    hs = {"generator": 56, "predictor": 512}[kind]
    config = config_class(space.max_n, space.num_vertex_type, hs=hs, nz=56)
    model = model_class(config)
    if kind == "generator":
        with torch.no_grad():
            model.decoder.add_edge[2].bias.fill_(3)
            model.decoder.add_vertex[2].bias[:2] = -5
    target = {"mean": 70.0, "std": 5.0} if kind == "predictor" else {}
    Checkpoint(kind, space.name, asdict(config), model.state_dict(), "resnet18-32px", target, 400).save(path)


def test_the_two_steps_equal_the_search_in_one_go(command, toy):
    """Same seeds, same draws, same candidates, same scores."""
    assert command("--model generator --test --data-name cifar10 --num-gen-arch 40 --num-runs 1")[0] == 0
    assert command("--model predictor --test --data-name cifar10 --num-gen-arch 40 --num-runs 1")[0] == 0
    assert command("--model search --data-name cifar10 --num-gen-arch 40")[0] == 0
    two_steps = lines("results/meta_test/cifar10/best_arch/ranking_run_1.csv")
    assert two_steps == lines("results/search/cifar10/001/ranking_run_1.csv")


def test_search_reports_what_the_benchmark_knows(command, toy, space):
    code, out, err = command("--model search --data-name cifar10 --num-gen-arch 60")
    assert code == 0, err
    folder = Path("results/search/cifar10/001")
    with (folder / "ranking_run_1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["architecture"] for row in rows}) == 60
    predicted = [float(row["predicted_accuracy"]) for row in rows]
    assert predicted == sorted(predicted, reverse=True)
    known = space.known_accuracy("cifar10")
    real = [known[row["architecture"]] for row in rows]
    assert [float(row["test_accuracy"]) for row in rows] == pytest.approx(real, abs=1e-3)
    summary = json.loads((folder / "summary.json").read_text())
    figures = summary["runs"][0]["figures"]
    assert figures["first_choice"] == pytest.approx(real[0])
    assert figures["oracle_of_top_30"] == pytest.approx(max(real[:30]))
    assert figures["trained_until_best_candidate"] == real.index(max(real)) + 1
    assert f"first choice, real test accuracy: {real[0]:.2f} %" in out
    assert f"best test accuracy): {max(real[:30]):.2f} %" in out
    assert summary["best_architecture"] == rows[0]["architecture"]
    assert summary["history"]["predictor"] == "results/predictor/model/ckpt_max_corr.pt"
    assert (folder / "best_architecture.svg").read_text().startswith("<svg")


def test_a_predictor_says_how_far_it_was_off(command, toy, tmp_path):
    """Its error on the validation tuples, in points, where the checkpoint has it."""
    path = tmp_path / "results" / "predictor" / "model" / "ckpt_max_corr.pt"
    checkpoint = read_checkpoint(path, "predictor", "")
    assert "+-" not in command("--model search --data-name pets --num-gen-arch 20")[1]
    replace(checkpoint, metrics={"correlation": 0.8, "validation_loss": 0.0064**2}).save(path)
    code, out, err = command("--model search --data-name pets --num-gen-arch 20")
    assert code == 0, err
    assert " +- 3.20 " in out  # 0.0064 x 100 x the target's 5 points
    assert "validation tuples" in out
    with Path("results/search/pets/002/ranking_run_1.csv").open() as file:
        assert {row["predicted_deviation"] for row in csv.DictReader(file)} == {"3.2000"}


def test_a_dataset_that_no_benchmark_knows(command, toy):
    code, out, _ = command("--model search --data-name pets --num-gen-arch 20")
    assert code == 0
    assert "real" not in out
    assert "score on ImageNet tasks" in out
    assert "Accuracies on pets itself are others" in out


def test_the_whole_space_ranked(command, toy, space):
    code, out, _ = command("--model search --data-name cifar10 --num-gen-arch all --num-draws 2")
    assert code == 0
    assert "13642 architectures ranked" in out
    rows = lines("results/search/cifar10/001/ranking_run_1.csv")
    assert len(rows) == 13643
    figures = json.loads(Path("results/search/cifar10/001/summary.json").read_text())["runs"][0]["figures"]
    assert figures["trained_until_benchmark_best"] == figures["trained_until_best_candidate"]
    assert figures["best_candidate"] == pytest.approx(94.3733, abs=1e-3)


NO_WAY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
POOLINGS = "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"


def test_by_itself_a_search_ranks_one_cell_of_each_function(command, authors_data, space):
    """No model and no features are loaded, and what is best does not depend on the dataset."""
    from metad2a.spaces.nasbench201.classes import at_class_means

    for data_name in ("cifar10", "pets"):
        code, out, err = command(f"--model search --data-name {data_name}")
        assert code == 0, err
        assert "checkpoints" not in err
        assert "4852 architectures ranked" in out
        assert out.count("--ranking predictor") == 1
        assert "noise removed" in out
        assert "in one order for all photographs" in out
        assert "score on ImageNet16-120" in out
        assert "predicted" not in out
        assert f"python main.py train --arch results/search/{data_name}/001 --data-name {data_name}\n" in out
    paths = (f"results/search/{name}/001/ranking_run_1.csv" for name in ("cifar10", "pets"))
    cifar10, pets = (list(csv.DictReader(lines(path))) for path in paths)
    assert [row["architecture"] for row in cifar10] == [row["architecture"] for row in pets]
    learning = [
        text for text in (space.architectures[row] for row in space.cheapest_members()) if space.can_learn(text)
    ]
    assert {row["architecture"] for row in pets} == set(learning)
    assert not any(space.can_learn(text) for text in (NO_WAY, POOLINGS))
    assert {NO_WAY, POOLINGS}.isdisjoint(row["architecture"] for row in pets)
    assert all(0 < float(row["predicted_deviation"]) < 10 for row in pets)
    first = pets[0]
    assert f"{float(first['predicted_accuracy']):.2f} +- {float(first['predicted_deviation']):.2f}" in out
    known = at_class_means(space.table["test_200"]["imagenet16-120"])[space.architectures.index(first["architecture"])]
    assert float(first["predicted_accuracy"]) == pytest.approx(float(known), abs=1)
    summary = json.loads(Path("results/search/cifar10/001/summary.json").read_text())
    assert summary["predicted_deviation"] == pytest.approx(float(cifar10[0]["predicted_deviation"]), abs=1e-4)
    assert summary["history"]["ranking"] == "metad2a/assets/nasbench201/universal.npz"
    assert "predictor" not in summary["history"]


def test_limits_latency_and_runs_of_the_universal_ranking(command, authors_data):
    line = "--model search --data-name pets --max-flops 20 --latency 1 --num-runs 2"
    code, _, err = command(line)
    assert code == 0, err
    rows = [list(csv.DictReader(lines(f"results/search/pets/001/ranking_run_{run}.csv"))) for run in (1, 2)]
    assert rows[0][0]["latency_ms"]
    assert [row["architecture"] for row in rows[0]] == [row["architecture"] for row in rows[1]]
    assert 0 < max(float(row["mflops"]) for row in rows[0]) <= 20


def test_options_of_the_predictor_choose_its_ranking(command, toy, refuses):
    for given in ("--num-gen-arch 5", "--ranking predictor --num-gen-arch 5", "--num-draws 1 --num-gen-arch 5"):
        code, out, _ = command(f"--model search --data-name pets {given}")
        assert code == 0
        assert "5 architectures ranked" in out
    assert "--num-draws belongs to --ranking predictor" in refuses(f"{SEARCH_ALL} --ranking universal --num-draws 3")
    for kind in ("generator", "predictor"):
        assert "--ranking belongs to" in refuses(f"--model {kind} --test --data-name pets --ranking universal")


def test_scores_are_the_mean_over_draws(space, toy, rng):
    from metad2a.data.features import draw_dataset, load_features
    from metad2a.metatrain.models import load_model
    from metad2a.metatrain.score import score

    model, _ = load_model("predictor", space, toy["predictor"], torch.device("cpu"))
    features = load_features("data/cifar10bylabel.pt", "cifar10")
    archs = space.sample(5, rng)
    scores = score(model, space, features, archs, 4, 20, torch.Generator().manual_seed(9))
    index = draw_dataset(features, 4, 20, torch.Generator().manual_seed(9))
    expected = []
    for arch in archs:  # one architecture and one draw at a time, as the published code
        graph_vec = model.encode_graph(space.encode([arch]))
        expected.append(sum(model.predict(model.encode_set(features.images[i][None]), graph_vec) for i in index) / 4)
    torch.testing.assert_close(scores, torch.cat(expected).detach(), rtol=1e-4, atol=1e-6)


def test_results_are_repeatable_and_never_overwritten(command, toy):
    for _ in range(2):
        assert command("--model search --data-name pets --num-gen-arch 20 --seed 5")[0] == 0
    assert command("--model search --data-name pets --num-gen-arch 20 --seed 6")[0] == 0
    first, second, third = (lines(f"results/search/pets/00{i}/ranking_run_1.csv") for i in (1, 2, 3))
    assert first == second != third
    for _ in range(2):
        code, _, err = command("--model generator --test --data-name pets --num-gen-arch 20")
        assert code == 0
    assert "generated_arch.old-1" in err
    assert Path("results/meta_test/pets/generated_arch.old-1/run_1.txt").is_file()


def test_shipped_models_and_features_serve_a_fresh_clone(command):
    code, out, err = command("--model search --data-name cifar10 --num-gen-arch 20")
    assert code == 0, err
    assert "using the shipped features" in err
    assert err.count(": shipped metad2a/assets/checkpoints") == 2
    assert "20 architectures ranked" in out


def test_num_class_is_not_ignored(command, toy, refuses):
    for extra in ("", "--num-class 2"):
        assert command(f"--model search --data-name pets --num-gen-arch 20 {extra}")[0] == 0
    assert lines("results/search/pets/001/ranking_run_1.csv") != lines("results/search/pets/002/ranking_run_1.csv")
    assert "pets has 5 classes" in refuses("--model search --data-name pets --num-gen-arch 20 --num-class 6")


def test_spellings_of_an_option(command, toy):
    for name in ("--model", "--model-name", "--model_name"):
        assert command(f"{name} search --data-name pets --num-gen-arch 5")[0] == 0


def test_a_published_checkpoint_serves_directly(command, toy, space):
    """A bare state dict under the authors' names, its unused parameters included."""
    golden = torch.load(ROOT / "tests" / "golden" / "nasbench201.pt", weights_only=True)
    for kind, name in (("generator", "ckpt_400.pt"), ("predictor", "ckpt_max_corr.pt")):
        torch.save(golden[kind]["state_dict"], Path("results") / kind / "model" / name)
    code, out, err = command("--model search --data-name cifar10 --num-gen-arch 30 --load-epoch 400")
    assert code == 0, err
    assert "30 architectures ranked" in out


@pytest.mark.parametrize("wrap", [
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {"model_state_dict": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}},
])  # fmt: skip
def test_a_published_checkpoint_is_read_as_training_scripts_wrap_it(wrap):
    state = torch.load(ROOT / "tests" / "golden" / "nasbench201.pt", weights_only=True)["generator"]["state_dict"]
    torch.save(wrap(state), "wrapped.pt")
    read = read_checkpoint("wrapped.pt", "generator", "")
    assert read.published
    assert read.state.keys() == state.keys()


def test_a_generator_that_has_no_more_says_so(command, toy):
    checkpoint = torch.load(toy["generator"], weights_only=True)
    checkpoint["state"]["decoder.add_vertex.2.bias"][4] = 50.0  # nothing but 1x1 convolutions
    torch.save(checkpoint, toy["generator"])
    code, out, err = command("--model search --data-name pets --num-gen-arch 30")
    assert code == 0
    assert "only 1 of 30 distinct valid architectures" in err
    assert "1 architecture ranked" in out


def test_a_generator_that_makes_nothing_valid(refuses, toy):
    checkpoint = torch.load(toy["generator"], weights_only=True)
    checkpoint["state"]["decoder.add_vertex.2.bias"][1] = 50.0  # ends every graph at once
    torch.save(checkpoint, toy["generator"])
    assert "no valid architecture" in refuses("--model search --data-name pets --num-gen-arch 30")


SEARCH_ALL = "--model search --data-name pets"
SEARCH = "--model search --data-name pets --num-gen-arch 10"


def test_a_missing_checkpoint(refuses, toy):
    message = refuses(f"{SEARCH} --load-epoch 77")
    assert "ckpt_77.pt is missing" in message
    assert "epochs there: 400" in message
    assert "nowhere.pt is missing" in refuses(f"{SEARCH} --predictor-checkpoint nowhere.pt")


def test_a_checkpoint_of_the_other_model(refuses, toy):
    assert "holds a predictor" in refuses(f"{SEARCH} --generator-checkpoint {toy['predictor']}")
    assert "holds a generator" in refuses(f"{SEARCH} --predictor-checkpoint {toy['generator']}")
    golden = torch.load(ROOT / "tests" / "golden" / "nasbench201.pt", weights_only=True)
    torch.save(golden["predictor"]["state_dict"], "published.pt")
    assert "published predictor" in refuses(f"{SEARCH} --generator-checkpoint published.pt")


def test_a_checkpoint_of_the_other_space(refuses, toy):
    golden = torch.load(ROOT / "tests" / "golden" / "ofa_mbv3.pt", weights_only=True)
    torch.save(golden["generator"]["state_dict"], "ofa.pt")
    assert "not for nasbench201" in refuses(f"{SEARCH} --generator-checkpoint ofa.pt")


def test_a_truncated_checkpoint(refuses, toy):
    path = toy["predictor"]
    path.write_bytes(path.read_bytes()[:3000])
    assert "ckpt_max_corr.pt is damaged" in refuses(SEARCH)


def test_a_checkpoint_that_is_not_finite(refuses, toy):
    checkpoint = torch.load(toy["predictor"], weights_only=True)
    checkpoint["state"]["score.2.bias"][0] = float("nan")
    torch.save(checkpoint, toy["predictor"])
    assert "not finite" in refuses(SEARCH)


def test_a_file_that_is_no_checkpoint(refuses, toy):
    torch.save({"weights": torch.zeros(2)}, toy["predictor"])
    assert "neither" in refuses(SEARCH)


def test_features_of_another_width_or_network(refuses, toy):
    features = torch.load("data/petsbylabel.pt", weights_only=True)
    torch.save({c: [rows[0][:, :256]] for c, rows in features.items()}, "data/petsbylabel.pt")
    message = refuses(SEARCH)
    assert "256 wide" in message
    assert "--extractor resnet18" in message
    Path("data/cifar10bylabel.pt").unlink()  # the shipped ones are of another network
    assert "--extractor resnet18" in refuses("--model search --data-name cifar10 --ranking predictor")


def test_an_unknown_dataset(refuses, toy):
    message = refuses("--model search --data-name food101")
    assert "food101" in message
    assert "process_dataset.py --dataset food101" in message


def test_features_of_a_folder_have_no_benchmark_accuracy(command, toy):
    """Whatever their name."""
    write_images(Path("images"), n=4)
    code, out, err = command("search images --data-name cifar10 --data-path mine")
    assert code == 0, err
    assert "real" not in out
    assert not Path("mine").exists()
    assert command("process-dataset --dataset cifar10 --image-folder images --data-path mine")[0] == 0
    code, out, err = command("search cifar10 --data-path mine")
    assert code == 0, err
    assert "real" not in out
    code, out, err = command("search cifar10")
    assert code == 0, err
    assert "real" in out


@pytest.mark.parametrize("images", ["photos", "svhn"])
def test_the_instant_ranking_reads_no_images(command, monkeypatch, images):
    """A folder is listed for its classes, and a known dataset is not fetched."""
    monkeypatch.setattr("metad2a.data.make_features.make_features", None)
    monkeypatch.setattr("metad2a.data.datasets.fetch_all", None)
    write_images(Path("photos"), n=3)
    code, out, err = command(f"search {images} --report --max-flops 60")
    assert code == 0, err
    page = Path(f"results/search/{images}/001/report.html").read_text()
    title, score = ("photos", "points above") if images == "photos" else ("any photographs", "score on ImageNet16-120")
    assert f"Architectures for {title}" in page
    assert score in page
    assert "predicted" not in page
    row = next(csv.DictReader(lines(f"results/search/{images}/001/ranking_run_1.csv")))
    from metad2a import spaces

    classes = len(list(Path("photos").iterdir())) if images == "photos" else 10
    assert float(row["mparams"]) == pytest.approx(
        spaces.get("nasbench201").cost(row["architecture"], classes)["params"]
    )
    end = " --image-folder photos" if images == "photos" else ""
    assert f"train --arch results/search/{images}/001 --data-name {images}{end}\n" in out


def test_an_unknown_device_is_refused_before_anything_is_read(refuses, monkeypatch):
    monkeypatch.setattr("metad2a.metatrain.models.load_model", None)
    for ranking in ("universal", "predictor"):
        assert "Did you mean pixel3" in refuses(f"search nowhere --ranking {ranking} --device-latency pixl3")


def test_counts_of_graphs_are_whole_numbers(command, toy):
    code, out, err = command("--model generator --test --data-name pets --num-gen-arch 3 --num-sample 3")
    assert code == 0, err
    assert "decoded 1000," in out


def test_missing_candidates(refuses, toy):
    message = refuses("--model predictor --test --data-name pets --num-gen-arch 50")
    assert "--search-space nasbench201 --data-name pets --num-gen-arch 50 --num-runs 1" in message


def test_damaged_candidates(refuses, command, toy):
    assert command("--model generator --test --data-name pets --num-gen-arch 5")[0] == 0
    path = Path("results/meta_test/pets/generated_arch/run_1.txt")
    whole = path.read_text()
    for damaged in (whole[:-20].encode(), b"\xff\xfe\n", f"nan\n{whole}".encode()):
        path.write_bytes(damaged)
        message = refuses("--model predictor --test --data-name pets --num-gen-arch 5 --num-runs 2")
        assert "run_1.txt is damaged" in message
        assert "--num-runs 2 --save-path results" in message


def test_an_unwritable_result_folder(refuses, toy):
    Path("file").write_text("not a folder")
    assert "file" in refuses(f"{SEARCH} --save-path file --generator-checkpoint {toy['generator']} "
                             f"--predictor-checkpoint {toy['predictor']}")  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (f"{SEARCH} --num-gen-arch 20000", "15625"),
        ("--model predictor --test --data-name pets --num-gen-arch 10 --nvt 9", "7 vertex types"),
        (f"{SEARCH} --gpu x", "device number"),
        ("--model predictor --test --hs 99 --data-name pets --num-gen-arch 10", "--hs 16"),
        (f"{SEARCH} --search-space ofa_mbv3", "512 wide (resnet18-32px)"),
    ],
)
def test_wrong_options(refuses, toy, options, message):
    assert message in refuses(options)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--model none",
        f"{SEARCH} --num-gen-arch 0",
        f"{SEARCH} --oops",
        "--model predictor --lr nan",
        f"{SEARCH} --seed -1",
    ],
)
def test_options_that_argparse_refuses(command, options):
    code, _, err = command(options)
    assert code == 2
    assert "Traceback" not in err


def test_main_as_a_program(toy):
    arguments = [sys.executable, str(ROOT / "main.py"), *f"{SEARCH} --save-path results".split()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "10 architectures ranked for pets" in done.stdout
    done = subprocess.run([*arguments, "--load-epoch", "7"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_cifar100_where_a_user_has_its_features(command, toy, space):
    torch.save(authors_features(100, 5, seed=7), Path("data") / "cifar100bylabel.pt")
    code, _, err = command("--model search --data-name cifar100 --num-gen-arch 40 --num-runs 2")
    assert code == 0, err
    known = space.known_accuracy("cifar100")
    rows = list(csv.DictReader(lines("results/search/cifar100/001/ranking_run_1.csv")))
    assert len(rows) == 40
    assert all(float(row["test_accuracy"]) == pytest.approx(known[row["architecture"]], abs=1e-4) for row in rows)
    figures = json.loads(Path("results/search/cifar100/001/summary.json").read_text())["runs"][0]["figures"]
    assert figures["benchmark_best"] == pytest.approx(73.5133, abs=1e-4)
    assert figures["first_choice"] == pytest.approx(known[rows[0]["architecture"]])


@pytest.mark.parametrize("ranking", ["universal", "predictor"])
def test_each_file_reads_the_options_once_or_twice(toy, ranking):
    """Whoever follows them through a search comes to each file at most two times."""
    visits = []

    class Followed(SearchOptions):
        def __getattribute__(self, name):
            reader = sys._getframe(1).f_globals["__name__"]
            if (
                reader.startswith("metad2a.searches.") and reader != SearchOptions.__module__
            ):  # its properties read it, too
                visits.append(reader)
            return object.__getattribute__(self, name)

    shape = {"num_gen_arch": 20, "num_runs": 1, "latency": 1, "max_flops": 100.0, "ranking": ranking}
    files = {f"{kind}_checkpoint": str(path) for kind, path in toy.items()}
    search(Followed(gpu="cpu", data_name="cifar10", **shape, **files))
    rooms = [name for name, _ in groupby(visits)]
    assert {"metad2a.searches.instant", "metad2a.searches.session", "metad2a.searches.ranking"} <= set(rooms)
    assert max(map(rooms.count, rooms)) <= 2


def test_predictors_joined_to_an_ensemble(command, toy, capsys):
    """Its predictions are the means of its members', which must fit each other."""
    first = read_checkpoint(toy["predictor"], "predictor", "")
    torch.manual_seed(5)
    other = replace(first, state={name: torch.randn_like(t) * 0.1 for name, t in first.state.items()})
    other.save("other.pt")
    replace(first, target={"mean": 1.0, "std": 2.0}).save("misfit.pt")

    def join(line):
        return ensemble.main(line.split())

    assert join(f"{toy['predictor']} other.pt both.pt") == 0
    predictions = {}
    for name in (str(toy["predictor"]), "other.pt", "both.pt"):
        line = f"--model search --data-name pets --num-gen-arch 20 --save-path out --predictor-checkpoint {name}"
        code, _, err = command(f"{line} --generator-checkpoint {toy['generator']}")
        assert code == 0, err
        number = len(predictions) + 1
        rows = csv.DictReader(lines(f"out/search/pets/{number:03d}/ranking_run_1.csv"))
        predictions[name] = {row["architecture"]: float(row["predicted_accuracy"]) for row in rows}
    one, two, both = predictions.values()
    assert all(both[arch] == pytest.approx((one[arch] + two[arch]) / 2, abs=2e-3) for arch in both)
    capsys.readouterr()
    assert join(f"{toy['predictor']} misfit.pt new.pt") == 2
    assert "another target" in capsys.readouterr().err
    assert join(f"{toy['predictor']} other.pt both.pt") == 2
    assert "--overwrite" in capsys.readouterr().err
