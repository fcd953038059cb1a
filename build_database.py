"""The published way to type `main.py build-database --search-space ofa_mbv3`."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["build-database", "--search-space", "ofa_mbv3"]
runpy.run_path(str(Path(__file__).resolve().parent / "main.py"), run_name="__main__")
