"""Fetch the weights of the published Once-for-All supernet, as `main.py get-files ofa-supernet` does."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "ofa-supernet"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
