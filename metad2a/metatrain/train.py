"""Meta-training of either model: from features and tuples to checkpoints (MetaD2A section 4.1)."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from generator.model import GeneratorModel
from metad2a import spaces
from metad2a.core.environment import peak_memory, provenance
from metad2a.core.errors import UserError
from metad2a.core.files import content_digest
from metad2a.core.messages import counted, log
from metad2a.core.training_run import TrainingRun
from metad2a.data.feature_files import find_features
from metad2a.data.features import load_features
from metad2a.metatrain.checkpoints import Checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.fit import FREE, PRODUCTS, fit
from metad2a.metatrain.models import CLASSES, results_folder
from metad2a.metatrain.objectives import BenchmarkTask, GeneratorObjective, Objective, PredictorObjective
from metad2a.metatrain.options import MetaTrainOptions
from metad2a.metatrain.tuples import FEATURES_NAME, Tuples, load_tuples, tuples_digest
from predictor.model import PredictorModel

HIDDEN = {"generator": 56, "predictor": 512}  # published sizes
LATENT = 56
# Options of earlier versions, by the values that change nothing: a run that used others cannot be resumed
GONE = {"weight_decay": 0.0, "benchmark_fold": None, "rank_loss": 0.0}


def train_model(options: MetaTrainOptions) -> None:
    """Meta-train the model `options.model`. Unfit data, or an earlier run in the way, raise a UserError."""
    kind, space = options.model, spaces.get(options.search_space)
    hs, nz = options.hs or HIDDEN[kind], options.nz or LATENT
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "hs": hs, "nz": nz}
    CLASSES[kind][0](**sizes)  # refuses invalid sizes before any file is read
    folder = results_folder(kind, space, Path(options.save_path))
    with TrainingRun(folder, PRODUCTS, options.resume, options.overwrite) as run:
        _train(options, sizes, run)
    log.info(f"peak memory {peak_memory()}")


def _train(options: MetaTrainOptions, sizes: dict[str, int], run: TrainingRun) -> None:
    kind, space, seed = options.model, spaces.get(options.search_space), options.seed
    how = replace(options.fit, regression=options.fit.regression or ("yes" if space.adds_up else "no"))
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    tuples = load_tuples(kind, space, options.data_path, features.num_classes, options.may_unpickle)
    check_size(kind, tuples)
    log.info(f"{kind}: {len(tuples.training)} training, {len(tuples.validation)} validation tuples of {tuples.source}")
    log.info(f"features: {features.source} ({features.extractor}, {counted(features.num_classes, 'class')})")

    draws = TaskDraws(features, tuples, how.num_sample, options.device)
    config_class, model_class = CLASSES[kind]
    more = {"class_count": draws.ragged, "additive": how.regression == "yes"} if kind == "predictor" else {}
    config = config_class(**sizes, **more, feature_dim=features.dim)
    torch.manual_seed(seed)  # for the initial parameters; everything else has its own generators
    model = model_class(config).to(options.device)
    graphs = space.encode(tuples.archs).to(options.device)
    benchmarks: list[BenchmarkTask] = []
    objective: Objective
    if kind == "generator":
        objective = GeneratorObjective(model, draws, tuples, graphs, space, seed)
    else:
        names = [name.strip() for name in how.benchmark_task.split(",") if name]
        benchmarks = [BenchmarkTask(space, name, draws, tuples) for name in names]
        objective = PredictorObjective(model, draws, tuples, graphs, seed, benchmarks, how.within_task_loss)
        objective.fit_additive(tuples, space.vertex_features())
    if options.compile:
        compile_costly(model, {"mode": "reduce-overhead"} if options.device.type == "cuda" and not draws.ragged else {})
    identity = {
        "kind": kind,
        "search_space": space.name,
        **{name: value for name, value in asdict(how).items() if name not in FREE},
        **GONE,
        **asdict(config),
        "features": features.digest(),
        "tuples": tuples_digest(tuples, space),
        "benchmark": content_digest(*(benchmark.accuracy for benchmark in benchmarks)) if benchmarks else "",
        "device": options.device.type,
    }
    sources = {"features": features.source, "tuples": tuples.source, "device": options.device}
    run.begin(identity, provenance(seed, **sources, **tuples.sizes))
    fit(objective, how, run, Checkpoint(kind, space.name, asdict(config), {}, features.extractor, objective.target))


def check_size(kind: str, tuples: Tuples) -> None:
    """Raise a UserError if there are too few tuples: the predictor needs two of each, for their standard deviation."""
    needed, training, validation = 2 if kind == "predictor" else 1, len(tuples.training), len(tuples.validation)
    if min(training, validation) < needed:
        raise UserError(
            f"{tuples.source} has {training} training and {validation} validation tuples, but the {kind} needs "
            f"{needed} of each: build a larger database."
        )


def compile_costly(model: GeneratorModel | PredictorModel, how: dict[str, Any]) -> None:
    """Let `torch.compile`, with the arguments `how`, compile the costly methods of a model at their first call.

    The mode "reduce-overhead" makes one CUDA graph per shape.
    """
    for name in model.costly:
        owner, _, method = name.rpartition(".")
        module = model.get_submodule(owner)
        setattr(module, method, torch.compile(getattr(module, method), **how))
