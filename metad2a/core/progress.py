"""Progress bars, only for terminals."""

import os
from typing import Any

from tqdm import tqdm


def progress(*args: Any, **options: Any) -> tqdm:
    """A bar of `tqdm` with its arguments. It stays away from logs: nothing is written without a terminal."""
    hidden = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(*args, disable=True if hidden else None, **options)
