"""Gray images deeper than 8 bits: which of their values are black and white.

A file says it by its bits for each pixel, if these are at most 16 without a sign. Other files (32 bits, signed or
floating-point numbers) do not say it. They are scaled by the range of all training images of their dataset, and never
by their own. So are files of which all use less than a sixteenth of what they state, such as 10-bit images in 16-bit
files, which would become black.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from metad2a.core.schema import Number
from metad2a.data.fingerprints import remembered
from metad2a.data.folders import extensions
from metad2a.data.image_source import Gray, open_image

DEEP_MODES = ("I", "F")  # and all whose names begin with I;16
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF files
WHITE_IS_ZERO, UNSIGNED = 0, 1  # values of the latter two
# Formats whose gray values have at most 8 bits
SHALLOW_FORMATS = ("JPEG", "GIF", "BMP", "WEBP", "AVIF", "QOI")
SLACK = 1.01  # values may be beyond white by this factor, as rounding leaves them
FEW_LEVELS = 16
Range = tuple[float, float]


def is_deep(image: Image.Image) -> bool:
    return image.mode in DEEP_MODES or image.mode.startswith("I;16")


def stated_bits(image: Image.Image) -> int | None:
    """How many bits a file says that its gray values have, None if that does not tell which value is white."""
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
    if image.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow minds it up to 8 bits
        values = 2 ** (stated_bits(image) or 16) - 1 - values
    return np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values


def to_bytes(values: np.ndarray, bits: int | None, gray: Gray | None) -> np.ndarray:
    """Values to uint8: by their stated bits, else by the scale `gray`, else by their own."""
    if bits and not (gray and gray.stated):
        return (values.astype(np.int64) >> (bits - 8) if bits > 8 else values).clip(0, 255).astype(np.uint8)
    low, high = (gray and gray[:2]) or widest([_extremes(values)]) or (0.0, 255.0)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.nan_to_num(scaled, posinf=255, neginf=0)).clip(0, 255).astype(np.uint8)


def levels_text(values: np.ndarray, shown: np.ndarray) -> str:
    """What is lost if few of the 256 levels of gray are used, "" if nothing is."""
    used = len(np.unique(shown))
    there = len(np.unique(values)) if used < FEW_LEVELS else 0
    return f"{there} gray values become {used}" if there >= 2 * used else ""


def gray_of(files: Sequence[Path], data_path: str | Path | None) -> Gray | None:
    """The scale of a dataset's deep gray images, by its training images; None if all files say it."""
    wanted = [path for path in files if _may_be_deep(path)]
    if not wanted:
        return None
    found = remembered(data_path, "gray", wanted, list[tuple[Number, Number, bool]], lambda: [*_gray_of(wanted)])
    return Gray(*found[0]) if found and found[0][0] < found[0][1] else None


def _gray_of(files: Sequence[Path]) -> Iterator[Gray]:
    """The scale, if there is one."""
    seen = [each for path in files if (each := _seen(path))]
    stated = [(bits, extremes) for bits, extremes in seen if bits]
    narrow = bool(stated) and max(high / 2**bits for bits, (_, high) in stated) < 1 / FEW_LEVELS
    if scale := widest(extremes for bits, extremes in seen if narrow or not bits):
        yield Gray(*scale, narrow)


def _may_be_deep(path: Path) -> bool:
    """Whether a file may have gray values of more than 8 bits, without opening it as an image."""
    if extensions().get(path.suffix.lower()) != "PNG":
        return extensions().get(path.suffix.lower()) not in SHALLOW_FORMATS
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(26)
    except OSError:
        return False
    return start[12:16] != b"IHDR" or start[24:26] == b"\x10\0"  # 16 bits, gray


def _seen(path: Path) -> tuple[int, Range] | None:
    """The stated bits (0 for none) and the extremes of a deep gray image, None for other files."""
    try:
        with open_image(path) as image:
            if not is_deep(image):
                return None
            image.load()
            extremes = _extremes(gray_values(image))
            return extremes and (stated_bits(image) or 0, extremes)
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


def gray_text(gray: Gray | None) -> str:
    """What happens to gray images on a scale of their dataset, as words of a list; "" if there were none."""
    if not gray:
        return ""
    which = "gray of more than 8 bits" if gray.stated else "gray of 32 bits, or signed,"
    return f"{which} from {gray.low:g}..{gray.high:g} to 0..255, "
