"""The package `ofa` as the other side: costs, sampling, weights; training and evaluating a toy supernet."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metad2a import spaces
from metad2a.__main__ import main
from metad2a.core.errors import UserError
from metad2a.core.training_run import TrainingRun
from metad2a.data.imagenet import open_imagenet

pytest.importorskip("ofa")
from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, build_supernet, load_supernet, read_supernet, subnet

space = spaces.get("ofa_mbv3")
TINY = SupernetConfig(num_classes=6, width_mult=0.25, image_size=32)


def profiled(network, side):
    """Multiply-accumulates and parameters as `ofa` counts them, in millions."""
    from ofa.utils.flops_counter import profile

    flops, _ = profile(network, (1, 3, side, side))
    return flops / 1e6, sum(p.numel() for p in network.parameters()) / 1e6


@pytest.mark.parametrize(("width", "side", "num_classes"), [(1.0, 224, 1000), (1.2, 160, 10), (0.35, 33, 7)])
def test_costs_equal_those_of_real_subnets(width, side, num_classes, rng):
    config = SupernetConfig(num_classes, width, side)
    net = build_supernet(config)
    archs = space.sample(3 if width < 1 else 1, rng)
    sized = space.sized(side, width)
    costs = sized.costs(archs, num_classes).T.tolist()
    for arch, cost in zip(archs, costs, strict=True):
        assert cost == pytest.approx(profiled(subnet(net, arch), side), rel=1e-6)
    assert sized.cost(archs[0], num_classes) == {"flops": costs[0][0], "params": costs[0][1]}


def test_a_cost_ignores_inactive_layers(rng):
    arch = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5}
    other = {"ks": [3, 3, 7, 7] * 5, "e": [3, 3, 6, 6] * 5, "d": [2] * 5}
    assert space.cost(arch, 1000) == space.cost(other, 1000)


def test_samples_are_those_of_once_for_all(rng):
    """Both draw each layer's kernel and expansion and each stage's depth evenly."""
    net, n = build_supernet(TINY), 400
    random.seed(0)
    theirs = [net.sample_active_subnet() for _ in range(n)]
    for archs in (theirs, space.sample(n, rng)):
        for key, choices in (("ks", (3, 5, 7)), ("e", (3, 4, 6)), ("d", (2, 3, 4))):
            drawn = torch.tensor([arch[key] for arch in archs])
            for choice in choices:
                share = (drawn == choice).float().mean(dim=0)
                assert ((share - 1 / 3).abs() < 5 * (2 / 9 / n) ** 0.5).all()


def test_a_subnet_computes_what_the_supernet_computes(rng):
    torch.manual_seed(0)
    net, x = build_supernet(TINY).eval(), torch.randn(2, 3, 32, 32)
    for arch in space.sample(3, rng):
        network = subnet(net, arch).eval()
        net.set_active_subnet(arch["ks"], arch["e"], arch["d"])
        torch.testing.assert_close(network(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for name, level in (("a", 30), ("b", 200), ("c", 110)):
        for i in range(8):
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(level - 20, level + 20, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def command(capsys):
    def call(line):
        code = main(["train-supernet", *line.split()])
        captured = capsys.readouterr()
        return code, captured.err

    return call


TRAIN = "--imgnet images --width-mult 0.1 --image-size 16 --batch-size 6 --gpu cpu"


def test_training_lowers_the_loss_and_keeps_a_supernet_that_works(images, command):
    code, err = command(f"{TRAIN} --epochs 6 --lr 0.01 --save-path out")
    assert code == 0, err
    losses = [float(line.split(" loss ")[1].split()[0]) for line in Path("out/log.txt").read_text().splitlines()]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    net, config = load_supernet("out/supernet.pt")
    assert config == SupernetConfig(3, 0.1, 16, ["a", "b", "c"])
    assert net(torch.zeros(1, 3, 16, 16)).shape == (1, 3)


def test_a_resumed_supernet_equals_an_uninterrupted_one(images, command, monkeypatch):
    from metad2a.spaces.ofa_mbv3 import supernet_training as train

    assert command(f"{TRAIN} --epochs 2 --save-path whole")[0] == 0
    epoch = train._epoch

    def stopped(run, *rest):
        if run.epoch == 1:
            raise KeyboardInterrupt
        return epoch(run, *rest)

    monkeypatch.setattr(train, "_epoch", stopped)
    assert command(f"{TRAIN} --epochs 2 --save-path parts")[0] == 130
    monkeypatch.setattr(train, "_epoch", epoch)
    code, err = command(f"{TRAIN} --epochs 2 --save-path parts")
    assert code == 2
    assert "--resume" in err
    code, err = command(f"{TRAIN} --epochs 2 --save-path parts --resume --lr 0.5")
    assert code == 2
    assert "lr 0.002" in err
    assert command(f"{TRAIN} --epochs 2 --save-path parts --resume")[0] == 0
    whole, parts = (read_supernet(f"{name}/supernet.pt")["state_dict"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_images_read_by_workers_train_the_same_network(images, command, monkeypatch):
    monkeypatch.setattr("metad2a.data.imagenet.CACHE_BYTES", 0)
    for number in (0, 1):
        code, err = command(f"{TRAIN} --epochs 1 --num-workers {number} --save-path workers_{number}")
        assert code == 0, err
    alone, read = (read_supernet(f"workers_{number}/supernet.pt")["state_dict"] for number in (0, 1))
    assert all(torch.equal(alone[name], read[name]) for name in alone)


def test_the_sandwich_adds_up_the_gradients_of_its_subnets(rng):
    """Largest on labels; the others on its outputs, which receive no gradient from them."""
    import torch.nn.functional as F

    from metad2a.spaces.ofa_mbv3.supernet_training import LABEL_SMOOTHING, LARGEST, SMALLEST, sandwich

    torch.manual_seed(0)
    net = build_supernet(TINY).eval()  # batch norm's statistics stay as they are
    x, labels = torch.randn(4, 3, 32, 32, generator=rng), torch.tensor([0, 3, 5, 1])
    sandwich(net, x, labels, [SMALLEST])
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    net.set_active_subnet(LARGEST["ks"], LARGEST["e"], LARGEST["d"])
    logits = net(x)
    loss = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
    net.set_active_subnet(SMALLEST["ks"], SMALLEST["e"], SMALLEST["d"])
    target = logits.softmax(dim=1).detach()
    (loss - (target * net(x).log_softmax(dim=1)).sum(dim=1).mean()).backward()
    parameters = dict(net.named_parameters())
    assert {name for name, p in parameters.items() if p.grad is not None} == set(found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, parameters[name].grad, rtol=1e-4, atol=1e-6)


def test_held_out_images_are_never_trained_on(images):
    training, held_out = open_imagenet("images", ["a", "b", "c"], 16)
    for kept, held in zip(training.by_class, held_out.by_class, strict=True):
        names = [
            {part.source.describe(n) for n in numbers.tolist()}
            for part, numbers in ((training, kept), (held_out, held))
        ]
        assert (len(names[0]), len(names[1]), len(names[0] | names[1])) == (6, 2, 8)
    assert training.labels([2, 0]).tolist() == [0] * 6 + [1] * 6


def test_a_folder_with_train_and_val_is_taken_as_it_is(images):
    images.rename(images.parent / "old")
    for part in ("train", "val"):
        (images / part).mkdir(parents=True)
    (images.parent / "old" / "a").rename(images / "train" / "a")
    (images.parent / "old" / "b").rename(images / "val" / "a")
    training, held_out = open_imagenet("images", ["a"], 16)
    assert (len(training.by_class[0]), len(held_out.by_class[0])) == (8, 8)
    assert held_out.pixels(torch.tensor([0])).float().mean() > 150


def test_crops_stay_within_the_image(images, rng):
    store = open_imagenet("images", ["b"], 16)[0]
    assert store.pixels(torch.tensor([1, 0])).shape == (2, 18, 18, 3)
    crops = store.augmented(store.pixels(torch.arange(6).repeat(20)), rng)
    assert crops.shape == (120, 3, 16, 16)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    lowest = (store.pixels(torch.arange(6)).float().min() - 120) / 60
    assert crops.min() > lowest - 1  # no padding
    assert len({tuple(crop.flatten()[:5].tolist()) for crop in crops[::8]}) > 5


def test_images_that_cannot_be_read_are_named(images):
    for path in (images / "b").iterdir():
        path.write_bytes(b"no image")
    _, held_out = open_imagenet("images", ["a", "b"], 16)
    with pytest.raises(UserError, match=r"images/b/\d\.png cannot be read"):
        held_out.pixels(held_out.by_class[1])


@pytest.mark.parametrize("value", [{"format": "x"}, {"state_dict": {"a": torch.zeros(1)}}, [1]])
def test_files_that_are_no_supernet(tmp_path, value):
    torch.save(value, tmp_path / "net")
    with pytest.raises(UserError, match=r"get_ofa_supernet\.py"):
        load_supernet(tmp_path / "net")


def test_a_supernet_that_lacks_weights(tmp_path):
    """The package's own loading leaves what is missing at random."""
    net = build_supernet(TINY)
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("blocks.3.")}
    torch.save({"state_dict": state}, tmp_path / "net")
    with pytest.raises(UserError, match=r"lacks blocks\.3\."):
        load_supernet(tmp_path / "net")


