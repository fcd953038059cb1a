"""Progress bars on terminals."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress(*args: Any, **options: Any) -> "tqdm":
    """A `tqdm` bar that writes only to terminals, and nothing if the environment sets TQDM_DISABLE."""
    from tqdm import tqdm  # takes as long to import as a whole ranking

    hidden = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(*args, disable=True if hidden else None, **options)
