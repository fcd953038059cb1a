"""Time commands from the shell, beside Python that only imports NumPy or PyTorch: python benchmarks/startup.py

All are started in turns, `--repeats` times. The first table has commands that compute nothing with tensors: the median
wall time until they end, their peak memory, and which of the heavy modules they imported. The second table has
commands that need PyTorch: the median wall time until their first line, which must not say where files go. They are
stopped then.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import chdir
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.core.cli import run
from metad2a.core.values import positive_int

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "scipy", "sklearn", "matplotlib", "pydantic", "jinja2", "PIL", "requests")
IMPORTS = {f"import {name}": ["-c", f"import {name}"] for name in ("numpy", "torch")}
LINES = (
    "search cifar10",
    "search cifar100 --max-flops 60 --device-latency pixel3 --max-latency 10",
    "search cifar10 --report",
    "search photos",
    "search photos --report",
    "compare --data-name cifar10 --methods random,evolution --num-seeds 2 --num-workers 1",
    "get-files mnist --list",
    "search --help",
    "search cifar10 --max-flops x",
    "--version",
)
TO_FIRST_LINE = (
    "search few --budget 1m",
    "train --arch results/search/cifar10/001 --data-name few --image-folder few",
    "predict --network network.pt --images few/0/000.png",
    "meta-test --model generator --num-gen-arch 20 --data-name cifar10",
)
NETWORK = "train --arch results/search/cifar10/001 --data-name few --image-folder few --epochs 1 --num-runs 1"


def write_photos(folder: Path, images: int, classes: int = 10) -> None:
    """Write a folder of images of 500 x 375 pixels in classes of equal size."""
    import numpy as np  # not in the process that starts others: their peak memory would be at least its own
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(images):
        path = folder / str(number % classes) / f"{number // classes:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((500, 375)).save(path, compress_level=1)


def program(line: str) -> list[str]:
    """What starts a command of the program, after the name of Python."""
    return [str(ROOT / "main.py"), *line.split()]


def until_it_ends(words: list[str]) -> tuple[float, float]:
    """Wall time (s) and peak memory (MB) of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it has been waited for
    return time.perf_counter() - start, usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def until_first_line(words: list[str]) -> float:
    """Wall time (s) until a process writes its first line, after which it is stopped."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        first = process.stdout.readline() if process.stdout else b""
        seconds = time.perf_counter() - start
        process.kill()
    if not first or b"error:" in first:
        raise RuntimeError(f"{' '.join(words)} wrote {first.decode()!r}")
    return seconds


def imported(words: list[str]) -> list[str]:
    """The `HEAVY` modules that a process imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=False)
    names = set(re.findall(r"^import time:.*\|\s*(\w+)$", done.stderr, re.MULTILINE))
    return [name for name in HEAVY if name in names]


def in_turns(lines: Iterable[str], measure: Callable[[list[str]], Any], repeats: int) -> dict[str, list]:
    """What `measure` returns for each command, `repeats` times."""
    found: dict[str, list] = {line: [] for line in lines}
    for _ in range(repeats):
        for line in found:
            found[line].append(measure(IMPORTS.get(line) or program(line)))
    return found


def measure(args: argparse.Namespace) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for details in ((Path("photos"), args.images), (Path("few"), 24, 2)):
            process = get_context("spawn").Process(target=write_photos, args=details)
            process.start()
            process.join()
        until_it_ends(program("search cifar10"))  # also fills the caches of files
        print(f"| command ({args.images:,} images in photos) | seconds | MB | imports |\n|---|---|---|---|")
        for line, pairs in in_turns([*IMPORTS, *LINES], until_it_ends, args.repeats).items():
            seconds, memory = (statistics.median(column) for column in zip(*pairs, strict=True))
            modules = ", ".join(imported(IMPORTS.get(line) or program(line)))
            print(f"| `{line}` | {seconds:.2f} | {memory:.0f} | {modules} |", flush=True)
        if args.no_torch:
            return
        until_it_ends(program(NETWORK))
        shutil.copy(next(Path("results").rglob("network.pt")), "network.pt")
        torch = "import torch"
        base = statistics.median(pair[0] for pair in in_turns([torch], until_it_ends, args.repeats)[torch])
        print("\n| command | seconds to its first line | less `import torch` |\n|---|---|---|")
        for line, values in in_turns(TO_FIRST_LINE, until_first_line, args.repeats).items():
            seconds = statistics.median(values)
            print(f"| `{line}` | {seconds:.2f} | {seconds - base:.2f} |", flush=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive_int, default=7)
    parser.add_argument("--images", type=positive_int, default=1000, help="number of images in the folder")
    parser.add_argument("--no-torch", action="store_true", help="leave out the commands that need PyTorch")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
