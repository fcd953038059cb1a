"""Fine-tuning subnets of a toy supernet on toy images."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metad2a import spaces
from metad2a.__main__ import main
from metad2a.core.errors import UserError
from metad2a.core.training_run import TrainingRun

pytest.importorskip("ofa")
from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

from metad2a.finetuning.architectures import read_model_config
from metad2a.finetuning.data import Cutout, Part, load_fine_tuning_data
from metad2a.finetuning.data import test_transform as middle
from metad2a.finetuning.finetune import FineTuning, fine_tuned_network
from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, build_supernet, load_supernet, save_supernet, subnet

ofa = spaces.get("ofa_mbv3")
ARCH = {"ks": [3, 5, 3, 3] * 5, "e": [4, 3, 3, 3] * 5, "d": [2] * 5}
LINE = "--data-name toy --image-folder images --supernet supernet.pt --batch-size 8 --valid-share 0.25 --gpu cpu"
MEASURED = ("valid", "test", "epoch", "test_of_last_epoch")


@pytest.fixture
def world(tmp_path):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 5)):
        for label, name in enumerate(("dark", "light", "red")):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (24, 24, 3), dtype=np.uint8)
                pixels[..., 0] += 120 * (label > 0)
                pixels[..., 1:] += 120 * (label == 1)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    config = SupernetConfig(4, 0.1, 16, list("abcd"))
    save_supernet(tmp_path / "supernet.pt", build_supernet(config), config)
    write_ranking(tmp_path / "results/ofa_mbv3/meta_test/toy/2")
    return tmp_path


def write_ranking(folder):
    (folder / "best_arch").mkdir(parents=True)
    deep = {**ARCH, "d": [3] * 5}
    with (folder / "best_arch" / "ranking_run_1.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "predicted_accuracy", "mflops", "architecture"])
        writer.writerow([1, 60.0, 300.0, str(deep)])
        writer.writerow([2, 59.0, 200.0, str(ARCH)])


@pytest.fixture
def call(capsys):
    def work(line):
        code = main(["finetune", *line.split()])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return work


def result(dataset="toy"):
    (path,) = Path("results/ofa_mbv3/evaluation", dataset).glob("*/result.json")
    return json.loads(path.read_text())


def test_the_searchs_choice_is_fine_tuned_and_reported(world, call):
    code, out, err = call(f"{LINE} --num-gen-arch 2 --epochs 3")
    assert code == 0, err
    value = result()
    assert value["architecture"] == ofa.to_text({**ARCH, "d": [3] * 5})
    assert value["num_images"] == {"train": 27, "valid": 9, "test": 15}
    assert 1 <= value["epoch"] <= 3
    cost = ofa.sized(16, 0.1).cost({**ARCH, "d": [3] * 5}, 3)
    assert (value["flops"], value["params"]) == (cost["flops"], cost["params"])
    assert f"test accuracy {value['test']:.2f} %" in out


def test_without_training_the_supernets_own_classes_are_told_apart(world, call, monkeypatch):
    """By the supernet's weights, batch norm calibrated on training images; its other classes are left out."""
    supernet, config = load_supernet("supernet.pt")
    save_supernet("supernet.pt", supernet, replace(config, class_names=["red", "other", "dark", "light"]))
    line = f"{LINE} --num-gen-arch 2 --epochs 0 --num-calibration 20"
    code, out, err = call(line)
    assert code == 0, err
    assert "batch norm calibrated on 20 training images; nothing was trained" in out
    value = result()
    assert value["protocol"] == {"epochs": 0, "num_calibration": 20}
    assert not list(Path("results").rglob("*.pt"))
    network = subnet(load_supernet("supernet.pt")[0], ofa.from_text(value["architecture"]))
    drawn = torch.randperm(27, generator=torch.Generator().manual_seed(333))[:20].tolist()
    data = load_fine_tuning_data("toy", "images", "data", None, 16, 16, 0.25, 333)
    plain = Part(data.train.source, torch.tensor(data.train.numbers)[drawn], middle(16))
    set_running_statistics(network, [(torch.stack([image for image, _ in plain]), None)])
    with torch.inference_mode():
        logits = network.eval()(torch.stack([image for image, _ in data.test]))[:, [2, 3, 0]]
    right = logits.argmax(1) == torch.tensor([label for _, label in data.test])
    assert value["test"] == pytest.approx(100 * right.float().mean().item(), abs=1e-4)


def test_without_training_other_classes_are_refused(world, call):
    code, _, err = call(f"{LINE} --num-gen-arch 2 --epochs 0")
    assert code == 2
    assert "was not trained on class dark (3 such classes)" in err
    assert "--epochs 1 or more" in err
    assert not list(Path("results").rglob("result.json"))


