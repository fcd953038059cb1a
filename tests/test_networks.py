"""Networks of architectures: equal to the benchmark authors', trained as documented, exported as they are."""

import io
import json
import math
import os
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import SMALL, toy_data, toy_run
from record_networks import FILE, NUM_CLASSES, fill, images, logits, their_counts, their_network
from torchvision.transforms import functional as TF

from metad2a.core.errors import UserError
from metad2a.data.augmentation import crop_and_flip, draw_augmentation, normalize
from metad2a.networks import load_network
from metad2a.networks.export import FORMATS, TOLERANCE, check_formats, export
from metad2a.networks.latency import latency
from metad2a.networks.trained import TrainedNetwork
from metad2a.spaces.nasbench201.cost import cost
from metad2a.spaces.nasbench201.network import NASBench201Network
from metad2a.training.classifier import Protocol, published_protocol, train, training_loss

RECORDED = json.loads(FILE.read_text())
ARCHS = [row["arch"] for row in RECORDED["networks"]]
ODD = [
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",  # no path from input to output
    "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|",  # convolutions of nothing
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|",  # convolutions for nothing
]


def counts(arch, num_classes=NUM_CLASSES):
    return list(cost(arch, num_classes))


@pytest.mark.numeric
@pytest.mark.parametrize("row", RECORDED["networks"], ids=lambda row: row["arch"])
def test_equals_the_authors_recorded_networks(row):
    assert counts(row["arch"]) == [row["flops"], row["params"]]
    network = fill(NASBench201Network(row["arch"], NUM_CLASSES))
    assert sum(p.numel() for p in network.parameters()) == row["params"]
    for found, name in zip(logits(network, images()), ("training", "evaluation"), strict=True):
        wanted = torch.tensor(row[name], dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.numeric
@pytest.mark.parametrize("arch", [*ARCHS[::4], *ODD])
def test_equals_the_authors_network_with_copied_weights(arch):
    pytest.importorskip("xautodl")
    torch.manual_seed(0)
    theirs = their_network(arch)
    assert counts(arch) == their_counts(theirs)
    theirs, ours = theirs.double(), NASBench201Network(arch, NUM_CLASSES).double()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x, y = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.randint(NUM_CLASSES, (4,))
    for mode in (True, False):
        found, wanted = ours.train(mode)(x), theirs.train(mode)(x)[1]
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())
    F.cross_entropy(ours(x), y).backward()
    F.cross_entropy(theirs(x)[1], y).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        wanted = torch.zeros_like(q) if q.grad is None else q.grad
        found = torch.zeros_like(p) if p.grad is None else p.grad  # what leads nowhere has no gradient
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.numeric
def test_costs_are_those_of_the_published_database(space):
    all_costs = torch.tensor([counts(arch) for arch in space.architectures], dtype=torch.float64)
    low, high = all_costs.min(dim=0).values, all_costs.max(dim=0).values
    archs, *published = zip(*RECORDED["published"], strict=True)
    found = torch.tensor([counts(arch) for arch in archs], dtype=torch.float64)
    found = 1e-5 + (1 - 1e-5) * (found - low) / (high - low)
    torch.testing.assert_close(found.T, torch.tensor(published, dtype=torch.float64), rtol=0, atol=1e-12)
    assert space.smallest_cost(10) == {"flops": 11.71521, "params": 0.101306}


@pytest.mark.numeric
@pytest.mark.parametrize("num_classes", [2, 100])
def test_cost_counts_the_classes(num_classes):
    network = NASBench201Network(SMALL, num_classes)
    assert counts(SMALL, num_classes)[1] == sum(p.numel() for p in network.parameters())
    assert counts(SMALL, num_classes)[0] - counts(SMALL, 10)[0] == 65 * (num_classes - 10)


def test_an_unknown_operation_is_named():
    with pytest.raises(UserError, match="'max_pool_3x3'"):
        NASBench201Network(SMALL.replace("skip_connect", "max_pool_3x3"), 10)


