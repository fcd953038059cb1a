"""Peak memory and wall time of a search in a process of its own: python benchmarks/memory.py [search options]"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = sys.argv[1:] or ["--data-name", "cifar10", "--num-gen-arch", "500"]
        command = [sys.executable, str(MAIN), "--model", "search", "--save-path", folder, *options]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"main.py --model search {' '.join(options)}: {seconds:.1f} s of wall time, peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
