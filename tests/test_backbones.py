"""Networks with ImageNet's weights as backbones of a user's network."""

import json
from pathlib import Path

import pytest
import torch
from helpers.images import write_images

from metad2a.core.errors import UserError
from metad2a.data.pretrained import lite_layers, weights_file
from metad2a.networks import backbones, load_network
from metad2a.networks.judge import fit_linear

LINE = "search images --gpu cpu --data-name toy --budget 2e"


@pytest.fixture
def images():
    write_images(Path("images"), n=20)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of torchvision's weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_weights(name):
    """A file of initial weights in the place of torchvision's."""
    from torchvision import models

    path = weights_file(models.get_model_weights(name).DEFAULT.url)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(models.get_model(name).state_dict(), path)
    return path


@pytest.mark.parametrize("size", [0, 1, 2])
def test_lite_networks_with_all_or_some_blocks(size):
    name = f"efficientnet_lite{size}"
    whole, look = backbones.build(name, 3, weights=True)
    assert look.side == 224
    assert "Apache-2.0" in look.licence
    images = torch.randn(2, 3, 64, 64)
    taps = backbones.taps(name)
    assert len(taps) == 2
    with torch.no_grad():
        features = whole.eval().embed(images, list(taps.values()))
        for text, expected in zip(taps, features, strict=False):
            part = backbones.build(text, 3, weights=True)[0].eval()
            torch.testing.assert_close(part.embed(images)[-1], expected)
            assert backbones.cost(text, 3, 64)["flops"] < backbones.cost(name, 3, 64)["flops"]
        several = backbones.build(f"{name}+", 3, weights=True)[0].eval()
        expected = several.head(torch.cat(features, dim=1))
        torch.testing.assert_close(several(images), expected)
    assert features[-1].shape == (2, 1280)
    assert {backbones.name_of(text) for text in (name, f"{name}+", *taps)} == {name}
    assert [backbones.is_whole(text) for text in (*taps, name, f"{name}+")] == [False, True, True, True]
    assert backbones.cost(name, 3, 128)["flops"] == pytest.approx(4 * backbones.cost(name, 3, 64)["flops"], rel=0.05)


def test_costs_are_multiply_accumulates():
    from torch.utils.flop_counter import FlopCounterMode

    network = backbones.build("shufflenet_v2_x0_5", 7)[0].eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, 3, 96, 96))
    found = backbones.cost("shufflenet_v2_x0_5", 7, 96)
    assert found["flops"] == pytest.approx(counter.get_total_flops() / 2e6)
    assert found["params"] == sum(p.numel() for p in network.parameters()) / 1e6


def test_texts_that_name_no_network():
    for text, message in (("efficientnet_lite0/17", "1 to 16 blocks"), ("resnet81", "Did you mean resnet18")):
        with pytest.raises(UserError, match=message):
            backbones.build(text, 3)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_classifiers_of_torchvision_lose_their_last_layer(name):
    network, look = backbones.build(name, 5)
    assert network.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    assert look.mean == (0.485, 0.456, 0.406)
    assert network.head.in_features == {"squeezenet1_1": 512, "mobilenet_v3_small": 1024}.get(name, 1024)


def test_a_backbone_of_torchvision_is_searched_with(command, images, hub):
    put_weights("squeezenet1_1")
    code, _, err = command(f"{LINE} --backbone squeezenet1_1")
    assert code == 0, err
    [path] = Path("results").rglob("network.pt")
    network = load_network(path)
    assert network.architecture == "squeezenet1_1"
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "torchvision's ImageNet weights" in path.with_name("model_card.md").read_text()
    code, _, err = command(f"predict --gpu cpu --network {path.parent} --images images")
    assert code == 0, err


def test_weights_that_are_missing_or_others(refuses, images, hub, monkeypatch):
    def nothing(address, *rest, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", nothing)
    line = f"{LINE} --backbone squeezenet1_1"
    message = refuses(line)
    assert "squeezenet1_1 could not be fetched (no network)" in message
    assert "--backbone efficientnet_lite0" in message
    path = put_weights("shufflenet_v2_x0_5")
    path.rename(weights_file(backbone_address("squeezenet1_1")))
    assert "does not hold squeezenet1_1's weights" in refuses(f"{line} --overwrite")


def backbone_address(name):
    from torchvision import models

    return models.get_model_weights(name).DEFAULT.url


def test_without_timm_its_networks_are_refused(refuses, images, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert 'pip install ".[timm]"' in refuses(f"{LINE} --backbone timm/test_vit")


def test_a_backbone_of_timm(command, images, monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.pth")
    create = timm.create_model

    def local(name, pretrained, **options):
        return create(name, pretrained, pretrained_cfg_overlay={"file": str(tmp_path / "w.pth")}, **options)

    monkeypatch.setattr(timm, "create_model", local)
    code, _, err = command(f"{LINE} --backbone timm/test_efficientnet")
    assert code == 0, err
    [path] = Path("results").rglob("network.pt")
    assert load_network(path).architecture == "timm/test_efficientnet"


def test_subnets_of_the_supernet(command, images, monkeypatch):
    """Its weights, batch norm measured on training images; without the file a command that fetches it is named."""
    from metad2a.searches.budget import session
    from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, build_supernet, save_supernet

    monkeypatch.setattr(session, "PUBLISHED_SUPERNET", "supernet.pt")
    monkeypatch.setattr(session, "SUBNETS", 20)
    config = SupernetConfig(10, 0.1, 64)
    torch.manual_seed(0)
    save_supernet(Path("supernet.pt"), build_supernet(config), config)
    code, _, err = command(f"{LINE} --search-space ofa_mbv3 --max-flops 400")
    assert code == 0, err
    [path] = Path("results").rglob("result.json")
    value = json.loads(path.read_text())
    assert any(way["arch"].startswith("ofa_mbv3:0.1:") for way in value["ways"])
    assert not list(path.parent.glob("ranking*"))
    assert (path.parent / "network.pt").is_file()


def test_every_layer_of_lite_is_there():
    assert [len(lite_layers(size, weights=False)) for size in (0, 1, 2)] == [18, 23, 23]


def fitted(labels, classes, until=float("inf")):
    """The labels that a linear classifier gives to the features that it learned."""
    x = torch.nn.functional.one_hot(labels, 6).float() + 0.1 * torch.randn(len(labels), 6)
    head, percent = fit_linear(x, labels, x, labels, classes, until)
    assert percent == 100
    return (x @ head["weight"].T + head["bias"]).argmax(1), head


def test_linear_classifiers_of_two_classes_and_with_a_class_without_images():
    torch.manual_seed(0)
    labels = torch.arange(40) % 2
    found, head = fitted(labels, 2)
    assert torch.equal(found, labels)
    torch.testing.assert_close(head["weight"][0], -head["weight"][1])
    labels = torch.arange(60) % 3 * 2  # classes 0, 2 and 4 of 6
    found, head = fitted(labels, 6)
    assert torch.equal(found, labels)
    assert head["weight"].shape == (6, 6)
    assert torch.equal(fitted(labels, 6, until=0.0)[0], labels)  # one weight decay is always tried
