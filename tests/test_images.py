"""Folders of images: their parts, what is held out of a search, and files that are no plain RGB images."""

import os
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.authors import authors_features
from helpers.folders import process, write_images
from helpers.images import write_mnist
from helpers.networks import SMALL
from PIL import Image, ImageOps

from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS
from metad2a.data import datasets
from metad2a.data.datasets import open_dataset
from metad2a.data.features import check_images, load_features
from metad2a.data.fingerprints import listing_digest
from metad2a.data.folders import find_parts, scan
from metad2a.data.image_data import load_image_data
from metad2a.data.imagenet import open_imagenet
from metad2a.data.reading import decode, read_rgb
from metad2a.data.rgb import ORIENTATION, to_rgb
from metad2a.finetuning.data import load_fine_tuning_data
from metad2a.searches import session


def fine_tuning_data(name, folder, seed=333):
    return load_fine_tuning_data(name, folder and str(folder), "data", None, 32, 0, 0.2, seed)


def files_of(part):
    return {part.source.describe(i) for i in part.numbers}


@pytest.mark.parametrize("part", ["test", "val", "valid", "validation"])
def test_a_dataset_with_parts_is_understood_everywhere(tmp_path, capsys, part):
    folder = tmp_path / "images"
    write_images(folder / "train", n=5)
    write_images(folder / part, n=2, seed=1)
    assert process(f"--dataset mine --image-folder {folder}") == 0
    features = load_features("data/minebylabel.pt", "mine")
    assert (features.class_names, features.counts.tolist()) == (["cat", "dog"], [5, 5])
    assert (f"{part} to test on" in capsys.readouterr().err) == (part != "test")
    data = load_image_data("mine", str(folder), "data", 333)
    assert (data.class_names, len(data.train), len(data.valid) + len(data.test)) == (["cat", "dog"], 10, 4)
    assert files_of(fine_tuning_data("mine", folder).test) == {str(path) for path in (folder / part).rglob("*.png")}
    training, held_out = open_imagenet(folder, ["cat", "dog"], 16)
    assert [len(numbers) for numbers in training.by_class + held_out.by_class] == [5, 5, 2, 2]


def test_of_two_parts_to_test_on_one_is_taken_and_the_other_named(tmp_path, capsys):
    for part in ("train", "val", "test"):
        write_images(tmp_path / part, n=2)
    assert open_dataset("mine", tmp_path, "test", "data", None).folder == tmp_path / "test"
    open_dataset("mine", tmp_path, "train", "data", None)
    assert "test to test on; val is not used" in capsys.readouterr().err


def test_classes_whose_images_are_in_sub_folders_are_refused(tmp_path, capsys):
    write_images(tmp_path / "images" / "train")
    assert process(f"--dataset mine --image-folder {tmp_path}/images") == 2
    message = capsys.readouterr().err
    assert "train has no images of its own, but 2 sub-folders with images (cat, dog)" in message
    assert "--image-folder" in message


def test_classes_called_train_and_test_are_classes(tmp_path):
    write_images(tmp_path, ("train", "test", "bus"))
    assert find_parts(tmp_path).test is None
    assert open_dataset("mine", tmp_path, "all", "data", None).class_names == ["bus", "test", "train"]


def test_what_networks_are_tested_on_reaches_no_search(tmp_path, capsys):
    folder = write_images(tmp_path / "images", n=10)
    train, test = (open_dataset("mine", folder, split, "data", None) for split in ("train", "test"))
    assert "20% of each class are held out" in capsys.readouterr().err
    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    names = [{source.describe(i) for i in range(len(source.labels))} for source in (train, test)]
    assert names[0] | names[1] == {str(path) for path in folder.rglob("*.png")}
    for seed in (1, 2):
        data, parts = load_image_data("mine", str(folder), "data", seed), fine_tuning_data("mine", folder, seed)
        assert torch.equal(data.train.pixels.permute(0, 3, 1, 2), decode(train)[0])
        assert files_of(parts.test) == names[1]
        assert files_of(parts.train) | files_of(parts.valid) == names[0]
    assert process(f"--dataset mine --image-folder {folder}") == 0
    assert load_features("data/minebylabel.pt", "mine").counts.tolist() == [8, 8]
    assert process(f"--dataset mine --image-folder {folder} --split test --overwrite") == 0
    assert "search with others" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_moves_no_other_between_the_parts(tmp_path):
    folder = write_images(tmp_path / "images", n=10)
    source = open_dataset("mine", folder, "train", "data", None)
    before = decode(source)[0]
    Path(source.describe(3)).write_bytes(b"damaged")
    data = load_image_data("mine", str(folder), "data", 333)
    assert torch.equal(data.train.pixels.permute(0, 3, 1, 2), before[torch.arange(16) != 3])
    assert len(data.valid) + len(data.test) == 4


