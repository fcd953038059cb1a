"""Peak memory and wall time of a search in a process of its own: python benchmarks/memory.py [search options]"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.core.environment import peak_gb
from metad2a.core.files import ROOT


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = sys.argv[1:] or ["--data-name", "cifar10", "--num-gen-arch", "500"]
        command = [sys.executable, str(ROOT / "main.py"), "--model", "search", "--save-path", folder, *options]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    peak = peak_gb(children=True)
    print(f"main.py --model search {' '.join(options)}: {seconds:.1f} s of wall time, peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
