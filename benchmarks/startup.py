"""Wall time and peak memory of a search as a process: python benchmarks/startup.py [--runs 5]

The medians count. The search prints the seconds in which it generates and scores; the rest is start-up time.
Measure on a machine that does nothing else.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.core.cli import run
from metad2a.core.environment import peak_gb
from metad2a.core.files import ROOT
from metad2a.core.values import positive_int


def measure(args: argparse.Namespace) -> None:
    walls, works = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "main.py"), "search", args.data_name]
        command += ["--save-path", folder, "--gpu", "cpu", "--num-gen-arch", str(args.num_gen_arch)]
        for _ in range(args.runs + 1):
            start = time.perf_counter()
            process = subprocess.run(command, check=True, capture_output=True, text=True)
            walls.append(time.perf_counter() - start)
            works.append(float(re.search(r"search took ([\d.]+) s", process.stdout)[1]))
    wall, work = (statistics.median(seconds[1:]) for seconds in (walls, works))  # the first run warms the disk's cache
    print(f"wall time {wall:.2f} s, of which the search {work:.2f} s; peak memory {peak_gb(children=True):.2f} GB")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=positive_int, default=5, help="runs, after one warm-up (default 5)")
    parser.add_argument("--data-name", default="cifar10")
    parser.add_argument("--num-gen-arch", type=positive_int, default=500)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