def test_test_images_of_mnist_that_the_shipped_features_are_of_are_left_out(tmp_path, monkeypatch, capsys):
    shipped = [int(number) for number in (ASSETS / "features" / "mnist-test-images.txt").read_text().split()]
    assert len(set(shipped)) == len(shipped) == len(load_features(ASSETS / "features" / "mnist.npz", "mnist").images)
    assert 0 <= min(shipped) <= max(shipped) < 10_000
    write_mnist(Path("data/raw-data"))  # its test images are 0 to 9, one of each class
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "mnist-test-images.txt").write_text("2 7\n9999\n")
    monkeypatch.setattr(datasets, "ASSETS", tmp_path)
    data = load_image_data("mnist", None, "data", 333)
    assert sorted([*data.valid.labels.tolist(), *data.test.labels.tolist()]) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert "2 of 10 test images of mnist are left out" in capsys.readouterr().err
    assert fine_tuning_data("mnist", None).test.numbers == [0, 1, 3, 4, 5, 6, 8, 9]
    Path("data/mnist-test-split.txt").write_text('{"xvalid": ["int", [0, 2, 4]], "xtest": ["int", [1, 3, 7]]}')
    data = load_image_data("mnist", None, "data", 333)
    assert (data.valid.labels.tolist(), data.test.labels.tolist()) == ([0, 4], [1, 3])
    Path("data/mnist-test-split.txt").write_text('{"xvalid": ["int", [2]], "xtest": ["int", [1, 3]]}')
    with pytest.raises(UserError, match=r"mnist-test-split\.txt: one half holds only images"):
        load_image_data("mnist", None, "data", 333)


GRAY = np.tile(np.arange(0, 256, 8), (32, 1))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (GRAY, np.int32),
        (GRAY, np.uint16),
        (GRAY * 256, np.int32),
        (GRAY * 256, np.uint16),
        (GRAY * 2**23, np.int32),
        (GRAY / 255, np.float32),
        (GRAY, np.float32),
    ],
)
def test_gray_of_any_depth_keeps_its_brightness(values, dtype):
    image = Image.fromarray(values.astype(dtype))
    difference = np.asarray(to_rgb(image)).astype(int) - GRAY[..., None]
    assert np.abs(difference).max() <= 1, image.mode


@pytest.mark.parametrize("extension", ["jpg", "png", "tiff", "webp"])
def test_images_are_turned_as_their_exif_data_say(tmp_path, extension):
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / f"x.{extension}", exif=exif)
    image = np.asarray(read_rgb(open_dataset("mine", tmp_path, "all", "data", None), 0))
    assert image.shape == (32, 16, 3)
    assert image[:14].mean() > 250
    assert image[18:].mean() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_pillows(orientation):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8))
    image.getexif()[ORIENTATION] = orientation
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(ImageOps.exif_transpose(image)))


def test_exif_data_that_are_odd_otherwise_do_not_matter(tmp_path):
    odd = struct.pack(">HHI4sHHI4s", ORIENTATION, 3, 1, b"\0\6", 0x0115, 2, 2, b"x")  # the second should be a number
    for content, size in ((odd, (8, 16)), (b"\xff" * 24, (16, 8))):
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\2" + content + bytes(4)
        Image.new("RGB", (16, 8), "white").save(tmp_path / "x.jpg", exif=exif)
        with Image.open(tmp_path / "x.jpg") as image:
            assert to_rgb(image).size == size


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, struct.error, AssertionError, KeyError])
def test_whatever_a_decoder_raises_is_an_image_that_cannot_be_read(tmp_path, error):
    def fail(number):
        raise error

    source = replace(open_dataset("mine", write_images(tmp_path), "train", "data", None), open=fail)
    with pytest.raises(UserError, match=r"cat/\d\.png cannot be read \(\w+"):
        read_rgb(source, 0)


def test_other_formats_are_not_opened_whatever_their_names(tmp_path, monkeypatch, capsys):
    def started(*arguments, **options):
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    folder = write_images(tmp_path / "images", n=60)
    image = Image.new("RGB", (8, 8))
    image.save(folder / "cat" / "x.jpg", format="EPS")
    image.save(folder / "dog" / "y.png", format="DDS")
    assert process(f"--dataset mine --image-folder {folder} --split all") == 0
    message = capsys.readouterr().err
    assert "Skipped 2 of 122 images" in message
    assert "cat/x.jpg" in message
    assert "dog/y.png" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_dangling_links_are_named_and_never_waited_for(tmp_path, capsys):
    folder = write_images(tmp_path / "images", n=60)
    os.mkfifo(folder / "cat" / "pipe.jpg")
    (folder / "dog" / "link.png").symlink_to(tmp_path / "nowhere")
    assert process(f"--dataset mine --image-folder {folder} --split all") == 0
    message = capsys.readouterr().err
    assert "cat/pipe.jpg" in message
    assert "dog/link.png" in message


@pytest.fixture
def bytes_folder(tmp_path):
    """A folder of images whose name, and that of a class, are no UTF-8."""
    folder = tmp_path / os.fsdecode(b"im\xe9")
    try:
        write_images(folder, (os.fsdecode(b"caf\xe9"), "dog"), n=10)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    return folder


