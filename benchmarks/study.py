"""What limits the predictor, on the meta-validation tuples alone: python benchmarks/study.py

Trains a predictor for every variant, small ones with one change at a time and some of the published size, and reports
the best correlation with the accuracies of the 400 meta-validation tuples. A variant that is done is not trained
again, an interrupted one is resumed; `--report` trains nothing and reports as far as the logs go. The variants called
photographs take their features of ImageNet's classes from the folder of that name (process_dataset.py --data-path).
"""

import argparse
import re
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from metad2a.core.cli import gpu_option, run
from metad2a.core.environment import choose_device, provenance
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, write_json

SMALL, EMA = "--hs 128 --lr 3e-4 --max-epoch 12", "--ema 0.998"
RANK_LOSS, PHOTOGRAPHS = f"{SMALL} {EMA} --rank-loss 1", "--data-path photographs"  # a folder of other features
VARIANTS = {
    "base": SMALL,
    "ema": f"{SMALL} {EMA}",
    "seed-334": f"{SMALL} {EMA} --seed 334",
    "seed-335": f"{SMALL} {EMA} --seed 335",
    "benchmark-task": f"{SMALL} {EMA} --benchmark-task imagenet16-120",
    "rank-loss": RANK_LOSS,
    "rank-loss-334": f"{RANK_LOSS} --seed 334",
    "rank-loss-335": f"{RANK_LOSS} --seed 335",
    "photographs": f"{RANK_LOSS} {PHOTOGRAPHS}",
    "photographs-334": f"{RANK_LOSS} {PHOTOGRAPHS} --seed 334",
    "photographs-335": f"{RANK_LOSS} {PHOTOGRAPHS} --seed 335",
    "weight-decay-1e-6": f"{SMALL} {EMA} --weight-decay 1e-6",
    "weight-decay-1e-5": f"{SMALL} {EMA} --weight-decay 1e-5",
    "10-images": f"{SMALL} {EMA} --num-sample 10",
    "full-published": "",
    "full-ema": "--lr 3e-4 --ema 0.999 --max-epoch 80",
    "full-rank-loss": "--lr 3e-4 --ema 0.999 --rank-loss 1 --max-epoch 44 --seed 334",
    "full-benchmark-task": "--lr 3e-4 --ema 0.999 --max-epoch 80 --benchmark-task imagenet16-120",
}
LATEST = 5  # epochs that the figure of a variant's end is averaged over


def read_log(path: Path) -> list[dict[str, float]]:
    """Figures of every epoch in a training log; a resumed run's later lines replace the earlier ones."""
    epochs = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        if match := re.search(r" epoch (\d+) (.*)", line):
            words = match[2].split()
            epochs[int(match[1])] = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    return [{"epoch": number, **epochs[number]} for number in sorted(epochs)]


def train(name: str, args: argparse.Namespace) -> None:
    """Train one variant unless that is done."""
    folder = Path(args.save_path) / name / "predictor"
    if (folder / "log.txt").is_file() and "finished after" in (folder / "log.txt").read_text(encoding="utf-8"):
        return
    command = [sys.executable, str(ROOT / "main.py"), "--model", "predictor", "--save-path", str(folder.parent)]
    command += ["--data-path", args.data_path, *VARIANTS[name].split()]
    command += ["--gpu", args.gpu] if args.gpu else []
    command += ["--resume"] if (folder / "model" / "ckpt_last.pt").is_file() else []
    if code := subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise UserError(f"Variant {name} ended with exit code {code}.")


def measure(args: argparse.Namespace) -> None:
    names = args.variants.split(",") if args.variants else list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise UserError(f"Unknown variant {unknown[0]}: choose among {', '.join(VARIANTS)}.")
    print(f"{'variant':<20}{'epochs':>7}{'best':>8}{'at':>5}{'latest':>8}")
    rows = []
    for name in names:
        if not args.report:
            train(name, args)
        epochs = read_log(Path(args.save_path) / name / "predictor" / "log.txt")
        if not epochs:
            raise UserError(f"Variant {name} has no finished epoch in {args.save_path}: run this without --report.")
        best = max(epochs, key=lambda e: e["correlation"])
        latest = statistics.mean(e["correlation"] for e in epochs[-LATEST:])
        row = {"name": name, "options": VARIANTS[name], "epochs": len(epochs), "best": best["correlation"]}
        curves = {key: [e[key] for e in epochs] for key in ("train_loss", "correlation")}
        rows.append(row | {"at": best["epoch"], "latest": latest, "curves": curves})
        print(f"{name:<20}{len(epochs):>7}{row['best']:>8.4f}{best['epoch']:>5}{latest:>8.4f}", flush=True)
    history = provenance(333, device=choose_device(args.gpu), threads=torch.get_num_threads())
    write_json(Path(args.output), {"history": history, "result": {"variants": rows}}, indent=None)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", help=f"some of: {', '.join(VARIANTS)} (default all)")
    parser.add_argument("--report", action="store_true", help="train nothing, report what the logs hold")
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results/study")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "study.json"))
    gpu_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
