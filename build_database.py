"""The published way to type `main.py build-database --search-space ofa_mbv3`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from metad2a.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["build-database", "--search-space", "ofa_mbv3", *sys.argv[1:]]))
