"""What limits the predictor, one change at a time, on the meta-validation tuples alone: python benchmarks/study.py

Trains a small predictor for every variant (a variant that is done is not trained again, an interrupted one is
resumed) and prints its best correlation with the accuracies of the 400 meta-validation tuples.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from engine.cli import gpu_option, positive_int, run
from engine.errors import UserError
from engine.files import ROOT, write_text
from engine.runs import choose_device, provenance

BASE = ["--hs", "128", "--lr", "3e-4"]
VARIANTS = {
    "base": [],
    "ema": ["--ema", "0.998"],
    "benchmark-task": ["--ema", "0.998", "--benchmark-task", "imagenet16-120"],
    "weight-decay-1e-6": ["--ema", "0.998", "--weight-decay", "1e-6"],
    "weight-decay-1e-5": ["--ema", "0.998", "--weight-decay", "1e-5"],
    "rank-loss": ["--ema", "0.998", "--rank-loss", "1"],
    "10-images": ["--ema", "0.998", "--num-sample", "10"],
    "seed-334": ["--ema", "0.998", "--seed", "334"],
    "seed-335": ["--ema", "0.998", "--seed", "335"],
}


def read_log(path: Path) -> list[dict[str, float]]:
    """Figures of every epoch in a training log; a resumed run's later lines replace the earlier ones."""
    epochs = {}
    for line in path.read_text().splitlines():
        if match := re.search(r" epoch (\d+) (.*)", line):
            words = match[2].split()
            epochs[int(match[1])] = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    return [{"epoch": number, **epochs[number]} for number in sorted(epochs)]


def train(name: str, args: argparse.Namespace) -> list[dict[str, float]]:
    """Train one variant unless that is done; returns the figures of its epochs."""
    folder = Path(args.save_path) / name
    log = folder / "predictor" / "log.txt"
    if not log.is_file() or f"epoch {args.max_epoch} " not in log.read_text():
        command = [sys.executable, str(ROOT / "main.py"), "--model", "predictor", "--save-path", str(folder), *BASE]
        command += ["--max-epoch", str(args.max_epoch), "--save-epoch", str(args.max_epoch), *VARIANTS[name]]
        command += ["--data-path", args.data_path, *(["--gpu", args.gpu] if args.gpu else [])]
        command += ["--resume"] if (folder / "predictor" / "model" / "ckpt_last.pt").is_file() else []
        if code := subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise UserError(f"Variant {name} ended with exit code {code}.")
    return read_log(log)


def measure(args: argparse.Namespace) -> None:
    names = args.variants.split(",") if args.variants else list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise UserError(f"Unknown variant {unknown[0]}: choose among {', '.join(VARIANTS)}.")
    print(f"{'variant':<20}{'best':>8}{'epoch':>7}{'last 5':>8}")
    variants = []
    for name in names:
        epochs = train(name, args)
        best = max(epochs, key=lambda e: e["correlation"])
        last = statistics.mean(e["correlation"] for e in epochs[-5:])
        print(f"{name:<20}{best['correlation']:>8.4f}{best['epoch']:>7}{last:>8.4f}", flush=True)
        options = " ".join(VARIANTS[name])
        row = {"name": name, "options": options, "best": best["correlation"], "epoch": best["epoch"], "last_5": last}
        variants.append(row)
    history = provenance(333, device=choose_device(args.gpu), threads=torch.get_num_threads())
    result = {"base": " ".join(BASE), "max_epoch": args.max_epoch, "variants": variants}
    write_text(Path(args.output), json.dumps({"history": history, "result": result}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", help=f"some of: {', '.join(VARIANTS)} (default all)")
    parser.add_argument("--max-epoch", type=positive_int, default=12)
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results/study")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "study.json"))
    gpu_option(parser)
    sys.exit(run(parser, measure))
