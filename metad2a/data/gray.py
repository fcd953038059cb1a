"""Gray images deeper than 8 bits: which of their values are black and white.

A file says it by its bits for each pixel, if these are at most 16 without a sign. Other files (32 bits, signed or
floating-point numbers) do not say it. They are scaled by the range of all training images of their dataset, and never
by their own.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Len
from PIL import Image

from metad2a.core.schema import Number
from metad2a.data.fingerprints import remembered
from metad2a.data.folders import extensions
from metad2a.data.image_source import Range, open_image

DEEP_MODES = ("I", "F")  # and all whose names begin with I;16
BITS, SAMPLE_FORMAT, UNSIGNED = 258, 339, 1  # tags of TIFF files
# Formats whose gray values are at most 8 bits, or are as deep as the file says
STATED_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "JPEG2000", "QOI")
SLACK = 1.01  # values may be beyond white by this factor, as rounding leaves them
FEW_LEVELS = 16


def is_deep(image: Image.Image) -> bool:
    return image.mode in DEEP_MODES or image.mode.startswith("I;16")


def stated_bits(image: Image.Image) -> int | None:
    """How many bits a file says that its gray values have, None if that does not tell which value is white. For an
    image that is not loaded yet."""
    if image.mode.startswith("I;16") and image.format is not None:
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(BITS, 16)
        return int(bits[0] if isinstance(bits, tuple) else bits)
    if image.mode == "I" and image.format == "PPM":
        return 16  # Pillow scales them by the maximum that the file says
    return 16 if image.mode == "I" and image.format == "PNG" else None


def gray_values(image: Image.Image) -> np.ndarray:
    """The values (H, W) of a loaded deep image as its file means them; 0 stands for what is no number."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(SAMPLE_FORMAT, (0,))[0] == UNSIGNED and tags.get(BITS, (0,))[0] == 32:
        values = values.view(np.uint32)
    return np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values


def to_bytes(values: np.ndarray, bits: int | None, gray: Range | None) -> np.ndarray:
    """Values to uint8: by their stated bits, else by the range `gray`, else by their own."""
    if bits:
        return (values.astype(np.int64) >> (bits - 8) if bits > 8 else values).clip(0, 255).astype(np.uint8)
    low, high = gray or widest([_extremes(values)]) or (0.0, 255.0)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.nan_to_num(scaled, posinf=255, neginf=0)).clip(0, 255).astype(np.uint8)


def levels_text(values: np.ndarray, shown: np.ndarray) -> str:
    """What is lost if few of the 256 levels of gray are used, "" if nothing is."""
    used = len(np.unique(shown))
    there = len(np.unique(values)) if used < FEW_LEVELS else 0
    return f"{there} gray values become {used}" if there >= 2 * used else ""


def range_of(files: Sequence[Path], data_path: str | Path | None) -> Range | None:
    """The gray values that become black and white in a dataset, None if all files say it."""
    wanted = [path for path in files if extensions().get(path.suffix.lower()) not in STATED_FORMATS]
    if not wanted:
        return None
    kind = Annotated[list[Number], Len(0, 2)]
    found = remembered(data_path, "gray", wanted, kind, lambda: [*(widest(map(_range_of_file, wanted)) or ())])
    return (found[0], found[1]) if len(found) == 2 and found[0] < found[1] else None


def _range_of_file(path: Path) -> Range | None:
    try:
        with open_image(path) as image:
            if not is_deep(image) or stated_bits(image):
                return None
            image.load()
            return _extremes(gray_values(image))
    except Exception:  # decoders raise all kinds; whoever reads the image says it
        return None


def _extremes(values: np.ndarray) -> Range | None:
    """The lowest and the highest finite value."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def widest(ranges: Iterable[Range | None]) -> Range | None:
    """The range that holds all values, in round numbers: from 0, or from a negative number, to the next of ..., 0.5, 1,
    2, ..., 128, 255, 511, 1023 and so on. Hence the brightest image uses at least 128 levels."""
    found = [each for each in ranges if each is not None]
    if not found:
        return None
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return 0.0 - _round(-low), _round(high) or (0.0 if low < 0 else 1.0)


def _round(value: float) -> float:
    if value <= 0:
        return 0.0
    bits = math.ceil(math.log2(value / SLACK))
    power = 2.0 ** min(max(bits, -1000), 1000)
    return power - 1 if bits >= 8 and value <= (power - 1) * SLACK else power


def gray_text(gray: Range | None) -> str:
    """What happens to gray images whose files do not say what is white, as words of a list; "" if there were none."""
    return f"gray of 32 bits, or signed, from {gray[0]:g}..{gray[1]:g} to 0..255, " if gray else ""
