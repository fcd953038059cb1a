"""Networks of the architectures that a search finds: building, training, keeping and exporting them."""

from networks.trained import load_network

__all__ = ["load_network"]
