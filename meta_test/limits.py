"""The limits of a search: the largest cost that a candidate may have."""

from typing import Any

from engine.errors import UserError
from meta_test.options import SearchOptions
from search_spaces.base import COST_UNITS, SearchSpace


class Limits:
    """`--max-flops` and `--max-params` for a dataset of `num_classes`; false where neither was given."""

    def __init__(self, options: SearchOptions, space: SearchSpace, num_classes: int):
        """Check that some architecture is within the limits.

        Raises:
            UserError: none of the space is, or the space knows no costs.
        """
        self.space, self.num_classes = space, num_classes
        self.limits = options.limits
        smallest = space.smallest_cost(num_classes) if self.limits else {}
        self.smallest = " and ".join(f"{smallest[n]:.6g} {COST_UNITS[n]}" for n in self.limits if n in smallest)
        for name, limit in self.limits.items():
            if name not in smallest:
                raise UserError(f"--max-{name}: costs are not known for the search space {space.name}.")
            if limit < smallest[name]:
                raise UserError(
                    f"{self}: no architecture of {space.name} is that small; the smallest there are have "
                    f"{self.smallest}."
                )

    def __bool__(self) -> bool:
        return bool(self.limits)

    def __str__(self) -> str:
        """The limits as messages name them."""
        names = {"flops": "--max-flops (--bound)", "params": "--max-params"}
        return " and ".join(f"{names[name]} {limit:g}" for name, limit in self.limits.items())

    def allow(self, arch: Any) -> bool:
        """Tell whether an architecture may be a candidate."""
        cost = self.space.cost(arch, self.num_classes) if self.limits else {}
        return all(cost[name] <= limit for name, limit in self.limits.items())

    def select(self, archs: list[Any], source: str) -> list[Any]:
        """Return those of `archs` that are within the limits. Raises a UserError when none is."""
        kept = [arch for arch in archs if self.allow(arch)]
        if not kept:
            raise UserError(
                f"{self}: none of the architectures of {source} is that small. Raise the limit; the smallest "
                f"of {self.space.name} have {self.smallest}."
            )
        return kept
