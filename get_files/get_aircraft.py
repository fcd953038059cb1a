"""Fetch and extract FGVC-Aircraft, as torchvision reads it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.data.download import main
from metad2a.data.manifest import AIRCRAFT_RAW

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda space: [AIRCRAFT_RAW]))