def test_the_largest_subnet_can_be_trained_alone_first(images, command):
    """The matrices that make smaller kernels of larger ones are not touched until the smaller subnets join."""
    torch.manual_seed(333)
    before = build_supernet(SupernetConfig(3, 0.1, 16)).state_dict()
    matrices = [name for name in before if name.endswith("_matrix")]
    assert matrices
    for alone, same in ((1, True), (0, False)):
        assert command(f"{TRAIN} --epochs 1 --largest-epochs {alone} --save-path {alone}")[0] == 0
        after = read_supernet(f"{alone}/supernet.pt")["state_dict"]
        assert all(torch.equal(before[name], after[name]) for name in matrices) == same
        assert not torch.equal(before["classifier.linear.weight"], after["classifier.linear.weight"])


def test_a_single_image_left_over_joins_the_last_batch(images, command):
    code, err = command(f"{TRAIN.replace('batch-size 6', 'batch-size 17')} --epochs 1")
    assert code == 0, err
    assert "1 steps an epoch" in err
    code, err = command(f"{TRAIN.replace('batch-size 6', 'batch-size 1')} --save-path other")
    assert (code, "Batch norm needs two images" in err) == (2, True)


def test_files_that_cannot_be_resumed(images, command):
    state = build_supernet(SupernetConfig(3, 0.1, 16)).state_dict()
    Path("out").mkdir()
    torch.save({"state_dict": state}, "out/supernet.pt")
    code, err = command(f"{TRAIN} --save-path out --resume")
    assert (code, "--overwrite" in err) == (2, True)


