"""What the benchmark scripts share: their common options, and the result file with its history."""

import argparse
from pathlib import Path
from typing import Any

import torch

from metad2a.core.cli import gpu_option
from metad2a.core.environment import choose_device, provenance
from metad2a.core.files import write_json
from metad2a.core.messages import log
from metad2a.core.values import seed_number


def benchmark_parser(description: str | None, output: Path | None = None) -> argparse.ArgumentParser:
    """A parser with the options of most benchmarks; `output` is the default of `--output`, None for no such option."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results")
    parser.add_argument("--seed", type=seed_number, default=333)
    if output:
        parser.add_argument("--output", type=Path, default=output)
    gpu_option(parser)
    return parser


def keep_result(path: Path, result: dict[str, Any], args: argparse.Namespace, **sources: Any) -> None:
    """Write a result file with the command, the date and the machine that made it."""
    history = provenance(args.seed, device=choose_device(args.gpu), threads=torch.get_num_threads(), **sources)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"history": history, "result": result}, indent=None)
    log.info(f"{path} is made")
