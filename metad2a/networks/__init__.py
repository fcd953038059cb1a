"""Networks of the architectures that a search finds: building, training, keeping and exporting them."""

from typing import Any

__all__ = ["load_network"]


def __getattr__(name: str) -> Any:
    """`load_network`, imported when it is asked for: PyTorch takes seconds."""
    if name == "load_network":
        from metad2a.networks.trained import load_network

        return load_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
