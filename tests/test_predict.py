"""What comes after a training: classifying files, the report, and a linear classifier beside the network."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import write_images
from helpers.train import line, results
from PIL import Image

import main
from metad2a.core.statistics import share_interval
from metad2a.networks import judge
from metad2a.networks.judge import confusion, per_class
from metad2a.reports.network_page import advice


@pytest.fixture
def trained(command):
    write_images(Path("images"))
    code, _, err = command(line(epochs=6))
    assert code == 0, err
    [folder] = results()
    return folder


def predicted(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_images_are_classified_from_a_run_and_from_its_file(command, trained):
    Path("images/class 0/notes.txt").write_text("no image")
    Image.new("L", (80, 50), 30).save("images/class 1/gray.png")  # another size and mode
    (Path("images/class 2") / "broken.jpg").write_bytes(b"no image")
    for number, place in enumerate((trained, trained / "seed_777", trained / "seed_777" / "network.pt")):
        code, out, err = command(f"--gpu cpu --model predict --network {place} --images images --output {number}.csv")
        assert code == 0, err
        assert "broken.jpg cannot be read" in err
        assert "and 41 more" in out
    rows = predicted("0.csv")
    assert rows == predicted("1.csv") == predicted("2.csv")
    assert len(rows) == 61
    for row in rows:
        shares = {name.removeprefix("share of "): float(row[name]) for name in row if name.startswith("share of")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert row["class"] == max(shares, key=shares.get)
        assert float(row["confidence"]) == max(shares.values())
    right = [row["class"] == Path(row["image"]).parent.name for row in rows]
    assert np.mean(right) > 0.9
    shutil.copy("images/class 0/000.png", "one.png")
    code, out, _ = command(f"--gpu cpu --model predict --network {trained} --images one.png")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "one.png" in out


def test_several_places_and_lists_of_them(command, refuses, trained, monkeypatch):
    places = ["images/class 0", "images/class 1/000.png"]
    Path("listed.txt").write_text("images/class 1/000.png\n\nimages/class 2\r\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"images/class 2/001.png\n")))
    words = ["predict", "--gpu", "cpu", "--network", str(trained), "--output", "x.csv", "--images"]
    assert main.main([*words, *places, "listed.txt", "-"]) == 0
    files = [row["image"] for row in predicted("x.csv")]
    assert files == [*(f"images/class 0/{i:03d}.png" for i in range(20)), "images/class 1/000.png",
                     *(f"images/class 2/{i:03d}.png" for i in range(20))]  # fmt: skip
    assert "all predictions (60 images): x.csv" in command(f"{' '.join(words)} images")[1]
    Path("listed.txt").write_text("nowhere.png\n")
    line = f"predict --network {trained} --images"
    assert "nowhere.png is missing" in refuses(f"{line} listed.txt")
    assert "listed in listed.txt" in refuses(f"{line} listed.txt")
    Path("listed.txt").write_text("\n")
    assert "listed.txt lists nothing" in refuses(f"{line} images listed.txt")


def test_what_decoders_say_has_the_name_of_the_file(capfd):
    """Pillow's warnings, and what libtiff prints by itself."""
    from metad2a.data.image_source import image_folder
    from metad2a.data.reading import Squares, collate

    write_images(Path("scans"), n=2)
    for label, name in enumerate(sorted(Path("scans").iterdir())):
        Image.new("RGB", (16, 16), (label, 9, 9)).save(name / "scan.tif", compression="tiff_lzw")
    path = Path("scans/class 0/scan.tif")
    with Image.open(path) as image:
        start, count = image.tag_v2[273][0], image.tag_v2[279][0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = b"\xff" * count
    path.write_bytes(content)
    (Path("scans/class 1") / "scan.tif").write_bytes((Path("scans/class 1") / "scan.tif").read_bytes()[:-20])
    source = image_folder("scans", "scans")
    squares = Squares(source, torch.arange(len(source.labels)), 16)
    collate([squares[i] for i in range(len(squares))])
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("scans/class 0/scan.tif: ")
    assert lines[1] == "scans/class 1/scan.tif: Truncated File Read"


def test_what_is_there_is_not_overwritten(command, refuses, trained):
    line = f"--gpu cpu --model predict --network {trained} --images images --output"
    Path("notes.txt").write_text("precious")
    assert "notes.txt is a file, and not one of .csv" in refuses(f"{line} notes.txt")
    assert "images is a folder" in refuses(f"{line} images")
    Path("x.csv").write_text("earlier")
    assert command(f"{line} x.csv")[0] == 0
    assert (Path("notes.txt").read_text(), Path("x.csv.old-1").read_text()) == ("precious", "earlier")
    assert len(predicted("x.csv")) == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "--network is missing"),
        ("--network nowhere --images images", "--network nowhere is missing"),
        ("--network images --images images", "without a trained network"),
        ("--network bad.pt --images images", "bad.pt is damaged"),
        ("--network {run} --images nowhere", "--images nowhere is missing"),
        ("--network {run} --images empty", "holds no images"),
        ("--network {run} --images bad.pt", "can be read as an image"),
    ],
)
def test_bad_input(refuses, request, options, message):
    if "{run}" in options:
        options = options.format(run=request.getfixturevalue("trained"))
    Path("empty").mkdir()
    Path("images").mkdir(exist_ok=True)
    Path("bad.pt").write_bytes(b"x")
    assert message in refuses(f"--gpu cpu --model predict {options} --output x.csv")
    assert not Path("x.csv").exists()


