"""Fetch the authors' generator, by default MobileNetV3's: `main.py get-files generator-checkpoint` with another default."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "generator-checkpoint", "--search-space", "ofa_mbv3"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
