"""Fetch the authors' MobileNetV3 generator, or with --search-space nasbench201 the other one."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "generator-checkpoint", "--search-space", "ofa_mbv3"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
