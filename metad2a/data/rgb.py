"""Images of any mode as upright RGB."""

from typing import Any

import numpy as np
from PIL import Image

from metad2a.data.gray import gray_values, is_deep, levels_text, stated_bits, to_bytes
from metad2a.data.image_source import Gray

ORIENTATION = 0x0112  # EXIF tag of how to turn an image, 1 for not at all
TURNS = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))


def to_rgb(image: Image.Image, gray: Gray | None = None) -> Image.Image:
    """Any mode to RGB, turned as its EXIF data say. Transparency becomes white. Deep gray is scaled as its file says,
    else from the range `gray`, else from its own range."""
    return rgb_and_loss(image, gray)[0]


def rgb_and_loss(image: Image.Image, gray: Gray | None) -> tuple[Image.Image, str]:
    """`to_rgb`, and what of the image is lost if it has few levels of gray."""
    clear, lost = _transparent_colour(image), ""
    image.load()
    if is_deep(image):
        values = gray_values(image)
        shown = to_bytes(values, stated_bits(image), gray)
        lost = levels_text(values, shown)
        if clear is not None:
            shown = np.where(values == clear, np.uint8(255), shown)
        image = _upright(image, Image.fromarray(shown))
    else:
        if clear is not None:
            image.info["transparency"] = clear
        image = _upright(image, image)
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), lost


def _transparent_colour(image: Image.Image) -> Any:
    """The transparent colour of an image that is not loaded yet, in the units of its pixels; None if it has none."""
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and any(str(tile[3]).endswith("16B") for tile in getattr(image, "tile", ())):
        return tuple(value >> 8 for value in clear)  # Pillow gives the pixels 8 bits, but not this colour
    return clear


def _upright(image: Image.Image, pixels: Image.Image) -> Image.Image:
    """`pixels` turned as the EXIF data of `image` say. (`ImageOps.exif_transpose` also writes the data anew, which can
    fail.)"""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 0))
    except Exception:  # damaged EXIF data are ignored
        return pixels
    return pixels if turn is None else pixels.transpose(turn)