def test_names_of_folders_need_not_be_utf8(bytes_folder, command):
    line = f"--gpu cpu --model train_arch --arch {SMALL} --data-name mine --epochs 1 --num-runs 1 --batch-size 8"
    code, _, err = command(f"{line} --image-folder {bytes_folder}")
    assert code == 0, err
    [path] = Path("results").rglob("network.pt")
    assert torch.load(path, weights_only=True)["class_names"] == ["caf\\xe9", "dog"]
    assert fine_tuning_data("mine", bytes_folder).class_names == ["caf\\xe9", "dog"]
    code, _, err = command(f"--gpu cpu --model search --data-name mine --image-folder {bytes_folder} --num-gen-arch 5")
    assert code == 0, err


@pytest.mark.parametrize("content", ["cut", "page", "other", "list", "nan"])
def test_damaged_resnet18_weights(tmp_path, monkeypatch, capsys, content):
    from torchvision.models import ResNet18_Weights, resnet18

    path = tmp_path / "hub" / "checkpoints" / ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    state = resnet18().state_dict()
    state["conv1.weight"][0] = torch.nan
    torch.save({"cut": state, "page": 0, "other": {"w": torch.ones(1)}, "list": [1], "nan": state}[content], path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if content == "page":
        path.write_text("<html>")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = write_images(tmp_path / "images")
    assert process(f"--dataset mine --image-folder {folder} --extractor resnet18") == 2
    message = capsys.readouterr().err
    assert str(path) in message
    assert "--extractor efficientnet_lite0" in message


def test_classes_of_the_authors_files_are_in_the_order_of_their_numbers(tmp_path):
    classes = authors_features(12, 2)
    torch.save({str(label): classes[label] for label in sorted(classes, key=str)}, tmp_path / "f.pt")
    features = load_features(tmp_path / "f.pt", "mine")
    assert features.class_names == [str(label) for label in range(12)]
    assert torch.equal(features.images[4:6], classes[2][0])


def options(name="cifar10", folder=None):
    space = {
        "search_space": "nasbench201",
        "image_size": None,
        "ranking": "predictor",
        "load_epoch": None,
        "device_latency": None,
    }
    return SimpleNamespace(data_name=name, data_path="data", image_folder=folder, **space)


def test_images_are_processed_by_the_generators_extractor(monkeypatch):
    """Which is not a matter of the order of a set."""
    chosen = []

    def stop(options, extractor):
        chosen.append(extractor)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "features_file", stop)
    for number in range(12):
        made_by = {"generator": f"a{number}-32px", "predictor": f"b{number}-32px"}
        monkeypatch.setattr(
            session.Session,
            "_load",
            lambda self, kind, epoch, made_by=made_by: self.checkpoints.update(
                {kind: SimpleNamespace(extractor=made_by[kind], history={})}
            ),
        )
        with pytest.raises(KeyboardInterrupt):
            session.Session(options(), ("generator", "predictor"))
    assert chosen == [f"a{number}" for number in range(12)]


@pytest.mark.parametrize("left", ["raw-data/cifar10/.a.tar.gz.lock", "raw-data/mnist/MNIST/raw/t.gz.part"])
def test_what_a_failed_download_leaves_does_not_hide_the_shipped_features(monkeypatch, left):
    monkeypatch.setattr(datasets, "fetch_all", lambda *arguments: pytest.fail("a download was tried"))
    path, name = Path("data", left), Path(left).parts[1]
    path.parent.mkdir(parents=True)
    path.touch()
    assert session.features_file(options(name), None) == ASSETS / "features" / f"{name}.npz"


def test_features_of_another_folder_are_not_used(tmp_path, refuses):
    first, second = (write_images(tmp_path / name, n=4, seed=seed) for seed, name in enumerate("ab"))
    assert process(f"--dataset mine --image-folder {first}") == 0
    before = Path("data/minebylabel.pt").read_bytes()
    message = refuses(f"--gpu cpu --model search --data-name mine --num-gen-arch 5 --image-folder {second}")
    assert "minebylabel.pt was made of other images" in message
    assert f"process_dataset.py --dataset mine --image-folder {second} --data-path data --overwrite" in message
    assert Path("data/minebylabel.pt").read_bytes() == before
    features = load_features("data/minebylabel.pt", "mine")
    first.rename(tmp_path / "moved")
    check_images(features, tmp_path / "moved")
    (tmp_path / "moved" / "cat" / "0.png").unlink()
    with pytest.raises(UserError, match="made of other images"):
        check_images(features, tmp_path / "moved")
    with pytest.raises(UserError, match="is not a folder"):
        check_images(features, first)
    assert process(f"--dataset mine --image-folder {second} --overwrite") == 0
    check_images(load_features("data/minebylabel.pt", "mine"), second)


def test_a_class_may_be_a_link_whose_images_change(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "round").symlink_to(elsewhere)  # a loop
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "cat").symlink_to(elsewhere)
    before = listing_digest(scan(folder))
    (elsewhere / "new.png").write_bytes(b"1")
    assert listing_digest(scan(folder)) != before