def test_the_report_of_a_training_has_every_class_and_the_baseline(trained):
    value = json.loads((trained / "judged.json").read_text())
    run = json.loads((trained / "result.json").read_text())
    judged, linear = value["x-test"], value["linear"]
    assert judged["accuracy"] == pytest.approx(run["mean"])
    assert [sum(row) for row in judged["confusion"]] == [2, 2, 2]
    assert 0 <= judged["low"] <= judged["accuracy"] <= judged["high"] <= 100
    assert linear["train"] == 48
    assert "linear classifier on" in (trained / "accuracy.txt").read_text()
    page = (trained / "report.html").read_text()
    for text in ("Confusion matrix", "class 1", "inear classifier", "What was run", "Few images to test on"):
        assert text in page


class Constant(torch.nn.Module):
    """Takes every image for the class that is its first pixel's value."""

    def __init__(self, classes):
        super().__init__()
        self.classes, self.weight = classes, torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), self.classes).float()


def test_confusions_are_counted_by_hand():
    taken, labels = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 3])
    images = taken.view(-1, 1, 1, 1).expand(-1, 3, 2, 2).float()
    counts = confusion(Constant(4), [(images[:2], labels[:2]), (images[2:], labels[2:])], 4)
    expected = torch.zeros(4, 4, dtype=torch.long)
    for label, found in zip(labels.tolist(), taken.tolist(), strict=True):
        expected[label, found] += 1
    assert torch.equal(counts, expected)
    rows = per_class(counts, ["a", "b", "c", "d"])
    assert [(row["class"], row["images"]) for row in rows] == [("a", 1), ("b", 3), ("d", 1)]
    assert rows[1]["accuracy"] == pytest.approx(100 / 3)
    assert (rows[1]["low"], rows[1]["high"]) == share_interval(100 / 3, 3)


def test_the_linear_classifier_learns_and_chooses_on_the_validation_part_alone(monkeypatch):
    """Features that tell the classes apart but for noise; other test labels change no weight."""
    write_images(Path("images"))
    data = judge_data()

    def features(images, name, device):
        rng = torch.Generator().manual_seed(len(images))
        return torch.nn.functional.one_hot(images.labels, 5).float() + 0.1 * torch.randn(len(images), 5, generator=rng)

    monkeypatch.setattr(judge, "_features", features)
    found = judge.linear_baseline(data, torch.device("cpu"), 0)
    assert found["accuracy"] == 100
    assert found["train"] == 48
    assert "BETTER than the network by 20.00 points" in advice(80.0, found)
    assert "BETTER" not in advice(100.0, found)


def judge_data():
    from metad2a.data.image_data import load_image_data

    return load_image_data("toy", "images", "data", 333)
