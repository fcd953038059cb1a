"""Fetch the authors' database of the MobileNetV3 generator."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.data.download import main
from metad2a.data.manifest import GENERATOR_DATABASE

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda space: [GENERATOR_DATABASE]))
