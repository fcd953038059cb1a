"""Small meta-trainings: command lines, and objectives of toy tasks."""

from pathlib import Path

import torch

from generator.model import GeneratorConfig, GeneratorModel
from metad2a.data.features import Features
from metad2a.metatrain.checkpoints import read_checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.objectives import GeneratorObjective, PredictorObjective
from metad2a.metatrain.tuples import Tuples
from predictor.model import PredictorConfig, PredictorModel

SMALL = {"generator": "--hs 8 --nz 8", "predictor": "--hs 12 --nz 8"}
OPTIONS = "--gpu cpu --allow-pickle --num-sample 3 --batch-size 5"
NUM_CLASSES, S = 6, 3
EQUAL, RAGGED = [[0, 4, 2], [1, 3, 5], [2, 1, 0], [5, 4, 3]], [[0, 4, 2], [1], [5, 3, 2, 1, 0], [4, 5]]


def line(kind, more="", folder="results"):
    return f"--model {kind} {SMALL[kind]} {OPTIONS} --save-path {folder} {more}"


def weights(kind, folder="results", name="ckpt_last.pt"):
    return read_checkpoint(Path(folder) / kind / "model" / name, kind, "").state


def toy_draws(space, tasks, task_of_tuple, device):
    """Draws and tuples of toy tasks, the last tuple for validation."""
    classes = torch.full((len(tasks), max(map(len, tasks))), -1)
    for row, task in zip(classes, tasks, strict=True):
        row[: len(task)] = torch.tensor(task)
    n, rng = len(task_of_tuple), torch.Generator().manual_seed(0)
    values = (space.sample(n, rng), torch.rand(n, generator=rng), torch.tensor(task_of_tuple), classes, torch.arange(n))
    tuples = Tuples(*values, "toy", num_validation=1)
    counts = torch.tensor([4, 9, 5, 7, 6, 8])
    features = Features("toy", torch.randn(39, 6, generator=rng), counts, list("abcdef"), "resnet18-32px", "toy.pt")
    draws = TaskDraws(features, tuples, S, device)
    draws.features.__dict__["largest_count"] = 9  # read once, before training
    return draws, tuples


def objective_of(kind, space, draws, tuples, **losses):
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "nz": 8, "feature_dim": 6}
    graphs = space.encode(tuples.archs).to(draws.device)
    torch.manual_seed(0)
    if kind == "generator":
        model = GeneratorModel(GeneratorConfig(hs=8, **sizes)).to(draws.device)
        return GeneratorObjective(model, draws, tuples, graphs, space, 0)
    model = PredictorModel(PredictorConfig(hs=12, **sizes)).to(draws.device)
    return PredictorObjective(model, draws, tuples, graphs, 0, **losses)