def test_a_bound_takes_the_first_choice_within_it(world, call):
    """Of the size that is evaluated, whatever size the search's figures are of."""
    small, large = (ofa.sized(16, 0.1).cost({**ARCH, "d": [depth] * 5}, 3)["flops"] for depth in (2, 3))
    assert call(f"{LINE} --num-gen-arch 2 --epochs 1 --bound {(small + large) / 2}")[0] == 0
    assert result()["architecture"] == ofa.to_text(ARCH)
    assert result()["flops"] == small
    code, _, err = call(f"{LINE} --num-gen-arch 2 --epochs 1 --bound {small / 2}")
    assert code == 2
    assert f"the smallest has {small:.6g} MFLOPs" in err
    assert "16x16 images at width 0.1" in err


def test_the_epoch_is_chosen_by_validation(world, call, monkeypatch):
    """Whatever the test accuracies would say."""
    from metad2a.finetuning import finetune

    valid = iter([10.0, 30.0, 20.0])
    tests = []

    def accuracy(network, loader):
        if len(loader.dataset) == 9:
            return next(valid)
        tests.append(next(iter(network.state_dict().values())).clone())
        return float(len(tests))

    monkeypatch.setattr(finetune, "read_batches", lambda loader: loader)
    monkeypatch.setattr(finetune, "accuracy", accuracy)
    assert call(f"{LINE} --num-gen-arch 2 --epochs 3")[0] == 0
    value = result()
    assert (value["epoch"], value["valid"], value["test"], value["test_of_last_epoch"]) == (2, 30.0, 2.0, 1.0)
    assert not torch.equal(tests[0], tests[1])  # the last epoch's weights, then the best one's


def test_resuming_gives_the_result_of_an_uninterrupted_run(world, call, monkeypatch):
    from metad2a.finetuning import finetune

    line = f"{LINE} --num-gen-arch 2 --epochs 3"
    assert call(f"{line} --save-path whole --arch {str(ARCH).replace(' ', '')}")[0] == 0
    train = finetune._train_epoch

    def stopped(run, loader, epoch, seed):
        if epoch == 2:
            raise KeyboardInterrupt
        return train(run, loader, epoch, seed)

    monkeypatch.setattr(finetune, "_train_epoch", stopped)
    line = f"{line} --save-path parts --arch {str(ARCH).replace(' ', '')}"
    assert call(line)[0] == 130
    monkeypatch.setattr(finetune, "_train_epoch", train)
    code, _, err = call(line)
    assert code == 2
    assert "--resume" in err
    assert call(f"{line} --resume")[0] == 0
    (whole,), (parts,) = (list(Path(name).rglob("result.json")) for name in ("whole", "parts"))
    whole, parts = json.loads(whole.read_text()), json.loads(parts.read_text())
    assert [whole[name] for name in MEASURED] == [parts[name] for name in MEASURED]


def test_replaced_images_are_another_run(world, call):
    """Their names and classes are the same."""
    line = f"{LINE} --num-gen-arch 2 --epochs 1"
    assert call(line)[0] == 0
    before = result()
    for path in Path("images/test").rglob("*.png"):
        Image.new("RGB", (24, 24), (0, 0, 255)).save(path)
    code, _, err = call(f"{line} --resume")
    assert code == 0
    assert "a new run begins" in err
    values = [json.loads(path.read_text()) for path in Path("results/ofa_mbv3/evaluation").rglob("result.json")]
    assert len({value["images"] for value in values}) == 2
    assert before in values


def test_the_largest_seed(world, call):
    """An epoch's own is a million times as large."""
    code, _, err = call(f"{LINE} --num-gen-arch 2 --epochs 1 --seed {2**32 - 1}")
    assert code == 0, err
    assert call(f"{LINE} --num-gen-arch 2 --epochs 1 --seed {2**63 - 1}")[0] == 2


def test_two_processes_never_train_in_one_folder(world, call):
    assert call(f"{LINE} --num-gen-arch 2 --epochs 1")[0] == 0
    (path,) = Path("results/ofa_mbv3/evaluation").rglob("result.json")
    with TrainingRun(path.parent, (), False, False):
        code, _, err = call(f"{LINE} --num-gen-arch 2 --epochs 1 --overwrite")
    assert (code, "Another process trains" in err) == (2, True)
    assert path.is_file()


