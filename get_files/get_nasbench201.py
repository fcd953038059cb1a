"""Fetch the official NAS-Bench-201 file (4.7 GB); the table made from it is shipped.

`python main.py get-files nasbench201` does the same.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["get-files", "nasbench201", *sys.argv[1:]]))
