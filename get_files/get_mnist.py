"""Fetch MNIST, as `main.py get-files mnist` does."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "mnist"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
