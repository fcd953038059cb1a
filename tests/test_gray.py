"""Gray images deeper than 8 bits: by the bits that their files state, else by one scale for the dataset."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import SMALL
from PIL import Image

from metad2a.data.datasets import open_dataset
from metad2a.data.gray import widest
from metad2a.data.image_data import load_image_data
from metad2a.data.reading import decode, read_rgb
from metad2a.data.rgb import to_rgb
from metad2a.networks.card import facts
from metad2a.networks.trained import TrainedNetwork, load_network

RAMP = np.arange(256).reshape(16, 16)


def write_deep(folder, values, suffix="tif", classes=("a", "b")):
    """A class for each of `classes` with an image of each of `values`."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(values):
            Image.fromarray(image).save(folder / name / f"{i}.{suffix}")
    return folder


def shown(folder, number=0):
    return np.asarray(read_rgb(open_dataset("mine", folder, "all", "data", None), number))[..., 0].astype(int)


def levels(image):
    return len(np.unique(image))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_sixteen_bits_are_what_the_file_says(tmp_path, suffix):
    """Also if an image has dark pixels only."""
    folder = write_deep(tmp_path, [(RAMP * 257).astype(np.uint16), (RAMP * 4).astype(np.uint16)], suffix)
    assert np.abs(shown(folder, 0) - RAMP).max() <= 1
    assert np.abs(shown(folder, 1) - RAMP * 4 // 256).max() <= 1


@pytest.mark.parametrize(("factor", "top"), [(1, 255), (4, 1023), (16, 4095)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_files_that_all_use_few_of_their_bits_share_the_scale_of_the_dataset(tmp_path, command, suffix, factor, top):
    dark = (RAMP * factor).clip(0, top)
    folder = write_deep(tmp_path / "images", [dark.astype(np.uint16), (dark // 2).astype(np.uint16)] * 5, suffix)
    assert np.abs(shown(folder, 0) - RAMP).max() <= 1
    assert np.abs(shown(folder, 1) - RAMP / 2).max() <= 1
    code, _, err = command(f"process-dataset --dataset mine --image-folder {folder}")
    assert code == 0
    assert f"use a small part of the bits that their files state. In all of them 0 becomes black and {top} white" in err


def write_tiff(path, packed, bits, photometric=1):
    """A gray TIFF file of 16 x 16 pixels, byte by byte."""
    tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 16, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.parent.mkdir()
    start = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed
    path.write_bytes(start + struct.pack("<H", len(tags)) + entries + bytes(4))


def test_twelve_bits_of_a_tiff_file_are_what_the_file_says(tmp_path):
    values = np.arange(0, 4096, 16)
    packed = bytearray()
    for a, b in values.reshape(-1, 2).tolist():
        packed += bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
    write_tiff(tmp_path / "a" / "x.tif", packed, 12)
    assert np.array_equal(shown(tmp_path), RAMP)


def test_a_tiff_file_may_say_that_zero_is_white(tmp_path):
    write_tiff(tmp_path / "a" / "x.tif", (RAMP * 257).astype("<u2").tobytes(), 16, photometric=0)
    assert np.array_equal(shown(tmp_path), 255 - RAMP)


@pytest.mark.parametrize(
    ("top", "dtype"),
    [(256, np.int32), (300, np.int32), (1023, np.int32), (4095, np.int32), (70_000, np.int32), (1.0001, np.float32),
     (2.5, np.float32), (300, np.float32), (0.01, np.float32)],
)  # fmt: skip
def test_one_bright_pixel_of_a_dataset_turns_nothing_black(tmp_path, top, dtype):
    """Each image is scaled as the brightest, and keeps at least 100 levels."""
    whole = (np.linspace(0, min(top, 255) if top > 200 else 1 if top < 2 else top, 256) if top <= 300 else
             np.linspace(0, top, 256)).reshape(16, 16)  # fmt: skip
    whole = whole * 0.01 if top == 0.01 else whole
    bright = whole.copy()
    bright[0, 0] = top
    folder = write_deep(tmp_path, [whole.astype(dtype), bright.astype(dtype), (whole / 2).astype(dtype)])
    first, second, half = (shown(folder, i) for i in range(3))
    assert levels(first) > 100
    assert (first != second).sum() <= 1
    assert np.abs(half - first / 2).max() <= 1.5


def test_negative_values_and_what_is_no_number(tmp_path):
    values = np.linspace(-1000, 1000, 256).reshape(16, 16).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    image = shown(write_deep(tmp_path, [values]))
    assert image[0, :3].tolist() == [128, 255, 0]
    assert levels(image) > 200
    zeros, below = np.zeros((4, 4), np.float32), np.full((4, 4), -3, np.float32)
    assert shown(write_deep(tmp_path / "zeros", [zeros])).max() == 0
    assert shown(write_deep(tmp_path / "below", [below])).max() < 255


def test_round_ranges():
    assert widest([]) is widest([None]) is None
    cases = {(0, 248): (0, 255), (3, 256): (0, 255), (0, 300): (0, 511), (0, 1.0001): (0, 1), (0, 0.3): (0, 0.5),
             (-2, 5): (-2, 8), (0, 0): (0, 1), (0, 2**31 - 1): (0, 2**31 - 1), (-3, -1): (-4, 0)}  # fmt: skip
    assert {given: widest([given]) for given in cases} == cases


@pytest.mark.parametrize("mode", ["gray", "colour"])
def test_the_transparent_colour_of_a_16_bit_png_is_laid_on_white(tmp_path, mode):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = 1 if mode == "gray" else 3
    pixels = struct.pack(f">{2 * size}H", *[0x1234] * size, *[0x8000] * size)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 0 if mode == "gray" else 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(f">{size}H", *[0x1234] * size)),
              (b"IDAT", zlib.compress(b"\0" + pixels)), (b"IEND", b"")]  # fmt: skip
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))
    with Image.open(tmp_path / "x.png") as image:
        assert np.asarray(to_rgb(image))[0].tolist() == [[255] * 3, [128] * 3]


def test_few_levels_of_gray_are_warned_of(tmp_path, command):
    folder = write_deep(tmp_path / "images", [(RAMP * k).astype(np.uint16) for k in (4, 4, 4, 257)], "png")
    code, _, err = command(f"process-dataset --dataset mine --image-folder {folder} --split all")
    assert code == 0
    assert "6 of 8 images of mine keep few levels of gray" in err
    assert "256 gray values become 4" in err
    folder = write_deep(tmp_path / "whole", [(RAMP * 257).astype(np.uint16)] * 4, "png")
    assert "keep few levels" not in command(f"process-dataset --dataset whole --image-folder {folder} --split all")[2]


def test_the_scale_goes_with_the_network_and_prediction_uses_it(tmp_path, command):
    """Dark and bright images differ in brightness only: scaled one by one they would be the same."""
    ramps = np.random.default_rng(0).integers(200, 256, (10, 16, 16)).astype(np.float32)
    write_deep(tmp_path / "images", list(ramps * 4), classes=("bright",))
    write_deep(tmp_path / "images", list(ramps), classes=("dark",))
    folder = tmp_path / "images"
    line = f"--gpu cpu --data-name mine --image-folder {folder} --epochs 6 --num-runs 1 --batch-size 16"
    code, _, err = command(f"train --arch {SMALL} {line}")
    assert code == 0, err
    [path] = Path("results").rglob("network.pt")
    trained = TrainedNetwork.read(path)
    assert trained.gray == load_network(path).gray == (0, 1023, False)
    assert "signed, from 0..1023 to 0..255" in facts(trained)["preprocessing"]
    images = load_image_data("mine", str(folder), "data", 333).train
    assert images.pixels[images.labels == 1].max() <= 64
    for name in ("bright", "dark"):
        code, out, _ = command(f"predict --network {path} --images {folder}/{name}/3.tif --gpu cpu")
        assert code == 0
        assert name in out.split("%")[1]
    Image.fromarray((RAMP * 1000 + 2000).astype(np.int32)).save("white.tif")
    _, _, err = command(f"predict --network {path} --images white.tif --gpu cpu")
    assert "white.tif: 256 gray values become 1. They" in err
    assert "or lie outside this range" in err
    value = torch.load(path, weights_only=True)
    del value["gray"]  # as files of earlier versions
    torch.save(value, "old.pt")
    assert load_network("old.pt").gray is None
    assert decode(open_dataset("mine", folder, "test", "data", None))[0].max() > 200


def test_the_test_part_takes_the_scale_of_the_training_part(tmp_path):
    write_deep(tmp_path / "train", [RAMP.astype(np.int32)] * 3)
    write_deep(tmp_path / "test", [(RAMP * 8).astype(np.int32)])
    image = np.asarray(read_rgb(open_dataset("mine", tmp_path, "test", "data", None), 0))[..., 0]
    assert np.array_equal(image, (RAMP * 8).clip(0, 255))
