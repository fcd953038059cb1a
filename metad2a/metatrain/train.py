"""Meta-training of either model: features and tuples in, checkpoints out (MetaD2A section 4.1)."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from generator.model import GeneratorModel
from metad2a import spaces
from metad2a.core.environment import keep_freed_memory, peak_memory, provenance
from metad2a.core.errors import UserError
from metad2a.core.files import content_digest
from metad2a.core.messages import log
from metad2a.core.training_run import TrainingRun
from metad2a.data.features import find_features, load_features
from metad2a.metatrain.checkpoints import Checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.fit import FREE, PRODUCTS, Objective, fit
from metad2a.metatrain.generator_objective import GeneratorObjective
from metad2a.metatrain.models import CLASSES, results_folder
from metad2a.metatrain.options import TrainOptions
from metad2a.metatrain.predictor_objective import BenchmarkTask, PredictorObjective, target_statistics
from metad2a.metatrain.tuples import FEATURES_NAME, Tuples, load_tuples, tuples_digest
from predictor.model import PredictorModel

HIDDEN = {"generator": 56, "predictor": 512}  # published sizes
LATENT = 56


def train_model(options: TrainOptions) -> None:
    """Meta-train the model `options.kind`.

    Raises:
        UserError: data are missing or do not fit, or an earlier run is in the way.
    """
    keep_freed_memory()
    kind, space = options.kind, spaces.get(options.search_space)
    config_class = CLASSES[kind][0]
    hs, nz = options.hs or HIDDEN[kind], options.nz or LATENT
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "hs": hs, "nz": nz}
    fit_options = options.fit
    predictors = fit_options.benchmark_task, fit_options.rank_loss, fit_options.within_task_loss, fit_options.regression
    if kind == "generator" and any(predictors):
        raise UserError(
            "--benchmark-task, --regression, --rank-loss and --within-task-loss are the predictor's: leave them out "
            "for the generator."
        )
    if fit_options.benchmark_fold is not None and not fit_options.benchmark_task:
        raise UserError("--benchmark-fold leaves cells out of --benchmark-task: give that, too.")
    config_class(**sizes)  # refuses sizes before anything is read
    folder = results_folder(kind, space, Path(options.save_path))
    with TrainingRun(folder, PRODUCTS, options.resume, options.overwrite) as run:
        _train(options, sizes, run)
    log.info(f"peak memory {peak_memory()}")


def _train(options: TrainOptions, sizes: dict[str, int], run: TrainingRun) -> None:
    kind, space = options.kind, spaces.get(options.search_space)
    fit_options = replace(options.fit, regression=options.fit.regression or ("yes" if space.adds_up else "no"))
    config_class, model_class = CLASSES[kind]
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    tuples = load_tuples(kind, space, options.data_path, features.num_classes, options.may_unpickle)
    check_size(kind, tuples)
    log.info(f"{kind}: {len(tuples.training)} training, {len(tuples.validation)} validation tuples of {tuples.source}")
    log.info(f"features: {features.source} ({features.extractor}, {features.num_classes} classes)")

    seed = options.fit.seed
    draws = TaskDraws(features, tuples, options.fit.num_sample, options.device)
    knows = {"class_count": draws.ragged, "additive": fit_options.regression == "yes"} if kind == "predictor" else {}
    config = config_class(**sizes, **knows, feature_dim=features.dim)
    torch.manual_seed(seed)  # of the initial parameters; all else has generators of its own
    model = model_class(config).to(options.device)
    graphs = space.encode(tuples.archs).to(options.device)
    benchmarks, target = [], {}
    objective: Objective
    if kind == "generator":
        objective = GeneratorObjective(model, draws, tuples, graphs, space, seed)
    else:
        names = [name.strip() for name in fit_options.benchmark_task.split(",") if name]
        benchmarks = [BenchmarkTask(space, name, draws, tuples, fit_options.benchmark_fold) for name in names]
        losses = fit_options.rank_loss, fit_options.within_task_loss
        objective = PredictorObjective(model, draws, tuples, graphs, seed, benchmarks, *losses)
        objective.fit_additive(tuples, space.vertex_features())
        target = target_statistics(tuples)
    if options.compile:
        compile_costly(model, {"mode": "reduce-overhead"} if options.device.type == "cuda" and not draws.ragged else {})
    identity = {
        "kind": kind,
        "search_space": space.name,
        **{name: value for name, value in asdict(fit_options).items() if name not in FREE},
        **asdict(config),
        "features": features.digest(),
        "tuples": tuples_digest(tuples, space),
        "benchmark": content_digest(*(benchmark.accuracy for benchmark in benchmarks)) if benchmarks else "",
        "device": options.device.type,
    }
    sources = {"features": features.source, "tuples": tuples.source, "device": options.device}
    history = provenance(seed, **sources, **tuples.sizes)
    run.begin(identity, history)
    fit(objective, fit_options, run, Checkpoint(kind, space.name, asdict(config), {}, features.extractor, target))


def check_size(kind: str, tuples: Tuples) -> None:
    """Check that there is enough to train on and to validate with.

    Raises:
        UserError: there is less than a tuple of each for the generator, two for the predictor, which needs the
            deviation of the accuracies it is trained on and the correlation with those it is validated by.
    """
    needed, training, validation = 2 if kind == "predictor" else 1, len(tuples.training), len(tuples.validation)
    if min(training, validation) < needed:
        raise UserError(
            f"{tuples.source} has {training} tuples to train on and {validation} to validate with, but the {kind} "
            f"needs {needed} of each: build a larger database."
        )


def compile_costly(model: GeneratorModel | PredictorModel, how: dict[str, Any]) -> None:
    """Have `torch.compile` compile the costly methods of a model when they are first called.

    Args:
        how: further arguments of `torch.compile`; the mode "reduce-overhead" makes CUDA graphs, one for each shape.
    """
    for name in model.costly:
        owner, _, method = name.rpartition(".")
        module = model.get_submodule(owner)
        setattr(module, method, torch.compile(getattr(module, method), **how))
