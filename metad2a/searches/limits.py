"""The limits of a search: the largest cost that a candidate may have."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from metad2a.core.errors import UserError
from metad2a.searches.options import SessionOptions
from metad2a.spaces.base import COST_UNITS, DEVICE_LATENCY, SearchSpace

FLAGS = {"flops": "--max-flops (--bound)", "params": "--max-params", DEVICE_LATENCY: "--max-latency"}


def within(cost: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether every limited cost is known and within its limit."""
    return all(cost.get(name, math.inf) <= limit for name, limit in limits.items())


class Limits:
    """What candidates for a dataset of `num_classes` cost, and the most they may cost; false without a limit. Raises a
    UserError if no architecture is within the limits, the space knows no costs, or the device is unknown."""

    def __init__(self, options: SessionOptions, space: SearchSpace, num_classes: int):
        self.space, self.num_classes = space, num_classes
        self.limits, device = options.limits, options.device_latency
        self.measured = space.device_latency(device) if device else {}
        smallest = space.smallest_cost(num_classes) if self.limits.keys() & COST_UNITS.keys() else {}
        if self.measured:
            smallest[DEVICE_LATENCY] = self._latencies()[space.all_can_learn()].min().item()
        units = COST_UNITS | {DEVICE_LATENCY: f"ms on {device}"}
        self.smallest = " and ".join(f"{smallest[name]:.6g} {units[name]}" for name in self.limits if name in smallest)
        for name, limit in self.limits.items():
            if name not in smallest:
                raise UserError(f"{FLAGS[name]}: costs of {space.name} are unknown. Leave this option out.")
            if limit < smallest[name]:
                raise self._none_of(space.name)

    def _latencies(self) -> np.ndarray:
        """Milliseconds (A,) of all architectures on the device."""
        return np.array([self.measured[self.space.to_text(arch)] for arch in self.space.all_architectures()])

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
        """Tell whether an architecture may be a candidate: it is within the limits, and it can learn."""
        cost = self.cost(arch) if self.limits else {}
        return self.space.can_learn(arch) and within(cost, self.limits)

    def listed(self) -> list[int]:
        """Numbers of the architectures within the limits; only the cheapest of those that compute the same function.
        Raises a UserError if there is none, or the space cannot be listed."""
        allowed = self.space.all_can_learn()
        if self.limits:
            costs = self.space.costs_of_all(self.num_classes)
            costs |= {DEVICE_LATENCY: self._latencies()} if self.measured else {}
            for name, limit in self.limits.items():
                allowed = allowed & (costs[name] <= limit)
        members = self.space.cheapest_members(allowed)
        if not members:
            raise self._none_of(self.space.name)
        return members

    def select(self, archs: list[Any], source: str) -> list[Any]:
        """The architectures within the limits. Raises a UserError that names `source` if there are none."""
        kept = [arch for arch in archs if self.allow(arch)]
        if not kept:
            raise self._none_of(source)
        return kept

    def _none_of(self, source: str) -> UserError:
        return UserError(
            f"{self}: no architecture of {source} meets this limit. Raise the limit; the smallest of "
            f"{self.space.name} have {self.smallest}."
        )
