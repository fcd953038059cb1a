"""Training the architecture that was found, through the command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from helpers.images import exists, write_images, write_mnist
from helpers.networks import SMALL
from helpers.train import line, results
from PIL import Image

from metad2a.core.errors import UserError
from metad2a.core.training_run import TrainingRun
from metad2a.data import image_data as pixels
from metad2a.data.image_data import load_image_data, stratified_split
from metad2a.networks import load_network

OTHER = SMALL.replace("none~0", "skip_connect~0")


@pytest.fixture
def images():
    write_images(Path("images"))
    return "images"


def test_train_report_and_load(command, images):
    code, out, err = command(line("--export pt2"))
    assert code == 0, err
    assert [Path(text).name for text in out.splitlines()[-2:]] == ["network.pt", "network.pt2"]
    assert all(Path(text).is_file() for text in out.splitlines()[-2:])
    code, out, err = command(line("--resume", runs=2))
    assert code == 0, err
    [folder] = results()
    value = json.loads((folder / "result.json").read_text())
    assert value["architecture"] == SMALL
    assert value["protocol"]["lr"] == 0.1
    assert value["protocol"]["processes"] == 1  # part of the key of earlier results
    assert value["num_images"] == {"train": 48, "x-valid": 6, "x-test": 6}
    assert [run["seed"] for run in value["runs"]] == [777, 888]
    each = [run["accuracy"]["x-test"] for run in value["runs"]]
    assert value["mean"] == pytest.approx(sum(each) / 2)
    assert value["params"] == pytest.approx(0.115, abs=0.05)
    assert f"x-test accuracy {value['mean']:.2f} +- {value['interval_95']:.2f} % (2 seeds, 95 %)" in out
    files = [f"{folder / f'seed_{seed}' / 'network.pt'}\n" for seed in (777, 888)]
    assert out == (folder / "accuracy.txt").read_text() + "".join(files)
    assert (folder / "seed_777" / "network.pt2").is_file()
    assert not (folder / "seed_888" / "ckpt_last.pt").exists()

    network = load_network(folder / "seed_888" / "network.pt")
    data = load_image_data("toy", images, "data", 333)
    with torch.no_grad():
        correct = network(data.test.pixels.permute(0, 3, 1, 2) / 255).argmax(dim=1) == data.test.labels
    assert 100 * correct.float().mean().item() == pytest.approx(each[1])

    # The same again is refused; with --resume what is finished is read and not trained.
    code, _, err = command(line(runs=2))
    assert code == 2
    assert "--resume" in err
    code, again, err = command(line("--resume", runs=2))
    assert (code, again) == (0, out)
    assert "epoch" not in err
    assert (folder / "result.json.old-1").is_file()
    code, _, err = command(line("--overwrite"))
    assert code == 0, err
    assert sorted(path.name for path in folder.glob("seed_*")) == ["seed_777"]


def test_results_are_never_another_ones(command, images):
    """Architecture, images, protocol and split each have their own result."""
    for options in ({}, {"arch": OTHER}, {"epochs": 1}, {"batch": 24}, {"name": "toy2"}, {"tail": "--split-seed 5"}):
        code, _, err = command(line(**options))
        assert code == 0, err
    assert len(results()) == 5
    assert len(results("toy2")) == 1
    Image.new("RGB", (32, 32)).save("images/class 0/000.png")  # another image under the same name
    code, _, err = command(line())
    assert code == 0, err
    assert "decoded once" in err
    assert len(results()) == 6


def test_a_result_that_was_moved_is_refused(command, refuses, images):
    folders = {}
    for arch in (SMALL, OTHER):
        assert command(line(arch=arch, epochs=1))[0] == 0
        [folders[arch]] = set(results()) - set(folders.values())
    shutil.copy(folders[OTHER] / "seed_777" / "network.pt", folders[SMALL] / "seed_777" / "network.pt")
    assert "network.pt belongs to another architecture" in refuses(line("--resume", epochs=1))
    shutil.copy(folders[OTHER] / "run.json", folders[SMALL] / "run.json")
    assert f"run.json belongs to a run with architecture {OTHER}" in refuses(line("--resume", epochs=1))


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
import main
replace, calls = os.replace, []
def replace_or_die(source, target):
    calls.extend([target] if str(target).endswith("ckpt_last.pt") else [])
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = replace_or_die
main.main(sys.argv[1:])
"""


