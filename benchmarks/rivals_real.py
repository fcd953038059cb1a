"""Every search method on images, each with the same budget: python benchmarks/rivals_real.py --data-name cifar10

Options as of `main.py --model compare --form real`. The results are copied to
benchmarks/results/rivals_real_<dataset>.json.
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.rivals.real_options import RealOptions

from metad2a.core.cli import run
from metad2a.core.environment import choose_device
from metad2a.core.files import ROOT
from metad2a.core.options import fill, options_parser
from metad2a.rivals.options import budget
from metad2a.rivals.real_compare import compare_real

RESULTS = ROOT / "benchmarks" / "results"


def build_parser() -> argparse.ArgumentParser:
    return options_parser(__doc__ or "", RealOptions)


def measure(args: argparse.Namespace) -> None:
    if hasattr(args, "budget"):
        args.budget = budget(args.budget)
    options = fill(RealOptions, args, device=choose_device(args.gpu))
    shutil.copy(compare_real(options), RESULTS / f"rivals_real_{options.data_name}.json")


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
