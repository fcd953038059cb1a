"""Turn images into features, as `main.py process-dataset` does."""

import runpy
import sys
from pathlib import Path

sys.argv[1:1] = ["process-dataset"]
runpy.run_path(str(Path(__file__).resolve().parent / "main.py"), run_name="__main__")
