"""Which files of a folder are images of a dataset, what is said about the others, and classes in a CSV file."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.folders import process, write_images
from helpers.networks import SMALL
from PIL import Image, features

from metad2a.commands.registry import COMMANDS
from metad2a.core import environment
from metad2a.core.files import load_torch, write_csv
from metad2a.core.options import option_fields
from metad2a.data import fingerprints, image_data
from metad2a.data.datasets import open_dataset
from metad2a.data.features import load_features
from metad2a.data.folders import extensions, scan
from metad2a.data.image_data import SPLITS, load_image_data
from metad2a.data.image_source import read_class_order
from metad2a.data.reading import decode
from metad2a.finetuning.data import load_fine_tuning_data
from metad2a.networks.predict import find_images
from metad2a.reports.dataset import look, warnings


def picture(path, colour=(9, 90, 200), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path, **how)
    return path


def left_out(folder):
    reasons = {}
    images = scan(folder, reasons)
    return {path.relative_to(folder).as_posix() for path in images}, {
        path.relative_to(folder).as_posix(): why for path, why in reasons.items()
    }


@pytest.fixture
def cluttered(tmp_path):
    """Two classes of ten images, each with the copies that notebooks and NAS boxes leave, and AppleDouble files."""
    folder = tmp_path / "h"
    for name, value in (("a", 10), ("b", 150)):
        for i in range(10):
            colour = (value + i, 9, 90)
            picture(folder / name / f"{i}.jpg", colour)
            picture(folder / name / ".ipynb_checkpoints" / f"{i}-checkpoint.jpg", colour)
            picture(folder / name / "@eaDir" / f"{i}.jpg" / "SYNOPHOTO_THUMB_M.jpg", colour)
            (folder / name / f"._{i}.jpg").write_bytes(b"Mac OS X")
        (folder / name / "Thumbs.db").write_bytes(b"x")
    picture(folder / "__MACOSX" / "a" / "0.jpg")
    return folder


def test_files_that_are_nobodys_data_reach_no_command(cluttered, command):
    own = {path for name in "ab" for path in (cluttered / name).glob("[0-9].jpg")}
    code, _, err = command(f"process-dataset --dataset mine --image-folder {cluttered} --split all")
    assert code == 0
    assert "63 files are left out: 40 hidden, 23 left by another program" in err
    assert load_features("data/minebylabel.pt", "mine").counts.tolist() == [10, 10]
    data = load_image_data("mine", str(cluttered), "data", 333)
    assert (data.class_names, len(data.train), len(data.valid) + len(data.test)) == (["a", "b"], 16, 4)
    parts = load_fine_tuning_data("mine", str(cluttered), "data", None, 32, 0, 0.2, 333)
    assert {part.source.files[i] for part in (parts.train, parts.valid, parts.test) for i in part.numbers} == own
    assert set(find_images(str(cluttered))) == own
    seen = look(cluttered)
    assert set(seen.files) == own
    assert any("40 hidden" in text for text in warnings(seen))


def test_copies_across_the_parts_are_named_on_the_screen(tmp_path, command):
    folder = write_images(tmp_path / "images", n=10)
    train, test = (open_dataset("mine", folder, split, "data", None) for split in ("train", "test"))
    shutil.copy(test.files[0], train.files[3])
    for line in (
        f"process-dataset --dataset mine --image-folder {folder}",
        f"--gpu cpu --model train_arch --arch {SMALL} --data-name mine --image-folder {folder} --epochs 1 --num-runs 1",
    ):
        code, _, err = command(line)
        assert code == 0, err
        assert "1 of 4 test images have an exact copy among the training images" in err
        assert f"{test.files[0]} = {train.files[3]}" in err


def test_images_in_sub_folders_of_a_class_are_used_and_said(tmp_path, capsys):
    folder = write_images(tmp_path / "images", n=4)
    write_images(folder / "cat", ("young",), n=2)
    for name in ("fox", "owl"):  # as in Tiny ImageNet
        write_images(folder / name, ("images",), n=3)
    assert process(f"--dataset mine --image-folder {folder} --split all") == 0
    assert load_features("data/minebylabel.pt", "mine").counts.tolist() == [6, 4, 3, 3]
    assert "8 of the images lie in sub-folders of their class" in capsys.readouterr().err


ODD = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "ico": "ICO", "tga": "TGA", "pcx": "PCX", "pbm": "PPM"}
if features.check("avif"):
    ODD["avif"] = "AVIF"


@pytest.mark.parametrize("suffix", sorted(ODD))
def test_what_pillow_reads_is_read(tmp_path, suffix):
    path = tmp_path / "a" / f"x.{suffix}"
    picture(path, format=ODD[suffix]) if suffix != "pbm" else path.parent.mkdir()
    if suffix == "pbm":
        Image.new("1", (8, 8)).save(path)
    source = open_dataset("mine", tmp_path, "all", "data", None)
    assert source.files == [path]
    assert decode(source)[0].shape == (1, 3, 32, 32)


def test_files_of_other_kinds_are_counted_by_suffix(tmp_path, command, refuses):
    folder = write_images(tmp_path / "images", n=4)
    picture(folder / "cat" / "no suffix", format="PNG")
    picture(folder / "cat" / "odd.xyz", format="JPEG")
    for name in ("x.heic", "y.heic", "notes.txt", "a.b c d", "plain"):
        (folder / "cat" / name).write_bytes(b"P6 is no header")
    for name in ("x.png.bak", "y.png~", "raw.nef"):
        picture(folder / "dog" / name, format="TIFF")
    images, reasons = left_out(folder)
    assert len(images) == 10
    assert {"cat/no suffix", "cat/odd.xyz"} < images
    expected = [
        "2 .heic",
        "1 .txt",
        "1 without a known suffix",
        "1 without a suffix",
        "1 .nef",
        "2 left by another program",
    ]
    assert len(reasons) == 8
    code, _, err = command(f"process-dataset --dataset mine --image-folder {folder} --split all")
    assert code == 0
    assert "8 files are left out" in err
    assert all(text in err for text in expected)
    (folder / "owl").mkdir()
    for i in range(12):
        (folder / "owl" / f"{i}.heic").write_bytes(b"x")
    message = refuses(f"process-dataset --dataset other --image-folder {folder}")
    assert "Class 'owl' of other has no images" in message
    assert "12 files are left out: 12 .heic" in message


def test_formats_without_a_mark_of_their_own_are_known_by_their_suffix_only(tmp_path):
    picture(tmp_path / "x.tga")
    (tmp_path / "x.tga").rename(tmp_path / "x")
    assert left_out(tmp_path) == (set(), {"x": "without a suffix"})
    assert {".jpg", ".jpe", ".jfif", ".apng", ".mpo", ".tif"} < set(extensions())
    assert not {".eps", ".ps", ".wmf", ".pdf", ".h5", ".mpg"} & set(extensions())


def test_links_to_folders_are_followed_once_by_every_command(tmp_path):
    outside = write_images(tmp_path / "outside", ("more",), n=3)
    folder = write_images(tmp_path / "images", n=4)
    (folder / "cat" / "more").symlink_to(outside / "more")
    (folder / "cat" / "again").symlink_to(folder / "cat" / "more")
    (folder / "cat" / "round").symlink_to(folder)
    (folder / "owl").symlink_to(outside / "more")
    (folder / "dog" / "self").symlink_to(folder / "dog" / "self")
    source = open_dataset("mine", folder, "all", "data", None)
    assert np.bincount(source.labels).tolist() == [7, 4, 3]
    assert source.left_out[folder / "cat" / "round"] == "behind links to folders that are here already"
    assert (folder / "cat" / "more", "behind links to folders that are here already") in source.left_out.items()
    assert len(find_images(str(folder))) == 11
    assert len(look(folder).files) == len(source.files)


def test_every_unreadable_file_is_written_with_its_reason(tmp_path, refuses):
    folder = write_images(tmp_path / "images", n=20)
    for i in range(8):
        path = folder / "dog" / f"{i}.png"
        path.write_bytes(b"no image" if i else path.read_bytes()[:60])
    (folder / "dog" / "notes.txt").write_text("x")
    message = refuses(f"process-dataset --dataset mine --image-folder {folder} --split all")
    assert "8 of 40 images of mine cannot be read" in message
    assert "data/mine-left-out.csv" in message
    with Path("data/mine-left-out.csv").open(newline="") as file:
        rows = {Path(path).name: why for path, why in csv.reader(file)}
    assert len(rows) == 1 + 8 + 1
    assert "truncated" in rows["0.png"]
    assert "no image that is known" in rows["1.png"]
    assert rows["notes.txt"] == ".txt"


def test_skipped_images_leave_no_gap_in_the_decoded_file(tmp_path):
    folder = write_images(tmp_path / "images", n=20)
    (folder / "dog" / "0.png").write_bytes(b"no image")
    data = load_image_data("mine", str(folder), "data", 333)
    assert len(data.train) + len(data.valid) + len(data.test) == 39
    [path] = Path("data/pixels").glob("*px.pt")
    parts = load_torch(path, "")
    assert all(parts[f"{part}_pixels"].untyped_storage().nbytes() == parts[f"{part}_pixels"].numel() for part in SPLITS)


def test_parts_without_classes_are_refused_with_their_names(tmp_path, refuses):
    folder = tmp_path / "images"
    write_images(folder / "train")
    line = f"process-dataset --dataset mine --image-folder {folder}"
    for i in range(3):
        picture(folder / "test" / f"{i}.jpg")
    message = refuses(line)
    assert f"{folder}/test should have a sub-folder for each class, as {folder}/train has (cat, dog)" in message
    assert f"give {folder}/train as the folder of images" in message
    shutil.rmtree(folder / "train")
    picture(folder / "train" / "0.jpg")
    write_csv(folder / "train.csv", [("id", "label"), ("0", "x")])
    message = refuses(line)
    assert "has parts (test, train) without class folders" in message
    assert f"add --labels {folder}/train.csv" in message


def test_a_class_that_one_part_lacks_is_named_with_the_folder(tmp_path, refuses):
    write_images(tmp_path / "images" / "train", ("cat", "dog", "owl"))
    write_images(tmp_path / "images" / "val")
    for line in (
        f"train --arch {SMALL} --data-name mine --image-folder {tmp_path}/images",
        f"search {tmp_path}/images",
    ):
        message = refuses(line)
        assert f"{tmp_path}/images/val lacks the class 'owl', which {tmp_path}/images/train has" in message


def test_unreadable_images_are_counted_in_their_part(tmp_path, refuses):
    write_images(tmp_path / "images" / "train", n=20)
    dogs = write_images(tmp_path / "images" / "test", n=4) / "dog"
    for i in range(2):
        (dogs / f"{i}.png").write_bytes(b"no image")
    line = f"train --arch {SMALL} --data-name mine --image-folder {tmp_path}/images"
    assert "2 of 8 test images of mine cannot be read" in refuses(line)


def test_what_commands_write_into_a_folder_of_images_is_no_class(tmp_path, command, monkeypatch):
    monkeypatch.chdir(write_images(tmp_path / "images"))
    for _ in range(2):
        code, _, err = command("search . --ranking predictor --num-gen-arch 5 --gpu cpu")
        assert code == 0, err
    assert load_features("data/imagesbylabel.pt", "images").class_names == ["cat", "dog"]
    assert "files are left out" in err


def test_class_order_takes_names_of_several_words(tmp_path):
    folder = write_images(tmp_path / "images", ("golden retriever", "golden", "pug"))
    (tmp_path / "order.txt").write_text("pug 3 a pug\ngolden retriever\ngolden 2\n")
    assert process(f"--dataset mine --image-folder {folder} --class-order {tmp_path}/order.txt") == 0
    assert load_features("data/minebylabel.pt", "mine").class_names == ["pug", "golden retriever", "golden"]
    (tmp_path / "tabs.txt").write_text("golden retriever\tn02099601\ngoldenrod 5\n")
    assert read_class_order(tmp_path / "tabs.txt", ["golden retriever"]) == ["golden retriever", "goldenrod"]


@pytest.mark.parametrize("name", ["photos/", "photos/cat/0.png", "photos.zip"])
def test_what_is_no_folder_is_said(tmp_path, refuses, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photos" / "cat" / "0.png").parent.parent.rename(tmp_path / "images")
    (tmp_path / "photos.zip").touch()
    name = name.replace("photos/c", "images/c")
    assert (f"There is no folder {name}" if name.endswith("/") else f"{name} is a file") in refuses(f"search {name}")


@pytest.mark.parametrize("line", ["search {}", "process-dataset --dataset m --image-folder {}",
                                  "train --arch x --data-name m --image-folder {}",
                                  "compare --form real --data-name m --image-folder {}"])  # fmt: skip
def test_one_class_is_refused_with_both_remedies(tmp_path, refuses, line):
    folder = tmp_path / "photos"
    for i in range(6):
        picture(folder / "images" / f"{i}.jpg")
    write_csv(folder / "labels.csv", [("id", "breed"), *((str(i), "ab"[i % 2]) for i in range(6))])
    message = refuses(line.replace("--arch x", f"--arch {SMALL}").format(folder))
    assert f"{folder} has one class ('images')" in message
    assert "a sub-folder for each class" in message
    assert f"add --labels {folder}/labels.csv to the command" in message


KAGGLE = [("id", "breed"), *((f"{i:03d}", "cd"[i % 2]) for i in range(20))]
HUGGING_FACE = [
    ("file_name", "text", "label"), *((f"images/{i:03d}.jpg", "a, b", "cd"[i % 2]) for i in range(20)),
    ("gone.jpg", "", "c"),
]  # fmt: skip
PLAIN = [(f"images/{i:03d}.jpg", "cd"[i % 2]) for i in range(20)]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(KAGGLE, ("id", "breed")), (HUGGING_FACE, ("file_name", "label")), (PLAIN, ("number 1", "number 2"))],
)
def test_classes_are_read_from_a_csv_file(tmp_path, command, rows, columns):
    folder = tmp_path / "photos"
    for i in range(22):
        picture(folder / "images" / f"{i:03d}.jpg", (i, i % 2 * 200, 9))
    write_csv(folder / "labels.csv", rows)
    code, _, err = command(f"process-dataset --dataset m --image-folder {folder} --labels {folder}/labels.csv")
    assert code == 0, err
    assert f"column {columns[0]} names the images, column {columns[1]} their classes" in err
    assert ("1 of 21 rows name no image of the folder, for example 'gone.jpg'" in err) == (rows is HUGGING_FACE)
    assert "2 files are left out: 2 without a class in labels.csv" in err
    made = load_features("data/mbylabel.pt", "m")
    assert (made.class_names, made.counts.tolist()) == (["c", "d"], [8, 8])
    line = f"--data-name m --image-folder {folder} --labels {folder}/labels.csv"
    code, _, err = command(f"search {line} --report")
    assert code == 0, err
    code, out, err = command(f"train --gpu cpu --arch {SMALL} {line} --epochs 1 --num-runs 1 --batch-size 8")
    assert code == 0, err
    assert "1 epoch of 16 images" in out
    assert "8 to train on, 2 to test on" in next(Path("results").rglob("train_arch/**/report.html")).read_text()


def test_labels_from_python_go_from_a_search_to_its_training(tmp_path):
    from metad2a import search, train

    for i in range(20):
        picture(tmp_path / "photos" / f"{i:03d}.jpg", (i, i % 2 * 200, 9))
    write_csv(tmp_path / "labels.csv", KAGGLE)
    found = search(tmp_path / "photos", labels=str(tmp_path / "labels.csv"), gpu="cpu")
    assert len(train(found, gpu="cpu", epochs=1, num_runs=1, batch_size=8).networks) == 1


def test_labels_with_whole_paths_and_in_json(tmp_path, refuses):
    for i in range(20):
        picture(tmp_path / "photos" / f"{i}.jpg", (i, i % 2 * 200, 9))
    write_csv("labels.csv", [("path", "label"), *((tmp_path / "photos" / f"{i}.jpg", "cd"[i % 2]) for i in range(20))])
    assert process(f"--dataset m --image-folder {tmp_path}/photos --labels labels.csv") == 0
    Path("metadata.jsonl").write_text('{"file_name": "0.jpg", "label": 1}\n')
    message = refuses(f"process-dataset --dataset n --image-folder {tmp_path}/photos --labels metadata.jsonl")
    assert "it is in JSON" in message
    assert "Give a CSV file" in message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("id", "breed"), ("x", "c")], "none of its 1 rows names an image"),
        ([("id", "label"), ("0", ""), ("1", "")], "names an image of"),
        ([("id", "a", "b"), ("0", "c", "d")], "none is called label, class or category"),
        ([("only",), ("0",)], "has no two columns"),
        ([("id", "label"), ("0", "c"), ("0.jpg", "d")], "into two classes, 'c' and 'd'"),
        ([("id", "label"), ("0", "c"), ("1", "c")], "labels.csv gives the images of"),
        ([("id", "label"), ("../secret", "c"), ("/etc/passwd", "d")], "none of its 2 rows names an image"),
    ],
)
def test_bad_labels_are_refused(tmp_path, refuses, rows, message):
    picture(tmp_path / "secret.jpg")
    for i in range(4):
        picture(tmp_path / "photos" / f"{i}.jpg")
    write_csv("labels.csv", rows)
    line = "process-dataset --dataset m --image-folder"
    assert message in refuses(f"{line} {tmp_path}/photos --labels labels.csv")
    assert "cannot be read" in refuses(f"{line} {tmp_path}/photos --labels nowhere.csv")
    assert "--labels needs a folder" in refuses("process-dataset --dataset cifar10 --labels labels.csv")


def test_a_folder_under_an_official_name_is_said_each_time(tmp_path, command):
    folder = write_images(tmp_path / "images", n=4)
    code, _, err = command(f"process-dataset --dataset cifar10 --image-folder {folder}")
    assert code == 0
    assert "your images under the name of the official cifar10" in err
    for _ in range(2):
        code, _, err = command("search cifar10 --num-gen-arch 5")
        assert code == 0
        assert f"data/cifar10bylabel.pt was made from your images in {folder}, not from the official cifar10" in err


def test_a_copy_of_a_folder_has_the_same_images(tmp_path, command, refuses):
    folder = write_images(tmp_path / "images", n=4)
    assert process(f"--dataset mine --image-folder {folder}") == 0
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    line = "search --num-gen-arch 5 --data-name mine --image-folder"
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    assert command(f"{line} {copy}")[0] == 0
    path = copy / "cat" / "0.png"
    about = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # equal size and time, another content
    assert "was made of other images" in refuses(f"{line} {copy}")


def test_images_are_read_for_their_fingerprint_only_once(tmp_path, monkeypatch):
    folder, hashed = write_images(tmp_path / "images", n=6), []
    read = fingerprints._read
    monkeypatch.setattr(fingerprints, "_read", lambda path, *state: hashed.append(path) or read(path, *state))

    def fingerprint():
        hashed.clear()
        data = load_image_data("mine", str(folder), "data", 333)
        parts = load_fine_tuning_data("mine", str(folder), "data", None, 32, 0, 0.2, 333)
        return data.fingerprint, parts.fingerprint

    first = fingerprint()
    assert set(hashed) == set(folder.rglob("*.png"))
    assert fingerprint() == first
    assert not hashed
    for path in Path("data/fingerprints").iterdir():
        path.write_text("{}")  # a damaged one is made anew
    assert fingerprint() == first
    Image.new("RGB", (8, 8)).save(folder / "cat" / "0.png")
    assert all(new != old for new, old in zip(fingerprint(), first, strict=True))


def test_memory_is_said_before_it_is_taken(tmp_path, refuses, capsys, monkeypatch):
    folder = write_images(tmp_path / "images", n=4)
    line = f"train --gpu cpu --arch {SMALL} --data-name mine --image-folder {folder} --epochs 1 --num-runs 1"
    with monkeypatch.context() as patch:
        patch.setattr(image_data, "memory_gb", lambda: 1e-5)
        message = refuses(line)
    assert "8 images of" in message
    assert "at 32 x 32 pixels take 0.0 GB of memory, and this machine has 0.0 GB" in message
    assert not list(Path("data").rglob("*px.pt"))
    image_data.check_memory(10_000, "photos", 224)
    assert "10,000 images of photos at 224 x 224 pixels take 1.5 GB of memory." in capsys.readouterr().err
    image_data.check_memory(1000, "photos", 224)
    assert not capsys.readouterr().err
    assert environment.memory_gb() > 0.1


def test_every_command_with_a_folder_of_images_takes_labels():
    for command in COMMANDS.values():
        names = option_fields(command.options)
        assert ("labels" in names) == ("image_folder" in names)
