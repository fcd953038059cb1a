"""Fetch the weights of the Once-for-All MobileNetV3 supernet."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.data.download import main
from metad2a.data.manifest import OFA_SUPERNET

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda space: [OFA_SUPERNET]))
