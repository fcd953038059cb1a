"""Options of a training on images of one's own, and what exported files and the model card say."""

import json
from pathlib import Path

import pytest
import torch
from helpers.images import write_images
from helpers.networks import SMALL
from helpers.train import line, results

from metad2a.networks.card import UNSTATED, card
from metad2a.networks.trained import TrainedNetwork

SHORT = f"--gpu cpu --model train_arch --arch {SMALL} --data-name toy --image-folder images --epochs 2 --num-runs 1"


@pytest.fixture
def images():
    write_images(Path("images"))


def protocol():
    [folder] = results()
    return json.loads((folder / "result.json").read_text())["protocol"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {"augment": True, "mirror": False, "batch_size": 12, "lr": pytest.approx(0.1 * (12 / 256) ** 0.5)}),
        ("--augment none --batch-size 16", {"augment": False, "batch_size": 16, "lr": 0.1}),
        ("--augment crop+mirror --learning-rate 0.03", {"augment": True, "mirror": True, "batch_size": 12, "lr": 0.03}),
    ],
)
def test_what_a_training_on_ones_own_images_is(command, images, options, expected):
    code, _, err = command(f"{SHORT} {options}")
    assert code == 0, err
    assert {name: protocol()[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--learning-rate 0", "must be above 0"),
        ("--learning-rate nan", "finite"),
        ("--augment flip", "takes none, crop"),
    ],
)
def test_bad_options(command, images, options, message):
    code, _, err = command(f"{SHORT} {options}")
    assert code == 2
    assert message in err
    assert not Path("results").exists()


def test_mirroring_is_what_the_protocol_says(monkeypatch, command, images):
    from metad2a.training import classifier

    seen = []
    cut = classifier.crop_and_flip
    monkeypatch.setattr(
        classifier, "crop_and_flip", lambda p, c, mirrored: seen.append(mirrored) or cut(p, c, mirrored)
    )
    assert command(f"{SHORT} --augment crop")[0] == 0
    assert not torch.cat(seen).any()
    seen.clear()
    assert command(f"{SHORT} --augment crop+mirror")[0] == 0
    assert torch.cat(seen).any()


def test_the_files_say_what_the_network_is(command, images):
    code, _, err = command(f"{SHORT} --licence CC-BY-4.0 --export pt2")
    assert code == 0, err
    [folder] = results()
    network = folder / "seed_777" / "network.pt"
    known = {"class_names": "", "licence_of_weights": "", "preprocessing": "", "image_size": "", "architecture": ""}
    torch.export.load(network.with_suffix(".pt2"), extra_files=known)
    assert json.loads(known["class_names"]) == ["class 0", "class 1", "class 2"]
    assert known["licence_of_weights"] == "CC-BY-4.0"
    assert "32 x 32" in known["preprocessing"]
    assert known["architecture"] == SMALL
    text = (network.parent / "model_card.md").read_text()
    for part in ("CC-BY-4.0", "`class 2`", SMALL, "x-test: ", "main.py predict", "lr"):
        assert part in text, part


def test_onnx_says_it_too(command, images):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    code, _, err = command(line("--export onnx", epochs=1))
    assert code == 0, err
    [folder] = results()
    model = onnx.load(folder / "seed_777" / "network.onnx")
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(known["class_names"]) == ["class 0", "class 1", "class 2"]
    assert known["licence_of_weights"] == UNSTATED
    assert json.loads(known["accuracy"]).keys() == {"x-valid", "x-test"}


def test_odd_names_stay_names_in_the_card():
    names = ["<script>alert(1)</script>", "a`b``c", "# not a heading\n# either"]
    trained = TrainedNetwork("nasbench201", SMALL, names, (0.5,) * 3, (0.5,) * 3, {})
    text = card(trained)
    assert "`<script>alert(1)</script>`" in text
    assert "```a`b``c```" in text
    assert "\n# either" not in text
