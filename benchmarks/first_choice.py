"""How far the first choice of the universal ranking rests on noise: python benchmarks/first_choice.py

The shipped meta-trainings agree on it, but they learn from one table, whose accuracies would be others if its networks
were trained anew. Here the table's noise, as equal cells tell it, is drawn once more on top of it, as often as
--num-draws says; each time all cells are ranked anew, with one seed's hyperparameters. Writes
benchmarks/results/first_choice.json: the first choices, and what each of the benchmark's tables has for them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from metad2a import spaces
from metad2a.core.cli import positive_int, run, seed_number
from metad2a.core.environment import provenance, random_generator
from metad2a.core.files import ROOT, write_json
from metad2a.core.statistics import interval
from metad2a.rankings.fit_universal import KERNELS, NUM_STEPS, Accuracies, Process, accuracies, fit
from metad2a.spaces.nasbench201.cell_features import published_features
from metad2a.spaces.nasbench201.classes import first_members


def first_choices(processes: list[Process], data: Accuracies, num_draws: int, rng: torch.Generator) -> list[int]:
    """The class that is ranked first in each draw of the noise."""
    cells = torch.arange(len(data.value))
    deviation = data.variance.sqrt()  # (K,)
    noise = torch.randn(len(cells), num_draws, generator=rng, dtype=deviation.dtype) * deviation[:, None]
    means = torch.zeros_like(noise)
    for process in processes:
        weights = torch.cholesky_solve(
            data.value[:, None] + noise, torch.linalg.cholesky(process.observed(cells, data))
        )
        means += process.covariance(cells, cells) @ weights / len(processes)
    return means.argmax(0).tolist()


def measure(args: argparse.Namespace) -> None:
    data, space = accuracies(), spaces.get("nasbench201")
    features, every = published_features(), torch.arange(len(data.value))
    processes = [fit(Process(features, form), data, every, args.seed, args.steps) for form in KERNELS]
    chosen = first_choices(processes, data, args.num_draws, random_generator(args.seed))
    numbers = [first_members()[cell] for cell in chosen]
    tables = {}
    for dataset, table in space.table["test_200"].items():
        values = table[numbers].tolist()
        tables[dataset] = dict(zip(("mean", "interval_95"), interval(values), strict=True)) | {"min": min(values)}
    counts = {space.architectures[number]: numbers.count(number) for number in sorted(set(numbers))}
    result = {"draws": args.num_draws, "first_choices": counts, "tables": tables}
    history = provenance(args.seed, device="cpu", threads=torch.get_num_threads())
    write_json(args.output, {"history": history, "result": result})
    print(f"{args.output} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-draws", type=positive_int, default=20)
    parser.add_argument("--steps", type=positive_int, default=NUM_STEPS, help="of the hyperparameters' descent")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "first_choice.json"))
    parser.add_argument("--seed", type=seed_number, default=333)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), measure))