def test_latency_is_of_images_of_the_spaces_size(monkeypatch):
    from metad2a import spaces

    for name, size in (("nasbench201", 32), ("ofa_mbv3", 224)):
        space, seen = spaces.get(name), []

        class Network(torch.nn.Module):
            def forward(self, images, seen=seen):
                seen.append(tuple(images.shape))

        monkeypatch.setattr(space, "network", lambda arch, num_classes, network=Network: network())
        latency(space, None, 10, 2, torch.device("cpu"))
        assert set(seen) == {(2, 3, size, size)}


def test_latency(space):
    assert 0 < latency(space, SMALL, 10, 2, torch.device("cpu")) < 10_000


@pytest.mark.numeric
def test_learning_rate_is_a_cosine_to_zero():
    protocol = published_protocol("cifar10")
    assert protocol == Protocol(200, True, 256, 0.1, 0.9, True, 5e-4)
    assert published_protocol("mnist") == Protocol(50, False)
    rates = [protocol.learning_rate(step, 1000) for step in range(1001)]
    assert rates[0] == 0.1
    assert rates[500] == pytest.approx(0.05)
    assert rates[1000] == pytest.approx(0)
    assert rates[250] == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))


@pytest.mark.numeric
def test_augmentation_equals_one_image_at_a_time(rng):
    pixels = torch.randint(256, (40, 32, 32, 3), generator=rng, dtype=torch.uint8)
    corners, mirrored = draw_augmentation(40, rng)
    assert corners.min() == 0
    assert corners.max() == 8
    assert 5 < mirrored.sum() < 35
    found = crop_and_flip(pixels, corners, mirrored)
    for i, image in enumerate(pixels):
        cut = TF.crop(TF.pad(image.permute(2, 0, 1), [4]), *corners[i].tolist(), 32, 32)
        wanted = TF.hflip(cut) if mirrored[i] else cut
        assert torch.equal(found[i].permute(2, 0, 1), wanted)


@pytest.mark.numeric
def test_normalization_equals_torchvision(rng):
    pixels = torch.randint(256, (3, 32, 32, 3), generator=rng, dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    found = normalize(pixels, torch.tensor(mean), torch.tensor(std))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, TF.normalize(pixels.permute(0, 3, 1, 2).float() / 255, mean, std))


def test_training_learns(tmp_path):
    data = toy_data()
    assert train(toy_run(tmp_path, data, 5, augment=False), data, str)["x-test"] > 60


