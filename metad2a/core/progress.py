"""Progress bars on terminals."""

import os
from typing import Any

from tqdm import tqdm


def progress(*args: Any, **options: Any) -> tqdm:
    """A `tqdm` bar that writes only to terminals, and nothing if the environment sets TQDM_DISABLE."""
    hidden = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(*args, disable=True if hidden else None, **options)
