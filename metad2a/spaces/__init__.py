"""Architecture search spaces: data and pure conversions. `get(name)` is the only door."""

from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from metad2a.core.errors import UserError
from metad2a.core.options import SEARCH_SPACES

if TYPE_CHECKING:
    from metad2a.spaces.base import SearchSpace  # and with it PyTorch, which takes seconds

NAMES = SEARCH_SPACES.keys()


@cache
def get(name: str) -> "SearchSpace":
    """The search space called `name`, one of `NAMES`. Raises a UserError when there is no such space."""
    if name not in NAMES:
        raise UserError(f"Unknown search space {name!r}: choose one of {', '.join(NAMES)}.")
    return resolve_name(SEARCH_SPACES[name])()
