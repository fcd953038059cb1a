"""Every search method on images, each with the same budget: python benchmarks/rivals_real.py --data-name cifar10

Options as of `main.py --model compare --form real`. The results are copied to
benchmarks/results/rivals_real_<dataset>.json.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.core.cli import run_options
from metad2a.core.files import ROOT
from metad2a.rivals.cost import REAL
from metad2a.rivals.options import CompareOptions
from metad2a.rivals.real_compare import compare_real

RESULTS = ROOT / "benchmarks" / "results"


def measure(options: CompareOptions) -> None:
    shutil.copy(compare_real(replace(options, form=REAL)), RESULTS / f"rivals_real_{options.data_name}.json")


if __name__ == "__main__":
    sys.exit(run_options(__doc__ or "", CompareOptions, measure, [*sys.argv[1:], "--form", REAL]))
