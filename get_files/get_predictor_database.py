"""Fetch the MobileNetV3 predictor's database, which is not published: `main.py get-files predictor-database`."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "predictor-database"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
