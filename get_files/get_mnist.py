"""Fetch MNIST.

`python main.py get-files mnist` does the same.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["get-files", "mnist", *sys.argv[1:]]))
