"""Propose neural architectures for a dataset. `search`, `train` and `predict` do from Python what the commands do."""

import sys

__all__ = ["Found", "Trained", "__version__", "predict", "search", "train"]

if sys.version_info < (3, 11, 4):  # before the import of anything that an older Python cannot parse
    sys.stderr.write(f"error: MetaD2A needs Python 3.11.4 or later; this is {sys.version.split()[0]}.\n")
    sys.exit(2)

from metad2a.api import Found, Trained, predict, search, train
from metad2a.core.version import __version__
