"""Every script of benchmarks/ runs, on toy sizes."""

import contextlib
import importlib.util
import io
import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, authors_features
from PIL import Image
from test_database import world  # noqa: F401
from test_train_arch import write_images

import main
from benchmarks import (
    dataset_effect,
    features,
    first_choice,
    joint,
    kernels,
    lines,
    memory,
    naswot,
    own_images,
    process,
    published_generator,
    quality,
    rivals,
    rivals_real,
    speed,
    startup,
    study,
    subnet_accuracies,
    subnets,
    train_arch,
    validation,
)
from generator.model import PUBLISHED_NAMES, GeneratorConfig, GeneratorModel
from metad2a import spaces
from metad2a.core.cli import run
from metad2a.core.published_weights import published_name
from metad2a.data import downsampled_imagenet
from metad2a.data.features import find_features, load_features
from metad2a.metatrain.checkpoints import Checkpoint, read_checkpoint
from metad2a.rankings.fit_universal import Accuracies
from metad2a.spaces.nasbench201.classes import class_means
from predictor.model import PredictorConfig, PredictorModel

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
    programs = {
        "main.py": main.main,
        "process_dataset.py": lambda line: main.main(["process-dataset", *line]),
    }

    def here(command, **options):
        script, output = command[1].rpartition("/")[2], io.StringIO()
        with contextlib.redirect_stdout(output):
            code = programs[script](command[2:]) if script in programs else exec(command[2])
        assert not code
        return subprocess.CompletedProcess(command, 0, output.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", here)


def save_images(folder, num_classes, n, size):
    for label in range(num_classes):
        (folder / f"n{label:02}").mkdir(parents=True)
        for i in range(n):
            Image.fromarray(RNG.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(folder / f"n{label:02}/{i}.png")


def test_all_have_a_test():
    others = {"make_results": "test_results.py"} | dict.fromkeys(
        ("budget", "budget_results"), "test_budget_benchmark.py"
    )
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert {name for name in scripts if f"test_{name}" not in globals()} == set(others)
    assert all((ROOT / "tests" / name).is_file() for name in others.values())


def test_own_images(bench, monkeypatch):
    monkeypatch.setattr(own_images, "OUTPUT", Path("out.json"))
    write_images(Path("images"), n=10)
    for way in ("first", "random"):
        bench(
            own_images, own_images.measure, f"--way {way} --data-name toy --image-folder images --budget 1e --gpu cpu"
        )
    found = json.loads(Path("out.json").read_text())["result"]["toy"]
    assert {name: entry["rungs"] for name, entry in found.items()} == {"first": {"full": 1}, "random": {"full": 1}}


def test_subnet_accuracies(bench, monkeypatch):
    monkeypatch.setattr(subnet_accuracies, "TARGET", Path("out.json"))
    monkeypatch.setattr(subnet_accuracies, "search", lambda args: {"splits": args.splits})
    bench(subnet_accuracies, subnet_accuracies.main, "--sections search --splits 3")
    assert json.loads(Path("out.json").read_text())["result"] == {"search": {"splits": 3}}


def test_kernels(bench, monkeypatch):
    assert kernels.forms(kernels.SHIPPED) == kernels.KERNELS
    known = kernels.features()
    some, others = torch.arange(0, 900, 30), torch.arange(7)
    edges = kernels.Compared(known, *kernels.forms("edges"))
    with torch.no_grad():
        edges.scales["edges"].zero_()  # an edge that differs is two numbers of its one-hots
        differ = (known["edges"][some][:, None] != known["edges"][others]).sum(-1).double() / 2
        expected = torch.exp(-2 * differ) + 1
    torch.testing.assert_close(edges.covariance(some, others), expected)

    monkeypatch.setattr(kernels, "TARGET", Path("out.json"))
    truth = class_means(spaces.get("nasbench201").table["test_200"]["imagenet16-120"].double())
    monkeypatch.setattr(kernels, "held_out", lambda known, name, steps: (truth if name == "paths" else -truth, 0.5))
    monkeypatch.setattr(kernels, "RESAMPLED", 3)
    bench(kernels, kernels.measure, "--kernels paths scores")
    found = json.loads(Path("out.json").read_text())["result"]
    assert (found["paths"]["spearman"], found["paths"]["ndcg"]) == pytest.approx((1, 1))
    assert found["scores"]["spearman_best"] == pytest.approx(-1)
    assert found["paths"]["difference"]["spearman_best"]["mean"] == pytest.approx(2)  # the shipped one is upside down
    assert found["scores"]["difference"]["ndcg"] == {"mean": 0, "error": 0}


def test_joint(bench):
    features = load_features(find_features("cifar10", "data"), "cifar10")
    config = PredictorConfig(hs=8, nz=4, max_n=8, num_vertex_type=7, feature_dim=features.dim)
    for fold in range(5):
        torch.manual_seed(fold)
        path = Path("joint", str(fold), "predictor", "model", "ckpt_max_corr.pt")
        path.parent.mkdir(parents=True)
        state = PredictorModel(config).state_dict()
        metrics = {"correlation": 0.1 * fold}
        target = {"mean": 60.0, "std": 5.0}
        about = ("predictor", "nasbench201", asdict(config), state, features.extractor, target)
        Checkpoint(*about, epoch=1, metrics=metrics).save(path)
    bench(joint, joint.measure, "--joint joint --output out.json --gpu cpu")
    found = json.loads(Path("out.json").read_text())
    assert found["validation"]["mean"] == pytest.approx(0.2)
    assert found["weight"] == 0 or found["result"]["both"] != found["result"]["universal"]


def test_features(bench, authors_data, tmp_path):
    save_images(tmp_path / "images", 12, 3, 16)
    line = "--image-folder images --variants block10@32,head@32 --max-epoch 1 --allow-pickle --gpu cpu"
    rows = bench(features, features.study, line).splitlines()
    assert [row.split()[0] for row in rows] == ["block10", "head"]
    assert all(-1 <= float(row.split()[-1]) <= 1 for row in rows)


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


def test_first_choice(bench, tmp_path, monkeypatch):
    """On the first 60 cells."""
    features, data = first_choice.published_features(), first_choice.accuracies()
    few = Accuracies(data.value[:60], data.variance[:60], data.scale)
    monkeypatch.setattr(first_choice, "accuracies", lambda: few)
    monkeypatch.setattr(first_choice, "published_features", lambda: {name: x[:60] for name, x in features.items()})
    bench(first_choice, first_choice.measure, f"--steps 2 --num-draws 3 --output {tmp_path / 'out.json'}")
    result = json.loads((tmp_path / "out.json").read_text())["result"]
    assert sum(result["first_choices"].values()) == 3


@pytest.mark.usefixtures("authors_data")
def test_lines(bench, toy_checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "load_tuples", allowing_pickles(lines.load_tuples))
    monkeypatch.setitem(lines.SMOOTHED, "upper", 50)
    monkeypatch.setattr(lines, "correlations", lambda *scores: dict.fromkeys(("spearman", "kendall"), 0.5))
    torch.save(authors_features(8, 25, seed=4), "data/imagenet16-120bylabel.pt")
    archs = spaces.get("nasbench201").all_architectures()
    rows = "".join(f"{arch},{i / 200},0.9\n" for i, arch in enumerate(archs))
    Path("360.csv").write_text("architecture,ninapro,darcy\n" + rows)
    Path("authors.txt").write_text(
        "1.5\n" + "".join(f"{arch}, 70.0, 0.{i}\n" for i, arch in enumerate(archs[100::1700], 1))
    )
    for name in ("cifar10", "imagenet16-120"):
        Path(f"{name}.csv").write_text(f"architecture,nwot,synflow,jacov,zen\n{archs[0]},1,2,3,4\n")
    line = "--zero-cost . --nasbench360 360.csv --authors authors.txt --num-runs 1 --output out.json --gpu cpu"
    bench(lines, lines.measure, f"{line} --predictor-checkpoint {toy_checkpoints['predictor']}")
    result = json.loads((tmp_path / "out.json").read_text())["result"]
    assert result["tables"]["ninapro"]["maximum"] == pytest.approx(15624 / 200)
    assert result["authors"]["candidates"] == 10


@pytest.mark.usefixtures("authors_data")
def test_published_generator(bench, toy_checkpoints, monkeypatch):
    """The authors' names, of a toy model."""
    monkeypatch.setattr(published_generator, "load_tuples", allowing_pickles(published_generator.load_tuples))
    state = torch.load(toy_checkpoints["generator"], weights_only=True)["state"]
    torch.save({published_name(name, PUBLISHED_NAMES): value for name, value in state.items()}, "ckpt_400.pt")
    line = "ckpt_400.pt --decoded 30 --num-seeds 1 --output o.json --gpu cpu"
    bench(published_generator, published_generator.measure, line)
    found = json.loads(Path("o.json").read_text())
    assert found["history"]["command"].count("ckpt_400.pt") == 0
    assert all(0 < found["result"][name]["valid"]["mean"] <= 1 for name in ("published", "shipped"))


@pytest.mark.usefixtures("authors_data", "toy_checkpoints", "run_here")
def test_memory(monkeypatch, capsys):
    line = "--data-name cifar10 --num-gen-arch 2 --num-draws 1 --gpu cpu"
    line += " --generator-checkpoint results/generator/model/ckpt_400.pt"
    line += " --predictor-checkpoint results/predictor/model/ckpt_max_corr.pt"
    monkeypatch.setattr("sys.argv", ["memory.py", *line.split()])
    memory.main()
    assert "peak memory" in capsys.readouterr().out


@pytest.mark.usefixtures("run_here")
def test_startup(bench):
    out = bench(startup, startup.measure, "--runs 1 --num-gen-arch 2")
    assert "more than import torch" in out


@pytest.mark.usefixtures("run_here")
def test_process(bench, monkeypatch):
    monkeypatch.setattr(downsampled_imagenet, "NUM_CLASSES", 5)
    monkeypatch.setenv("TORCH_HOME", "unused")  # the benchmark sets it
    out = bench(process, process.measure, "--images 16 --imagenet32-images 60")
    assert out.count("images/s:") == 2
    assert "imagenet32 of 60 images" in out


def test_quality(bench, authors_data, toy_checkpoints, tmp_path, monkeypatch):
    torch.save(authors_features(8, 25, seed=4), authors_data / "imagenet16-120bylabel.pt")
    torch.save(authors_features(10, 25, seed=5), authors_data / "mnistbylabel.pt")
    sizes = {"NUM_CANDIDATES": 12, "CANDIDATES": (3, 5), "DRAWS": (1, 2), "GRAPHS_PER_ROUND": 30}
    for name, value in sizes.items():
        monkeypatch.setattr(quality, name, value)
    monkeypatch.setattr(quality, "load_tuples", allowing_pickles(quality.load_tuples))
    for name in ("full-published", "full-ema", "full-benchmark-task"):
        path = tmp_path / "results/study" / name / "predictor/model/ckpt_max_corr.pt"
        path.parent.mkdir(parents=True)
        shutil.copy(toy_checkpoints["predictor"], path)
    arch = quality.search_spaces.get("nasbench201").all_architectures()[0]
    found = {"dataset": "cifar10", "architecture": arch, "flops": 1, "params": 1, "mean": 90, "interval_95": 1}
    found |= {"num_images": 9, "protocol": dict.fromkeys(("epochs", "batch_size", "augment", "precision"), 1)}
    (tmp_path / "results/train_arch/cifar10/x").mkdir(parents=True)
    (tmp_path / "results/train_arch/cifar10/x/result.json").write_text(json.dumps(found | {"runs": [{"seed": 777}]}))
    line = "--num-runs 1 --output out --gpu cpu"
    line += " ".join(f" --{kind}-checkpoint {path}" for kind, path in toy_checkpoints.items())
    bench(quality, quality.measure, line)
    results = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in quality.SECTIONS}
    assert results["search"]["result"]["cifar10"]["candidates"]["5"]["runs"] == 1
    assert len(results["predictors"]["result"]) == 7  # ways to take some of three


def allowing_pickles(load):
    return lambda *args: load(*args, allow_pickle=True)


def test_speed(bench, monkeypatch):
    for name, value in {"NUM_CANDIDATES": {"nasbench201": 3}, "BATCH": 2, "MAX_RANKED": 0}.items():
        monkeypatch.setattr(speed, name, value)
    out = bench(speed, speed.measure, "--repeats 1 --feature-dim 8 --gpu cpu")
    rows = [line.split("  ")[0] for line in out.splitlines()[2:]]
    assert rows[-4:] == ["train generator", "train predictor", "generate 3", "score 3"]


@pytest.mark.usefixtures("authors_data", "run_here")
def test_study(bench, monkeypatch):
    monkeypatch.setattr(study, "VARIANTS", {"toy": "--hs 8 --max-epoch 2 --num-sample 2 --allow-pickle"})
    for more in ("", "--report"):  # the second finds it done
        bench(study, study.measure, f"--save-path study --output study.json --gpu cpu {more}")
    [row] = json.loads(Path("study.json").read_text())["result"]["variants"]
    assert row["epochs"] == 2


def test_rivals(bench):
    """Three methods on two tables; a table that is measured again replaces its part."""
    line = "--methods random,metad2a,halving --num-seeds 2 --num-workers 1 --out rivals.json"
    bench(rivals, rivals.measure, f"{line} --datasets cifar10")
    bench(rivals, rivals.measure, "--methods random --num-seeds 2 --num-workers 1 --out rivals.json --datasets darcy")
    found = json.loads(Path("rivals.json").read_text())["result"]
    assert list(found) == ["cifar10", "darcy"]
    methods = found["cifar10"]["methods"]
    assert {name: entry["mark"] for name, entry in methods.items()} == {
        "random": "",
        "metad2a": "",
        "halving": "oracle",
    }
    assert methods["metad2a"]["curve"][0][0] == 0
    assert methods["random"]["curve"][-1][1] == pytest.approx(methods["random"]["accuracy"]["mean"])
    by = {(row["convolutions"], row["depth"]): row for row in found["cifar10"]["preferences"]["by_depth"]}
    # The figures that were measured on the table before there was this benchmark
    assert by[3, 2]["short"] == pytest.approx(75.61, abs=0.01)
    assert by[3, 3]["short"] == pytest.approx(73.45, abs=0.01)
    assert by[3, 2]["long"] == pytest.approx(92.19, abs=0.01)
    assert "preferences" not in found["darcy"]


def test_naswot(bench):
    write_images(Path("images"), n=4)
    line = "--image-folder images --num-archs 3 --batch-size 4 --output out.json"
    assert "3 architectures, 4 images: Spearman" in bench(naswot, naswot.measure, line)
    bench(naswot, naswot.measure, f"{line} --data-name toy")
    found = json.loads(Path("out.json").read_text())["result"]
    assert list(found) == ["cifar10", "toy"]
    assert found["cifar10"]["scores"].keys() == found["toy"]["scores"].keys()
    assert len(found["toy"]["scores"]) == 3


def test_rivals_real(bench, monkeypatch):
    monkeypatch.setattr(rivals_real, "RESULTS", Path("."))
    write_images(Path("images"), n=6)
    line = "--data-name toy --image-folder images --methods random,gdas --budget 1epochs --search-epochs 1 --epochs 1"
    out = bench(rivals_real, rivals_real.measure, f"{line} --channels 4 --cells 1 --gpu cpu")
    assert "random" in out
    assert list(json.loads(Path("rivals_real_toy.json").read_text())["methods"]) == ["random", "gdas"]


def test_subnets(bench, world, monkeypatch):  # noqa: F811
    """The generator is untrained and seldom makes subnets of given FLOPs: random ones take their place."""

    def generate(model, space, features, n, num_sample, rng, accept):
        return SimpleNamespace(archs=[arch for arch in space.sample(100, rng) if accept(arch)][:n])

    monkeypatch.setattr(subnets, "generate", generate)
    monkeypatch.setattr(subnets, "QUANTILES", (0.5,))
    build = "--model_name predictor --imgnet images --supernet supernet.pt --num-tasks 4 --num-arch 3"
    build += " --num-calibration 8 --gpu cpu"
    assert main.main(["build-database", "--search-space", "ofa_mbv3", *build.split()]) == 0
    assert main.main(["build-database", "--search-space", "ofa_mbv3", "--model_name", "predictor", "--collect"]) == 0
    space = spaces.get("ofa_mbv3")
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "nz": 8, "feature_dim": 16}
    for kind, model in (
        ("generator", GeneratorModel(GeneratorConfig(hs=8, **sizes))),
        ("predictor", PredictorModel(PredictorConfig(hs=16, **sizes))),
    ):
        path = world / "results/ofa_mbv3" / kind / "model/ckpt_max_corr.pt"
        target = {"mean": 70.0, "std": 5.0} if kind == "predictor" else {}
        config = vars(model.config)
        for name in ("ckpt_max_corr.pt", "ckpt_last.pt"):
            Checkpoint(kind, space.name, config, model.state_dict(), "toy-32px", target, 3).save(path.with_name(name))
    line = "--imgnet images --supernet supernet.pt --num-tasks 2 --num-gen-arch 2 --num-random 3 --num-calibration 8"
    bench(subnets, subnets.measure, f"{line} --num-sample 3 --out out.json --gpu cpu")
    result = json.loads((world / "out.json").read_text())["result"]
    assert len(result["rows"]) == 2
    assert result["summary"]["all"]["tasks"] == 2


def test_train_arch(bench, monkeypatch):
    if importlib.util.find_spec("xautodl") is None:
        monkeypatch.setattr(train_arch, "their_steps", train_arch.our_steps)
    out = bench(train_arch, train_arch.measure, "--batch-size 2 --steps 1 --repetitions 1 --gpu cpu")
    assert out.count("images/s") == 2


@pytest.mark.usefixtures("authors_data")
def test_validation(bench, toy_checkpoints):
    line = "--num-draws 2 --num-sample 2 --allow-pickle --record --gpu cpu --data-path data"
    out = bench(validation, validation.measure, f"{line} --predictor-checkpoint {toy_checkpoints['predictor']}")
    recorded = read_checkpoint(toy_checkpoints["predictor"], "predictor", "").metrics
    assert f"2 draws: Pearson {recorded['correlation']:.4f}" in out
    assert f"standard error {recorded['validation_loss'] ** 0.5 * 100 * 5:.2f} points" in out