def test_killed_and_resumed_gives_the_same_network(command, images, one_thread):
    """A process that the system kills when its third checkpoint is written but not yet in its place."""
    whole = line(epochs=5)
    assert command(whole)[0] == 0
    [folder] = results()
    wanted = torch.load(folder / "seed_777" / "network.pt", weights_only=True)
    shutil.rmtree("results")
    process = [sys.executable, "-c", KILLED.format(root=str(ROOT)), *whole.split()]
    killed = subprocess.run(process, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = sorted(path.name for path in (folder / "seed_777").iterdir())
    assert len(left) == 2  # the second checkpoint and the third, half way
    code, _, err = command(f"{whole} --resume")
    assert code == 0, err
    assert "epoch 2 " not in err
    assert sorted(path.name for path in (folder / "seed_777").iterdir()) == ["model_card.md", "network.pt"]
    found = torch.load(folder / "seed_777" / "network.pt", weights_only=True)
    assert found["accuracy"] == wanted["accuracy"]
    assert all(torch.equal(tensor, found["state"][name]) for name, tensor in wanted["state"].items())


def test_the_first_command_is_kept(command, images, monkeypatch):
    for more, runs in (("", 1), ("--resume", 2)):
        monkeypatch.setattr(sys, "argv", ["main.py", f"--num-runs {runs}"])
        assert command(line(more, epochs=1, runs=runs))[0] == 0
    [folder] = results()
    network = torch.load(folder / "seed_888" / "network.pt", weights_only=True)
    for history in (json.loads((folder / "result.json").read_text())["history"], network["history"]):
        assert history["command"].endswith("'--num-runs 1'")
        [later] = history["resumed"]
        assert later["command"].endswith("'--num-runs 2'")


def test_two_processes_never_train_in_one_folder(command, refuses, images):
    assert command(line(epochs=1))[0] == 0
    [folder] = results()
    with TrainingRun(folder, (), False, False):
        assert "Another process trains" in refuses(line("--overwrite", epochs=1))
    assert (folder / "result.json").is_file()


def test_a_full_disk(command, refuses, images):
    assert command(line(epochs=1))[0] == 0  # the images are decoded
    shutil.rmtree("results")

    resource = pytest.importorskip("resource")  # Windows has none
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        message = refuses(line(epochs=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "ckpt_last.pt" in message
    assert "make room" in message
    assert not list(Path("results").rglob("*.pt"))
    code, _, err = command(line("--resume", epochs=1))  # nothing is lost or damaged
    assert code == 0, err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": SMALL.replace("skip_connect", "max_pool_3x3")}, "Unknown operation 'max_pool_3x3'"),
        ({"arch": "resnet"}, "Not a NAS-Bench-201 architecture: 'resnet'"),
        ({"tail": "--export tflite"}, "'tflite' is none of onnx, pt2"),
        ({"tail": "--search-space ofa_mbv3", "arch": "{}"}, "Not an OFA MobileNetV3 architecture"),
    ],
)
def test_bad_options(refuses, images, options, message):
    assert message in refuses(line(**options))


def test_fewer_images_than_a_batch(command):
    write_images(Path("images"), n=5)
    code, _, err = command(line(epochs=1, batch=256))
    assert code == 0, err
    assert "images has 12 training images, fewer than 256: a batch has 3 images." in err
    [folder] = results()
    assert json.loads((folder / "result.json").read_text())["protocol"]["batch_size"] == 3


def test_missing_options(refuses):
    assert "--arch is missing" in refuses("--model train_arch --data-name toy")
    assert "--data-name is missing" in refuses(f"--model train_arch --arch {SMALL}")
    assert "none of cifar10" in refuses(f"--model train_arch --arch {SMALL} --data-name toy")
    assert "--train-arch belongs to meta-test" in refuses("--model search --data-name cifar10 --train-arch true")


def test_bad_folders(refuses):
    write_images(Path("images"), num_classes=1)
    assert "has one class ('class 0')" in refuses(line())
    shutil.rmtree("images")
    write_images(Path("images"))
    for path in sorted(Path("images/class 1").iterdir())[1:]:
        path.unlink()
    assert "Class 'class 1' has 1 image" in refuses(line())
    shutil.rmtree("images")
    write_images(Path("images/train"))
    write_images(Path("images/test"), num_classes=4, n=4)
    assert "images/train lacks the class 'class 3', which images/test has" in refuses(line())
    shutil.rmtree("images/test/class 3")
    for path in Path("images/train/class 2").iterdir():
        path.unlink()
    assert "Class 'class 2' of toy has no images" in refuses(line())


def test_a_folder_with_train_and_test(command):
    write_images(Path("images/train"))
    write_images(Path("images/test"), n=5, seed=1)
    assert command(line(epochs=1))[0] == 0
    [folder] = results()
    assert json.loads((folder / "result.json").read_text())["num_images"] == {"train": 60, "x-valid": 7, "x-test": 8}


def test_a_known_dataset_by_its_protocol(command, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", exists)
    write_mnist(Path("data/raw-data"), train=40)
    common = f"--gpu cpu --model train_arch --arch {SMALL} --data-name mnist --num-runs 1 --batch-size 16"
    code, _, err = command(f"{common} --epochs 1")
    assert code == 0, err
    [folder] = results("mnist")
    protocol = json.loads((folder / "result.json").read_text())["protocol"]
    assert protocol["augment"] is False
    assert protocol["weight_decay"] == 5e-4


def test_published_split_files_are_used(images):
    held_out = load_image_data("toy", images, "data", 333)
    number = len(held_out.valid) + len(held_out.test)
    path = Path("data/toy-test-split.txt")
    path.write_text(json.dumps({"xvalid": ["int", ["0", "1"]], "xtest": ["int", [str(i) for i in range(2, number)]]}))
    data = load_image_data("toy", images, "data", 333)
    assert (len(data.valid), len(data.test)) == (2, number - 2)
    assert data.fingerprint != held_out.fingerprint
    for bad in ('{"xvalid": ["int", [0]], "xtest": ["int", [0, 1]]}', '{"xvalid": ["int", []], "xtest": ["int", [1]]}'):
        path.write_text(bad)
        with pytest.raises(UserError, match="does not split the 12 test images"):
            load_image_data("toy", images, "data", 333)
    path.write_text("<html>")
    with pytest.raises(UserError, match="is not a split file"):
        load_image_data("toy", images, "data", 333)


def test_splits_are_stratified_and_repeatable(images):
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 2)
    train, test = stratified_split(labels, ["a", "b", "c"], 1, 0.2)
    assert torch.bincount(labels[test]).tolist() == [2, 1, 1]
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(17))
    assert torch.equal(train, stratified_split(labels, ["a", "b", "c"], 1, 0.2)[0])
    assert not torch.equal(train, stratified_split(labels, ["a", "b", "c"], 2, 0.2)[0])
    for share in (0.001, 0.999):  # neither part lacks a class
        parts = stratified_split(labels, ["a", "b", "c"], 1, share)
        assert all(set(labels[part].tolist()) == {0, 1, 2} for part in parts)
    data = load_image_data("toy", images, "data", 333)
    assert torch.bincount(data.valid.labels).tolist() == torch.bincount(data.test.labels).tolist() == [2, 2, 2]
    assert load_image_data("toy", images, "data", 333).fingerprint == data.fingerprint


