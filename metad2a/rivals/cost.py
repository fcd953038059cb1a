"""What a search costs and may cost."""

from dataclasses import dataclass, fields

TABLE, REAL = "table", "real"  # forms: accuracies are looked up, or networks are trained


@dataclass(frozen=True)
class Cost:
    """What a search has cost so far.

    Attributes:
        evaluations: networks measured; one that was measured before costs nothing again.
        epochs: passes over the training images, of all networks and supernets together.
        seconds: of the search on the clock, without what a table spares.
    """

    evaluations: int = 0
    epochs: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Budget:
    """What a search may cost; None for no limit of that kind."""

    evaluations: int | None = None
    epochs: float | None = None
    seconds: float | None = None

    def allows(self, cost: Cost) -> bool:
        """Whether a cost is within each limit."""
        limits = ((getattr(self, f.name), getattr(cost, f.name)) for f in fields(self))
        return all(limit is None or spent <= limit for limit, spent in limits)
