"""Fetch the authors' features, databases and table, as `main.py get-files preprocessed-data` does."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "preprocessed-data"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
