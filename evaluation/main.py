"""The published way to type `main.py finetune`."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["finetune"]
runpy.run_path(str(Path(__file__).resolve().parents[1] / "main.py"), run_name="__main__")
