"""The limits of a search: the largest cost that a candidate may have."""

from typing import Any

import torch

from metad2a.core.errors import UserError
from metad2a.searches.options import SearchOptions
from metad2a.spaces.base import COST_UNITS, DEVICE_LATENCY, SearchSpace

FLAGS = {"flops": "--max-flops (--bound)", "params": "--max-params", DEVICE_LATENCY: "--max-latency"}


class Limits:
    """What candidates for a dataset of `num_classes` cost, and the most they may; false without a limit."""

    def __init__(self, options: SearchOptions, space: SearchSpace, num_classes: int):
        """Check that some architecture is within the limits.

        Raises:
            UserError: none of the space is, the space knows no costs, or the device is not known.
        """
        self.space, self.num_classes = space, num_classes
        self.limits, self.device = options.limits, options.device_latency
        if DEVICE_LATENCY in self.limits and self.device is None:
            raise UserError(f"{self} is of a device: name it, for example with --device-latency pixel3.")
        self.measured = space.device_latency(self.device) if self.device else {}
        smallest = space.smallest_cost(num_classes) if self.limits.keys() & COST_UNITS.keys() else {}
        if self.measured:
            smallest[DEVICE_LATENCY] = min(self.measured.values())
        units = COST_UNITS | {DEVICE_LATENCY: f"ms on {self.device}"}
        self.smallest = " and ".join(f"{smallest[name]:.6g} {units[name]}" for name in self.limits if name in smallest)
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
        return " and ".join(f"{FLAGS[name]} {limit:g}" for name, limit in self.limits.items())

    def cost(self, arch: Any) -> dict[str, float]:
        """The space's costs of an architecture, and its latency on the device."""
        measured = {DEVICE_LATENCY: self.measured[self.space.to_text(arch)]} if self.measured else {}
        return self.space.cost(arch, self.num_classes) | measured

    def allow(self, arch: Any) -> bool:
        """Tell whether an architecture may be a candidate."""
        cost = self.cost(arch) if self.limits else {}
        return all(cost[name] <= limit for name, limit in self.limits.items())

    def listed(self) -> list[int]:
        """Numbers of the architectures within the limits; only the cheapest of those that compute the same function.

        Raises:
            UserError: there is none, or the space cannot be listed.
        """
        archs = self.space.all_architectures()
        found = self.space.cheapest_members(torch.tensor([self.allow(arch) for arch in archs]) if self else None)
        if not found:
            raise self._none_of(self.space.name)
        return found

    def select(self, archs: list[Any], source: str) -> list[Any]:
        """Return those of `archs` that are within the limits. Raises a UserError when none is."""
        kept = [arch for arch in archs if self.allow(arch)]
        if not kept:
            raise self._none_of(source)
        return kept

    def _none_of(self, source: str) -> UserError:
        return UserError(
            f"{self}: none of the architectures of {source} is that small. Raise the limit; the smallest of "
            f"{self.space.name} have {self.smallest}."
        )
