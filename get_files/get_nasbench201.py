"""Fetch the official NAS-Bench-201 file (4.7 GB), as `main.py get-files nasbench201` does; its table is shipped."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["get-files", "nasbench201"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
