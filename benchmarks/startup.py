"""Start-up time and peak memory of a search, beside `import torch` alone: python benchmarks/startup.py [--runs 5]

Both run as processes, in turn, and the medians count. The seconds in which the search generates and scores, which it
prints itself, are subtracted from its wall time. Measure on a machine that does nothing else.
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

from metad2a.core.cli import positive_int, run
from metad2a.core.environment import peak_gb
from metad2a.core.files import ROOT


def seconds_of(command: list[str]) -> tuple[float, str]:
    """Wall time of a Python process, and its standard output."""
    start = time.perf_counter()
    process = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, process.stdout


def measure(args: argparse.Namespace) -> None:
    torch_alone, startup, working = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        search = [str(ROOT / "main.py"), "--model", "search", "--data-name", args.data_name, "--save-path", folder]
        for _ in range(args.runs + 1):
            torch_alone.append(seconds_of(["-c", "import torch"])[0])
            seconds, output = seconds_of([*search, "--gpu", "cpu", "--num-gen-arch", str(args.num_gen_arch)])
            working.append(float(re.search(r"search took ([\d.]+) s", output)[1]))
            startup.append(seconds - working[-1])
    # The first run only warms the disk's cache
    alone, whole, work = (statistics.median(values[1:]) for values in (torch_alone, startup, working))
    print(f"import torch: {alone:.2f} s; searching for {args.data_name}: {whole:.2f} s besides {work:.2f} s of work")
    print(f"peak memory of the search: {peak_gb(children=True):.2f} GB")
    print(f"start-up takes {whole - alone:.2f} s more than import torch ({whole / alone:.2f} times)")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=positive_int, default=5, help="runs of each process, after one warm-up (default 5)"
    )
    parser.add_argument("--data-name", default="cifar10")
    parser.add_argument("--num-gen-arch", type=positive_int, default=500)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
