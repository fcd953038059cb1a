"""Progress bars, which are for terminals alone."""

import os
from typing import Any

from tqdm import tqdm


def progress(*args: Any, hidden: bool = False, **options: Any) -> tqdm:
    """A bar of `tqdm` with its arguments that stays away from logs: nothing is written where there is no terminal.

    Args:
        hidden: no bar at all.
    """
    hidden = hidden or os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(*args, disable=True if hidden else None, **options)
