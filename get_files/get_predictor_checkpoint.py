"""Fetch the authors' predictor checkpoint."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.data.download import main
from metad2a.data.manifest import PREDICTOR_CHECKPOINT

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda space: [PREDICTOR_CHECKPOINT[space]], ("nasbench201", "ofa_mbv3")))