def test_workers_stay_and_change_nothing(world, call, monkeypatch):
    from torch.utils.data import dataloader

    started = []
    start = dataloader._MultiProcessingDataLoaderIter.__init__
    monkeypatch.setattr(
        dataloader._MultiProcessingDataLoaderIter, "__init__", lambda self, loader: started.append(start(self, loader))
    )
    weights = []
    for number in (0, 2):
        line = f"{LINE} --epochs 3 --num-workers {number} --save-path workers_{number}"
        code, _, err = call(f"{line} --arch {str(ARCH).replace(' ', '')}")
        assert code == 0, err
        (path,) = Path(f"workers_{number}").rglob("ckpt_last.pt")
        weights.append(torch.load(path)["network"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert len(started) == 3  # for training, validation and test images, not for every epoch


def test_the_network_has_the_supernets_weights_and_a_new_classifier(rng):
    torch.manual_seed(0)
    supernet = build_supernet(SupernetConfig(4, 0.1, 16))
    network = fine_tuned_network(supernet, ARCH, 7, FineTuning())
    plain = subnet(supernet, ARCH)
    state = network.state_dict()
    for name, tensor in plain.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(state[name], tensor)
    x = torch.randn(4, 3, 16, 16, generator=rng)
    assert network.eval()(x).shape == (4, 7)
    assert torch.equal(network(x), network(x))
    assert not torch.equal(network.train()(x), network(x))  # drop-path and dropout


def test_cutout_clears_a_square(rng):
    torch.manual_seed(0)
    for _ in range(20):
        cleared = (Cutout(4)(torch.ones(3, 10, 12))[0] == 0).nonzero()
        height, width = (cleared.max(dim=0).values - cleared.min(dim=0).values + 1).tolist()
        assert len(cleared) == height * width
        assert 2 <= height <= 4
        assert 2 <= width <= 4


def test_configurations_of_nsganetv2(tmp_path, rng):
    """All layers, the active ones alone, and the network's own layers are one architecture."""
    arch = ofa.canonical(ofa.sample(1, rng)[0])
    active = [i % 4 < arch["d"][i // 4] for i in range(20)]
    short = {key: [v for v, on in zip(arch[key], active, strict=True) if on] for key in ("ks", "e")}
    supernet = build_supernet(SupernetConfig(4))
    values = {
        "whole": {**arch, "r": 192},
        "short": {**short, "d": arch["d"], "r": 192, "w": 1.0},
        "layers": subnet(supernet, arch).config,
    }
    for name, value in values.items():
        (tmp_path / name).write_text(json.dumps(value))
        chosen = read_model_config(tmp_path / name, 1.0)
        assert ofa.to_text(chosen.arch) == ofa.to_text(arch)
        assert chosen.image_size == (None if name == "layers" else 192)
    with pytest.raises(UserError, match=r"1 wide, but --supernet is 1\.2 wide"):
        read_model_config(tmp_path / "short", 1.2)
    (tmp_path / "bad").write_text("{}")
    with pytest.raises(UserError, match="not a configuration of NSGANetV2"):
        read_model_config(tmp_path / "bad", 1.0)


def test_batches_that_batch_norm_cannot_use(world, call):
    code, _, err = call(f"{LINE.replace('batch-size 8', 'batch-size 1')} --num-gen-arch 2 --epochs 1")
    assert (code, "two images in a batch" in err) == (2, True)


def test_an_image_that_a_worker_cannot_read_is_named_without_a_traceback(world, call):
    for path in Path("images/train/red").iterdir():
        path.write_bytes(path.read_bytes()[:-200])  # it opens
    code, _, err = call(f"{LINE} --num-gen-arch 2 --epochs 1 --num-workers 1")
    assert code == 2
    assert "cannot be read" in err
    assert "Traceback" not in err


def test_what_is_missing_is_named(world, call):
    code, _, err = call(f"{LINE} --num-gen-arch 77")
    assert code == 2
    assert "--num-gen-arch 77" in err
    code, _, err = call(f"{LINE.replace('supernet.pt', 'nowhere.pt')} --num-gen-arch 2")
    assert code == 2
    assert "get_ofa_supernet.py" in err


def test_the_published_weights_are_read_and_used(tmp_path):
    """A file of the real format, with the parameter names of Once-for-All's first release, at width 1.0 and 1.2."""
    for width, last in ((1.0, 1280), (1.2, 1536)):
        torch.manual_seed(0)
        net = build_supernet(SupernetConfig(1000, width))
        renamed = {name.replace(".conv.", ".mobile_inverted_conv.", 1) if name.startswith("blocks") else name: tensor
                   for name, tensor in net.state_dict().items()}  # fmt: skip
        torch.save({"state_dict": renamed}, tmp_path / "ofa_mbv3_d234_e346_k357")
        read, config = load_supernet(tmp_path / "ofa_mbv3_d234_e346_k357")
        assert config == SupernetConfig(1000, width)
        assert read.classifier.in_features == last
        assert all(torch.equal(a, b) for a, b in zip(read.parameters(), net.parameters(), strict=True))
