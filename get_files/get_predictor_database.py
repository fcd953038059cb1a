"""Fetch the database of the MobileNetV3 predictor, which is not published.

`python main.py get-files predictor-database` does the same.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["get-files", "predictor-database", *sys.argv[1:]]))
