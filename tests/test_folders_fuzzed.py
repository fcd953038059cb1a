"""Random folders and images: each file is used as a reference decodes it, or it is accounted for by its name."""

import csv
import io
import logging
import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.fuzzing import fuzzed
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.data.datasets import open_dataset
from metad2a.data.folders import NEVER_OPENED, extensions, scan
from metad2a.data.image_source import open_image
from metad2a.data.reading import decode, read_rgb
from metad2a.data.rgb import to_rgb

pytestmark = pytest.mark.usefixtures("silent")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F")
DEEP = {"I;16": np.uint16, "I": np.int32, "F": np.float32}


@pytest.fixture
def silent():
    """Hundreds of folders have too much to say."""
    before = log.level
    log.setLevel(logging.ERROR)
    yield
    log.setLevel(before)


def make_image(mode, seed, top=255, size=(8, 8)):
    """A random image of a mode; deep ones have values from 0 to `top`."""
    rng = np.random.default_rng(seed)
    if mode in DEEP:
        values = rng.random(size[::-1]) * top
        values[0, 0] = top
        return Image.fromarray(values.astype(DEEP[mode]))
    rgba = Image.fromarray(rng.integers(0, 256, (*size[::-1], 4), dtype=np.uint8), "RGBA")
    if mode in ("LAB", "HSV", "YCbCr", "CMYK"):
        bands = len(Image.new(mode, (1, 1)).getbands())
        return Image.merge(mode, rgba.split()[:bands])
    return rgba.quantize(16) if mode == "P" else rgba.convert(mode)


def stated(image):
    return image.mode == "I;16" or (image.mode == "I" and image.format in ("PPM", "PNG"))


def reference(image, top):
    """RGB by Pillow's own conversion, on white; deep gray by the rule, written plainly. `top` is the highest value of
    all images whose files do not say it."""
    image.load()
    if image.mode in DEEP and not stated(image):
        white = 2.0 ** math.ceil(math.log2(top / 1.01)) if top > 0 else 1.0
        if white >= 256 and top <= (white - 1) * 1.01:
            white -= 1
        gray = np.asarray(image).astype(float) / white * 255
    elif image.mode in DEEP:
        gray = np.asarray(image).astype(int) // 256
    else:
        image = ImageOps.exif_transpose(image)
        if "transparency" in image.info or "A" in image.getbands():
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return np.asarray(image.convert("RGB")).astype(int)
    return np.repeat(np.clip(gray, 0, 255)[..., None], 3, axis=2)


WRITTEN = sorted({name for name in extensions().values() if name in Image.SAVE})


