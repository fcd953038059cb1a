"""Turn images into features. `main.py process-dataset` does the same."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from metad2a.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["process-dataset", *sys.argv[1:]]))
