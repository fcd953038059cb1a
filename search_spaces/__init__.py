"""Architecture search spaces: data and pure conversions. `get(name)` is the only door."""

from functools import cache
from pkgutil import resolve_name

from engine.errors import UserError
from engine.options import SEARCH_SPACES
from search_spaces.base import COST_UNITS, SearchSpace, Sizes

__all__ = ["COST_UNITS", "NAMES", "SearchSpace", "Sizes", "get"]

NAMES = SEARCH_SPACES.keys()


@cache
def get(name: str) -> SearchSpace:
    """The search space called `name`, one of `NAMES`.

    Raises:
        UserError: there is no such space.
    """
    if name not in NAMES:
        raise UserError(f"Unknown search space {name!r}: choose one of {', '.join(NAMES)}.")
    return resolve_name(SEARCH_SPACES[name])()
