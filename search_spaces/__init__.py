"""Architecture search spaces: data and pure conversions. `get(name)` is the only door."""

from functools import cache
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.options import SEARCH_SPACES as NAMES

if TYPE_CHECKING:
    from search_spaces.base import SearchSpace  # and with it PyTorch, which takes seconds


@cache
def get(name: str) -> "SearchSpace":
    """The search space called `name`, one of `NAMES`.

    Raises:
        UserError: there is no such space.
    """
    if name == "nasbench201":
        from search_spaces.nasbench201.space import NASBench201

        return NASBench201()
    if name == "ofa_mbv3":
        from search_spaces.ofa_mbv3.space import OFAMobileNetV3

        return OFAMobileNetV3()
    raise UserError(f"Unknown search space {name!r}: choose one of {', '.join(NAMES)}.")