def test_images_are_decoded_once(images, monkeypatch):
    load_image_data("toy", images, "data", 333)
    monkeypatch.setattr(pixels, "decode", None)
    load_image_data("toy", images, "data", 333)


def test_train_arch_after_the_published_ranking(command, authors_data, toy_checkpoints, images):
    common = "--gpu cpu --test --num-gen-arch 5 --data-name cifar10 --num-runs 2"
    assert command(f"--model generator {common}")[0] == 0
    training = f"--train-arch true --image-folder {images} --epochs 1 --batch-size 16"
    code, out, err = command(f"--model predictor {common} {training}")
    assert code == 0, err
    best = Path("results/meta_test/cifar10/best_arch")
    [folder] = results("cifar10")
    value = json.loads((folder / "result.json").read_text())
    assert value["architecture"] == (best / "architecture.txt").read_text().splitlines()[0]
    assert (folder / "accuracy.txt").read_text() in (best / "accuracy.txt").read_text()
    assert "2 seeds" in out


def read_csv(path):
    header, *rows = (text.split(",") for text in Path(path).read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_costs_and_limits_in_a_search(command, authors_data, toy_checkpoints, space):
    code, out, err = command("--gpu cpu --model search --data-name cifar10 --num-gen-arch 20 --latency 2")
    assert code == 0, err
    assert "MFLOPs  Mparams       ms  architecture" in out
    rows = read_csv("results/search/cifar10/001/ranking_run_1.csv")
    for row in rows:
        cost = space.cost(row["architecture"], 10)
        assert float(row["mflops"]) == pytest.approx(cost["flops"])
        assert float(row["mparams"]) == pytest.approx(cost["params"])
    assert [bool(row["latency_ms"]) for row in rows] == [True] * 2 + [False] * 18
    limits = "--max-flops 60 --max-params 0.4"
    code, _, err = command(f"--gpu cpu --model search --data-name cifar10 --num-gen-arch 20 {limits}")
    assert code == 0, err
    rows = read_csv("results/search/cifar10/002/ranking_run_1.csv")
    assert len(rows) == 20
    assert all(float(row["mflops"]) <= 60 and float(row["mparams"]) <= 0.4 for row in rows)
    code, _, err = command(f"--gpu cpu --model search --data-name cifar10 --num-gen-arch all {limits}")
    assert code == 0, err
    wanted = [space.cost(arch, 10) for arch in space.architectures if space.can_learn(arch)]
    wanted = [cost for cost in wanted if cost["flops"] <= 60 and cost["params"] <= 0.4]
    assert len(read_csv("results/search/cifar10/003/ranking_run_1.csv")) == len(wanted)


def test_limits_that_nothing_meets(refuses, authors_data, toy_checkpoints):
    search = "--gpu cpu --model search --data-name cifar10 --num-gen-arch 5"
    assert "the smallest of nasbench201 have 11.7152 MFLOPs" in refuses(f"{search} --max-flops 7")
    assert "the smallest of nasbench201 have 0.101306 M parameters" in refuses(f"{search} --max-params 0.07")
