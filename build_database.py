"""Build the generator's database with a trained predictor.

For each task the predictor scores architectures sampled from the search space, and the best becomes the tuple's
architecture: a high-quality one for that task, without training any (MetaD2A section 4.1).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

import search_spaces
from engine.errors import UserError
from engine.runs import keep_freed_memory, random_generator, say
from loading import find_checkpoint, load_model
from predictor.score import encode_architectures
from predictor.train import to_percent
from tasks.features import Features, check_extractor, draw_images, find_features, load_features
from tasks.meta_train import FEATURES_NAME, load_task_classes, save_tuples

MAX_POOL = 20_000  # architectures that tasks sample from, where the space is too large to take whole


@dataclass(frozen=True)
class BuildOptions:
    """Where to build from and how much."""

    search_space: str
    data_path: str
    save_path: str
    device: torch.device
    num_tasks: int
    num_sampled: int
    num_draws: int
    num_sample: int
    seed: int
    load_epoch: int | None
    overwrite: bool
    predictor_checkpoint: str | None


@torch.inference_mode()
def build(options: BuildOptions) -> None:
    """Write `meta_train_tasks_generator.pt` and its split to the data folder.

    Raises:
        UserError: a database is there already, or predictor and features do not fit.
    """
    keep_freed_memory()
    target = Path(options.data_path) / "meta_train_tasks_generator.pt"
    if target.exists() and not options.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it, or give another --data-path.")
    space, device = search_spaces.get(options.search_space), options.device
    given = options.predictor_checkpoint
    path = Path(given) if given else find_checkpoint("predictor", space, options.save_path, options.load_epoch)
    predictor, checkpoint = load_model("predictor", space, path, device)
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    check_extractor(features, checkpoint.extractor, predictor.config.feature_dim, "predictor")
    features = features.to(device)
    task_classes = load_task_classes(Path(options.data_path), features.num_classes)
    if options.num_tasks > len(task_classes):
        raise UserError(f"--num-tasks {options.num_tasks}: the task list has {len(task_classes)}.")

    rng = random_generator(options.seed)
    tasks = torch.randperm(len(task_classes), generator=rng)[: options.num_tasks]
    pool = space.all_architectures() if space.size <= MAX_POOL else space.sample(MAX_POOL, rng)
    graph_vec = encode_architectures(predictor, space, pool)  # (P, Z), encoded once for all tasks
    texts, scores = [], []
    for task in tqdm(tasks.tolist(), desc="tasks", unit="task"):
        set_vec = _encode_task(predictor, features, task_classes[task], options, random_generator(task, device))
        sampled = torch.randperm(len(pool), generator=rng)[: options.num_sampled]
        score = predictor.predict_all(set_vec, graph_vec[sampled.to(device)]).mean(dim=0)
        best = int(score.argmax())
        texts.append(space.to_text(pool[sampled[best]]))
        scores.append(score[best].item())
    accuracy = to_percent(torch.tensor(scores), checkpoint.target)
    split = torch.randperm(len(tasks), generator=rng)
    written = save_tuples("generator", options.data_path, texts, accuracy, tasks, split)
    say(
        f"{written}: {len(texts)} tasks, {len(set(texts))} distinct architectures, predicted accuracy "
        f"{accuracy.mean():.2f} % on average"
    )


def _encode_task(predictor, features: Features, classes: torch.Tensor, options: BuildOptions, rng) -> torch.Tensor:
    classes = classes.to(features.counts.device).expand(options.num_draws, -1)
    return predictor.encode_set(features.images[draw_images(features, classes, options.num_sample, rng)])
