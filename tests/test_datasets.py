"""Every known dataset from small files in its real on-disk format.

torchvision checks the MD5 sums of CIFAR's and SVHN's files, which small files cannot have: these tests replace
torchvision's own `check_integrity` by "the file exists". The product calls torchvision unchanged.
"""

import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from helpers import ROOT
from helpers.folders import process, write_images
from helpers.images import RNG, exists, write_mnist
from PIL import Image

from metad2a.data.downsampled_imagenet import choose, read_batch
from metad2a.data.features import load_features


@pytest.fixture
def raw(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", exists)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", exists)
    return Path("data/raw-data")


def write_cifar(folder, names, key, label_key, files, per_file):
    folder.mkdir(parents=True)
    labels = [i % len(names) for i in range(per_file)]
    for file in files:
        data = RNG.integers(0, 255, (per_file, 3072), dtype=np.uint8)
        (folder / file).write_bytes(pickle.dumps({"data": data, label_key: labels}))
    (folder / ("batches.meta" if key == "label_names" else "meta")).write_bytes(pickle.dumps({key: names}))


def write_cifar10(raw):
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    names = [f"class{i}" for i in range(10)]
    write_cifar(raw / "cifar10" / "cifar-10-batches-py", names, "label_names", "labels", files, 10)


def write_cifar100(raw):
    names = [f"fine{i}" for i in range(100)]
    folder = raw / "cifar100" / "cifar-100-python"
    write_cifar(folder, names, "fine_label_names", "fine_labels", ["train", "test"], 100)


def write_svhn(raw):
    (raw / "svhn").mkdir(parents=True)
    for split in ("train", "test"):
        pixels = RNG.integers(0, 255, (32, 32, 3, 20), dtype=np.uint8)
        labels = np.arange(20)[:, None] % 10 + 1  # 1..10, where 10 stands for the digit 0
        pixels[..., labels[:, 0] == 10] = 0
        scipy.io.savemat(raw / "svhn" / f"{split}_32x32.mat", {"X": pixels, "y": labels.astype(np.uint8)})


def write_aircraft(raw, manufacturers=30):
    folder = raw / "aircraft" / "fgvc-aircraft-2013b" / "data"
    (folder / "images").mkdir(parents=True)
    levels = {"manufacturer": ("manufacturers.txt", manufacturers), "variant": ("variants.txt", 100)}
    for level, (file, n) in levels.items():
        names = [f"{level} {i}/x" for i in range(n)]
        (folder / file).write_text("".join(f"{name}\n" for name in names))
        lines = "".join(f"{i:07d} {names[i % n]}\n" for i in range(100))
        for split in ("trainval", "test"):
            (folder / f"images_{level}_{split}.txt").write_text(lines)
    for i in range(100):
        Image.fromarray(RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / "images" / f"{i:07d}.jpg")


