"""Sizes of the networks of a space."""

from typing import Annotated

from annotated_types import Gt, Le
from typing_extensions import TypedDict

from metad2a.core.schema import Number, Size


class Sizes(TypedDict, total=False):
    """Sizes of a space's networks: side of their images in pixels, and channels relative to the space's default."""

    image_size: Annotated[Size, Le(4096)]
    width_mult: Annotated[Number, Gt(0), Le(16)]