def test_training_equals_plain_pytorch(tmp_path):
    data = toy_data()
    run = toy_run(tmp_path, data, augment=False)
    torch.manual_seed(1)
    network = NASBench201Network(SMALL, 3)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2 * 4)
    for epoch in range(2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(7_000_000 + epoch))
        for rows in order.split(16):
            x = (data.train.pixels[rows].permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
            optimizer.zero_grad()
            F.cross_entropy(network(x), data.train.labels[rows]).backward()
            optimizer.step()
            schedule.step()
    train(run, data, str)
    for p, q in zip(run.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stop", [2, 8])
def test_killed_anywhere_and_resumed_is_the_same_run(tmp_path, monkeypatch, stop):
    """Stopped in the middle of an epoch, between steps, as a kill would."""
    data = toy_data()
    whole = toy_run(tmp_path / "whole", data, 3)
    wanted = train(whole, data, str)
    calls = []

    def killed(*args):
        calls.append(args)
        if len(calls) > stop:
            raise KeyboardInterrupt
        return training_loss(*args)

    cut = toy_run(tmp_path / "cut", data, 3)
    with monkeypatch.context() as patch:
        patch.setattr("metad2a.training.classifier.training_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(cut, data, str)
    resumed = toy_run(tmp_path / "cut", data, 3)
    resumed.restore()
    assert resumed.epoch == stop // 4
    assert train(resumed, data, str) == wanted
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    data = toy_data()
    toy_run(tmp_path, data).save()
    other = toy_run(tmp_path, data)
    other.identity = {"arch": "another"}
    with pytest.raises(UserError, match="another architecture"):
        other.restore()


def test_bfloat16_trains(tmp_path):
    """The network's outputs are in bfloat16, its parameters and their steps in float32; it learns what float32 does."""
    data, seen = toy_data(), set()
    run = toy_run(tmp_path, data, 5, augment=False)
    run.protocol = replace(run.protocol, precision="bfloat16")
    run.network.register_forward_hook(lambda network, args, output: seen.add((network.training, output.dtype)))
    before = [parameter.clone() for parameter in run.network.parameters()]
    assert train(run, data, str)["x-test"] > 60
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    for old, new in zip(before, run.network.parameters(), strict=True):
        assert new.dtype == torch.float32
        assert not torch.equal(old, new)


@pytest.fixture
def trained(tmp_path):
    path = tmp_path / "network.pt"
    network = fill(NASBench201Network(ARCHS[12], 10)).float()
    names = [f"class {i}" for i in range(10)]
    TrainedNetwork("nasbench201", ARCHS[12], names, (0.5,) * 3, (0.25,) * 3, network.state_dict()).save(path)
    return path, network.eval()


@torch.no_grad()
def test_load_network(trained):
    path, network = trained
    loaded = load_network(path)
    assert loaded.architecture == ARCHS[12]
    assert loaded.class_names[9] == "class 9"
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded(x), network((x - 0.5) / 0.25))


def test_load_network_refuses_other_files(trained, tmp_path):
    path, _ = trained
    value = torch.load(path, weights_only=True)
    damaged = {
        "is missing": None,
        "is not a trained network": {"format": "other"},
        "it lacks": {"format": value["format"]},
        "its weights are not": value | {"architecture": SMALL},
        "is damaged: it is a web page": b"<html>",
        "class_names has 'class 1' twice": value | {"class_names": ["class 1"] * 2 + value["class_names"][2:]},
    }
    for message, content in damaged.items():
        other = tmp_path / "other.pt"
        if isinstance(content, bytes):
            other.write_bytes(content)
        elif content is not None:
            torch.save(content, other)
        with pytest.raises(UserError, match=message):
            load_network(other)


@pytest.mark.parametrize("name", FORMATS)
@torch.no_grad()
def test_exports_give_the_same_outputs(trained, tmp_path, name):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    path = tmp_path / os.fsdecode(b"d\xff") / "network.pt"  # a folder whose name is not UTF-8
    path.parent.mkdir()
    trained[0].rename(path)
    [target] = export(path, [name])
    x = torch.rand(5, 3, 32, 32)
    wanted = load_network(path)(x)
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(target.read_bytes(), providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map
        found = torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])
        assert [value.shape[0] for value in (*session.get_inputs(), *session.get_outputs())] == ["batch", "batch"]
    else:
        facts = dict.fromkeys(("class_names", "image_size"), "")
        found = torch.export.load(io.BytesIO(target.read_bytes()), extra_files=facts).module()(x)
    assert json.loads(facts["class_names"]) == load_network(path).class_names
    assert facts["image_size"] == "32"
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize(("change", "kept"), [(0.5, True), (2.0, False), (math.nan, False)])
def test_an_export_with_other_outputs_is_not_kept(trained, monkeypatch, change, kept):
    """`change` is in units of the tolerance, relative to the largest logit."""
    path, _ = trained
    network = load_network(path)

    def outputs(images):
        wanted = network(images)
        return wanted + change * TOLERANCE * wanted.abs().max()

    monkeypatch.setitem(FORMATS, "pt2", (lambda program, file, facts: file.write_bytes(b"x"), lambda file: outputs))
    with nullcontext() if kept else pytest.raises(UserError, match="gives other outputs than the network"):
        export(path, ["pt2"])
    assert sorted(file.name for file in path.parent.iterdir()) == ["network.pt", "network.pt2"][: 1 + kept]


def test_what_an_export_needs_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "\.\[onnx\]"'):
        check_formats("pt2,onnx")
    assert check_formats("pt2") == ["pt2"]
    with pytest.raises(UserError, match="'tflite' is none of onnx, pt2"):
        check_formats("tflite")