def write_pets(raw):
    base = raw / "pets" / "oxford-iiit-pet"
    (base / "images").mkdir(parents=True)
    (base / "annotations").mkdir()
    lines = []
    for breed in range(37):
        for k in (1, 2):
            name = f"Breed_{chr(97 + breed // 26)}{chr(97 + breed % 26)}_{k}"
            lines.append(f"{name} {breed + 1} 1 1\n")
            Image.fromarray(RNG.integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(base / "images" / f"{name}.jpg")
    for split in ("trainval", "test"):
        (base / "annotations" / f"{split}.txt").write_text("".join(lines))


@pytest.mark.parametrize(
    ("name", "write", "num_classes", "num_images"),
    [
        ("cifar10", write_cifar10, 10, 50),
        ("cifar100", write_cifar100, 100, 100),
        ("svhn", write_svhn, 10, 20),
        ("mnist", write_mnist, 10, 20),
        ("aircraft", write_aircraft, 30, 100),
        ("aircraft100", write_aircraft, 100, 100),
        ("pets", write_pets, 37, 74),
    ],
)
def test_known_datasets(raw, name, write, num_classes, num_images):
    write(raw)
    assert process(f"--dataset {name}") == 0
    features = load_features(f"data/{name}bylabel.pt", name)
    assert features.num_classes == num_classes
    assert len(features.images) == num_images
    if name == "svhn":  # the digit 0 is the first class, and its images are black
        black = features.images[:2].float()
        torch.testing.assert_close(black[0], black[1])
        assert not torch.allclose(features.images[2].float(), features.images[3].float())
    assert process(f"--dataset {name} --split test --overwrite") == 0


def test_wrong_numbers_of_classes(raw, capsys):
    write_aircraft(raw, manufacturers=29)
    assert process("--dataset aircraft") == 2
    assert "29 classes, expected 30" in capsys.readouterr().err


def test_a_class_without_images(raw, capsys):
    write_mnist(raw, train=7)
    assert process("--dataset mnist") == 2
    assert "7 - seven" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cifar10", "svhn", "mnist"])
def test_truncated_official_files(raw, capsys, name):
    {"cifar10": write_cifar10, "svhn": write_svhn, "mnist": write_mnist}[name](raw)
    for path in (raw / name).rglob("*"):
        if path.is_file() and "test" not in path.name:
            path.write_bytes(path.read_bytes()[:40])
    assert process(f"--dataset {name}") == 2
    message = capsys.readouterr().err
    assert "error:" in message
    assert "Traceback" not in message


def test_official_files_come_from_a_mirror(raw, tmp_path, capsys, monkeypatch):
    """MNIST, whose packed files are verified by MD5: the entries of the manifest get the small files' sums."""
    import dataclasses
    import hashlib

    from metad2a.data.download import RAW_DATA

    write_mnist(raw)
    mirror, entries = tmp_path / "mirror", []
    for entry in RAW_DATA["mnist"]:
        plain = Path(entry.target.removesuffix(".gz"))
        packed = mirror / entry.target
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        entries.append(dataclasses.replace(entry, md5=hashlib.md5(packed.read_bytes()).hexdigest()))
    line = f"--dataset mnist --mirror {mirror}"
    assert process(line) == 2  # the real sums
    assert "md5" in capsys.readouterr().err
    monkeypatch.setitem(RAW_DATA, "mnist", entries)
    assert process(line) == 0
    assert load_features("data/mnistbylabel.pt", "mnist").counts.tolist() == [2] * 10


def test_unknown_datasets_need_a_folder(capsys):
    assert process("--dataset food101") == 2
    assert "--image-folder" in capsys.readouterr().err


def test_search_from_a_folder_of_raw_images(command, tmp_path):
    folder = write_images(tmp_path / "images", n=4)
    line = f"--model search --data-name mine --image-folder {folder} --num-gen-arch 20"
    code, out, err = command(line)
    assert code == 0, err
    assert "20 architectures ranked for mine" in out
    code, _, err = command(line)
    assert code == 0
    assert "made earlier" in err


def test_search_from_official_files(command, raw):
    write_mnist(raw)
    code, out, err = command("--model search --data-name mnist --num-gen-arch 20")
    assert code == 0, err
    assert "20 architectures ranked for mnist" in out
    assert load_features("data/mnistbylabel.pt", "mnist").counts.tolist() == [2] * 10


NUM_IMAGENET = 50  # classes of the small ImageNets here


@pytest.fixture
def _small_imagenet(monkeypatch):
    monkeypatch.setattr("metad2a.data.downsampled_imagenet.NUM_CLASSES", NUM_IMAGENET)
    monkeypatch.setattr("metad2a.data.downsampled_imagenet.NUM_BATCHES", 2)


def write_imagenet32(folder, batches=2, n=NUM_IMAGENET, labels=None):
    """The pickled batches of downsampled ImageNet: data, labels from 1 and the mean image, classes in no order."""
    folder.mkdir()
    for batch in range(1, batches + 1):
        order = RNG.permutation(NUM_IMAGENET)[:n] if labels is None else np.array(labels)
        data = RNG.integers(0, 255, (len(order), 3072), dtype=np.uint8)
        data[:, 0] = order % 256  # so that an image can be recognised
        value = {"data": data, "labels": (order + 1).tolist(), "mean": data.mean(axis=0)}
        (folder / f"train_data_batch_{batch}").write_bytes(pickle.dumps(value, protocol=2))
    return folder


@pytest.mark.usefixtures("_small_imagenet")
def test_imagenet32(tmp_path):
    folder = write_imagenet32(tmp_path / "imagenet32")
    assert process(f"--dataset imagenet32 --image-folder {folder}") == 0
    features = load_features("data/imgnet32bylabel.pt", "imgnet32")
    assert features.counts.tolist() == [2] * NUM_IMAGENET
    from metad2a.data.extractors import Extractor

    network = Extractor("efficientnet_lite0", "imgnet32")
    for label in (0, 17, 49):
        images = []
        for batch in (1, 2):
            pixels, labels = read_batch(folder / f"train_data_batch_{batch}")
            images.append(torch.from_numpy(pixels[labels == label]).view(-1, 3, 32, 32))
        with torch.inference_mode():
            expected = network.embed(torch.cat(images))
        rows = features.images[2 * label : 2 * label + 2]
        torch.testing.assert_close(rows.float(), expected.float(), rtol=1e-2, atol=1e-2)
    assert not Path("data/.imgnet32bylabel.work").exists()


@pytest.mark.usefixtures("_small_imagenet")
def test_a_killed_imagenet32_run_continues_at_its_batch(tmp_path, monkeypatch, capsys):
    from metad2a.data import downsampled_imagenet as imagenet32

    folder = write_imagenet32(tmp_path / "imagenet32")
    embedded, embed = [], imagenet32._embed

    def counting(network, pixels, batch_size):
        if len(embedded) == 1:
            raise KeyboardInterrupt
        embedded.append(len(pixels))
        return embed(network, pixels, batch_size)

    monkeypatch.setattr(imagenet32, "_embed", counting)
    line = f"--dataset imagenet32 --image-folder {folder}"
    assert process(line) == 130
    assert not Path("data/imgnet32bylabel.pt").exists()
    embedded.clear()
    monkeypatch.setattr(imagenet32, "_embed", lambda *arguments: embedded.append(1) or embed(*arguments))
    capsys.readouterr()
    assert process(line) == 0
    assert "after 1 of 2 batches" in capsys.readouterr().err
    assert len(embedded) == 1
    resumed = load_features("data/imgnet32bylabel.pt", "imgnet32").images
    monkeypatch.setattr(imagenet32, "_embed", embed)
    assert process(f"{line} --overwrite") == 0
    assert torch.equal(load_features("data/imgnet32bylabel.pt", "imgnet32").images, resumed)


@pytest.mark.usefixtures("_small_imagenet")
def test_a_limit_takes_as_many_images_of_each_class_from_any_batch():
    labels = [np.repeat(np.arange(NUM_IMAGENET), 2), np.arange(NUM_IMAGENET)]
    rows = choose(labels, 2, 1)
    taken = np.concatenate([part[row] for part, row in zip(labels, rows, strict=True)])
    assert np.bincount(taken).tolist() == [2] * NUM_IMAGENET
    assert all(len(row) for row in rows)
    assert [row.tolist() for row in rows] == [row.tolist() for row in choose(labels, 2, 1)]
    assert [row.tolist() for row in rows] != [row.tolist() for row in choose(labels, 2, 2)]
    assert [len(row) for row in choose(labels, None, 1)] == [100, 50]


def test_bad_imagenet32(tmp_path, capsys, monkeypatch):
    def message(folder):
        assert process(f"--dataset imagenet32 --image-folder {folder}") == 2
        return capsys.readouterr().err

    assert "no train_data_batch_1" in message(tmp_path)
    folder = write_imagenet32(tmp_path / "gap", batches=9, n=10)
    assert "no train_data_batch_10" in message(folder)
    monkeypatch.setattr("metad2a.data.downsampled_imagenet.NUM_BATCHES", 2)
    folder = write_imagenet32(tmp_path / "few", n=10)
    assert "has no images" in message(folder)
    folder = write_imagenet32(tmp_path / "cut", n=10)
    path = folder / "train_data_batch_1"
    path.write_bytes(path.read_bytes()[:500])
    assert "train_data_batch_1" in message(folder)
    folder = write_imagenet32(tmp_path / "labels", labels=[5, 1000])
    assert "labels from 6 to 1001" in message(folder)
    assert not list(Path("data").glob("*.pt"))


def test_a_harmful_batch_is_refused(tmp_path, capsys):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    folder = tmp_path / "batches"
    folder.mkdir()
    for batch in range(1, 11):
        (folder / f"train_data_batch_{batch}").write_bytes(pickle.dumps({"data": Harmful(), "labels": [1]}))
    assert process(f"--dataset imagenet32 --image-folder {folder}") == 2
    assert "which is no array" in capsys.readouterr().err
    assert not (tmp_path / "harm").exists()


def test_process_dataset_as_a_program(raw):
    write_mnist(raw)
    command = [sys.executable, str(ROOT / "process_dataset.py"), "--dataset", "mnist", "--gpu", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 images of 10 classes" in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