def test_resuming_on_other_images(images, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py", "train-supernet", "first"])
    assert command(f"{TRAIN} --epochs 1 --save-path out")[0] == 0
    value = read_supernet("out/supernet.pt")
    assert value["history"]["command"].endswith("main.py train-supernet first")
    for path in (images / "a").iterdir():
        Image.new("RGB", (30, 20)).save(path)
    code, err = command(f"{TRAIN} --epochs 1 --save-path out --resume")
    assert (code, "images" in err) == (2, True)
    with TrainingRun(Path("out"), (), False, False):
        code, err = command(f"{TRAIN} --epochs 1 --save-path out --overwrite")
    assert (code, "Another process trains" in err) == (2, True)
    assert Path("out/supernet.pt").is_file()


def test_lists_of_classes_that_make_no_task(images, command):
    for text, complaint in (("a\nb\na\n", "names a twice"), ("a\n", "names a."), ("", "names nothing")):
        Path("order.txt").write_text(text)
        code, err = command(f"{TRAIN} --class-order order.txt")
        assert (code, complaint in err) == (2, True)


def test_the_package_ofa_is_named_when_it_is_missing(images, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ofa.imagenet_classification.elastic_nn.networks", None)
    code, err = command(TRAIN)
    assert code == 2
    assert "pip install ofa" in err
