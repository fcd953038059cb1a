"""Fetch the official NAS-Bench-201 file (4.7 GB); the table made from it is shipped."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.data.download import main
from metad2a.data.manifest import NASBENCH201_BENCHMARK

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda space: [NASBENCH201_BENCHMARK]))
