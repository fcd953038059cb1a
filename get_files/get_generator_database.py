"""Fetch the authors' database of the MobileNetV3 generator, as `main.py get-files generator-database` does."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "generator-database"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
