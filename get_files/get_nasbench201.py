"""Fetch the official NAS-Bench-201 file (4.7 GB); the table made from it is shipped."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from get_files.download import main
from get_files.manifest import NASBENCH201_BENCHMARK

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda space: [NASBENCH201_BENCHMARK]))