@pytest.mark.parametrize("name", WRITTEN)
@fuzzed(25)
@given(mode=st.sampled_from(MODES), seed=st.integers(0, 99), top=st.sampled_from([1, 255, 300, 65535]))
def test_no_image_that_pillow_writes_is_misread(name, mode, seed, top):
    suffix = next(suffix for suffix, own in extensions().items() if own == name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "class" / f"x{suffix}"
        path.parent.mkdir()
        try:
            make_image(mode, seed, top).save(path, name)
            expected = reference(Image.open(path), top)
        except (OSError, ValueError, KeyError, SystemError, AttributeError):
            return  # the format has no such mode, or Pillow cannot convert it
        with Image.open(path) as image:
            image.load()
            if image.mode in DEEP and stated(image) and top < 4096:
                return  # all files use few of their bits
        source = open_dataset("mine", folder, "all", folder, None)
        assert source.files == [path]
        assert np.abs(np.asarray(read_rgb(source, 0)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_shallow_gray_and_palettes_are_pillows(bits):
    for mode in ("L", "P"):
        image = Image.fromarray((np.arange(64).reshape(8, 8) % 2**bits).astype(np.uint8), mode)
        image.putpalette(bytes(range(255, -1, -1)) * 3) if mode == "P" else None
        buffer = io.BytesIO()
        image.save(buffer, "PNG", bits=bits, transparency=0)
        with Image.open(buffer) as written:
            assert np.array_equal(np.asarray(to_rgb(written)), reference(Image.open(buffer), 0))


def test_formats_that_start_programs_or_cannot_be_decoded_are_never_opened(tmp_path):
    for suffix, name in Image.registered_extensions().items():
        if name in NEVER_OPENED and name in Image.SAVE:
            path = tmp_path / f"x{suffix}"
            try:
                make_image("RGB", 0).save(path, name)
            except (OSError, ValueError):
                continue  # Pillow knows only how others would write it
            assert path not in scan(tmp_path)
            with pytest.raises(OSError, match="cannot identify"):
                open_image(path.rename(tmp_path / "x.jpg"))


FOLDERS = ("sub", "more of them", ".hidden", "@eaDir", "__MACOSX", ".ipynb_checkpoints", "Train")
NAMES = ("a", "b", "1.5", ".dot", "._a", "Thumbs.db", "ä", "a~", "x.tar", " space")
SUFFIXES = ("", ".png", ".jpg", ".JPEG", ".tif", ".txt", ".heic", ".bak", ".nef", ".tga", ".xyz", ".pgm")
KINDS = ("JPEG", "PNG", "TIFF", "GIF", "PPM", "TGA", "text", "cut", "empty", "link", "folder link", "pipe")
NODE = st.tuples(
    st.sampled_from(("cat", "dog", "")),  # class, or beside the classes
    st.lists(st.sampled_from(FOLDERS), max_size=3),
    st.sampled_from(NAMES),
    st.sampled_from(SUFFIXES),
    st.sampled_from(KINDS),
    st.sampled_from(MODES),
    st.integers(0, 9),
)


def plant(root, node, made):
    """Make a file or link; `made` are the earlier ones."""
    label, folders, name, suffix, kind, mode, seed = node
    folder = root / label / Path(*folders)
    path = folder / (name + suffix)
    if any(place.is_file() for place in (folder, *folder.parents)) or os.path.lexists(path):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "text":
        path.write_text("P6 no image")
    elif kind == "empty":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(made[seed % len(made)] if made else "nowhere")
    elif kind == "folder link":
        path.symlink_to([folder, root, root / "cat", root / "elsewhere"][seed % 4], target_is_directory=True)
    else:
        buffer = io.BytesIO()
        try:
            make_image(mode, seed, 60_000).save(buffer, kind if kind != "cut" else "PNG")
        except (OSError, ValueError, KeyError):
            make_image("RGB", seed).save(buffer, kind if kind != "cut" else "PNG")
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // (2 if kind == "cut" else 1)])
    made.append(path)


def every_file(root):
    """All files, and all links, by walking without following links."""
    for folder, folders, files in os.walk(root):
        yield from (Path(folder) / name for name in files)
        yield from (path for name in folders if (path := Path(folder) / name).is_symlink())


def highest(paths):
    """The highest value of the images whose files do not say what is white."""
    top = 0.0
    for path in paths:
        try:
            with open_image(path) as image:
                image.load()
                if image.mode in DEEP and not stated(image):
                    top = max(top, float(np.asarray(image).max()))
        except Exception:  # whatever a decoder raises
            continue
    return top


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and links")
@fuzzed(120)
@given(nodes=st.lists(NODE, max_size=14))
@example(nodes=[("cat", [], "a", "", "folder link", "L", 1), ("cat", [], "b", "", "folder link", "L", 2)])
@example(nodes=[("cat", ["sub"] * 3, "a", ".png", "PNG", "I;16", 0), ("", [], "b", ".png", "PNG", "L", 0)])
def test_every_file_is_used_as_a_reference_decodes_it_or_is_accounted_for(nodes):
    with tempfile.TemporaryDirectory() as place:
        root, made = Path(place) / "photos", []
        for label in ("cat", "dog"):
            for i in range(40):
                plant(root, (label, [], f"own{i}", ".png", "PNG", "RGB", i), [])
        (root.parent / "elsewhere").mkdir()
        make_image("L", 0).save(root.parent / "elsewhere" / "far.png")
        for node in nodes:
            plant(root, node, made)
        source = open_dataset("mine", root, "all", place, None)
        files = set(every_file(root))
        followed = {path for path in files if path.is_symlink() and path.is_dir() and path not in source.left_out}
        used = set(source.files)
        assert used.isdisjoint(source.left_out)
        assert files <= used | set(source.left_out) | followed
        assert len(source.files) == len(used)
        assert not any(part.startswith(".") or part == "@eaDir" for p in used for part in p.relative_to(root).parts)
        top, unreadable = highest(source.files), set()
        for number, path in enumerate(source.files):
            try:
                with open_image(path) as image:
                    expected = reference(image, top)
            except Exception:  # whatever a decoder raises
                unreadable.add(str(path))
                with pytest.raises(UserError, match="cannot be read"):
                    read_rgb(source, number)
                continue
            assert np.abs(np.asarray(read_rgb(source, number)).astype(int) - expected).max() <= 1, path
        if len(set(source.labels.tolist())) < len(source.class_names):
            with pytest.raises(UserError, match="has no images"):
                decode(source)
            return
        with suppress(UserError):  # too many are unreadable, or all of a class
            decode(source)
        if unreadable or source.left_out:
            with (Path(place) / "mine-left-out.csv").open(newline="") as file:
                named = {row[0] for row in csv.reader(file)}
            assert named == {"file"} | unreadable | {str(path) for path in source.left_out}
