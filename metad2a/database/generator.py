"""Build the generator's meta-training database: for each task the best architecture of a sample (MetaD2A section 4.1).

The trained predictor chooses; no network is trained.
"""

import torch

from metad2a import spaces
from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import counted, log
from metad2a.core.progress import progress
from metad2a.data.feature_files import find_features
from metad2a.data.features import check_extractor, draw_images, load_features
from metad2a.database import subnets
from metad2a.database.options import DatabaseOptions
from metad2a.metatrain.models import find_checkpoint, load_model, supernet_sizes, trained_here
from metad2a.metatrain.objectives import to_percent
from metad2a.metatrain.score import encode_architectures
from metad2a.metatrain.tuples import FEATURES_NAME, data_folder, load_task_classes, save_tuples

MAX_POOL = 20_000  # architectures that tasks sample from, if the space is larger


@torch.inference_mode()
def build(options: DatabaseOptions) -> None:
    """Write `meta_train_tasks_generator.pt` and its split to the data folder."""
    space, device = spaces.get(options.search_space), options.device
    folder = data_folder(space, options.data_path)
    target = folder / "meta_train_tasks_generator.pt"
    if target.exists() and not options.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it, or give another --data-path.")
    named = options.predictor_checkpoint or options.load_epoch
    own = named or trained_here("predictor", space, options.save_path)
    if space.ranking_shipped and space.architectures is None and not own:
        subnets.build(options, space, folder)
        return
    path = find_checkpoint("predictor", space, options.save_path, options.load_epoch, options.predictor_checkpoint)
    predictor, checkpoint = load_model("predictor", space, path, device, options.hs, options.nz)
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    check_extractor(features, checkpoint.extractor, predictor.config.feature_dim, "predictor")
    features = features.to(device)
    rng = random_generator(options.seed)
    tasks = choose_tasks(load_task_classes(folder, features.num_classes), options.num_tasks, rng)
    pool_size = min(MAX_POOL, options.num_tasks * options.num_sampled)
    listed = space.architectures if space.size <= MAX_POOL else None
    pool = space.sample(pool_size, rng) if listed is None else listed
    graph_vec = encode_architectures(predictor, space, pool)  # (P, Z), encoded once for all tasks
    texts, scores = [], []
    for number, classes in progress(tasks.items(), desc="tasks", unit="task"):
        draws = classes.to(device).expand(options.num_draws, -1)  # (R, C)
        # With the default seed these are the draws of the shipped database
        of_task = random_generator(number + ((options.seed - DatabaseOptions.seed) << 32), device)
        index = draw_images(features, draws, options.num_sample, of_task)
        set_vec = predictor.encode_set(features.images[index])  # (R, Z)
        sampled = torch.randperm(len(pool), generator=rng)[: options.num_sampled]
        score = predictor.predict_all(set_vec, graph_vec[sampled.to(device)]).mean(dim=0)
        best = int(score.argmax())
        texts.append(space.to_text(pool[sampled[best]]))
        scores.append(score[best].item())
    accuracy = to_percent(torch.tensor(scores), checkpoint.target)
    split = torch.randperm(len(tasks), generator=rng)
    lists, numbers = [(classes + 1).tolist() for classes in tasks.values()], torch.arange(len(tasks))
    sizes = supernet_sizes(checkpoint)
    written = save_tuples("generator", folder, texts, accuracy, numbers, split, tasks=lists, sizes=sizes)
    made = f"{counted(len(texts), 'task')}, {counted(len(set(texts)), 'distinct architecture')}"
    log.info(f"{written}: {made}, predicted accuracy {accuracy.mean():.2f} % on average")


def choose_tasks(task_classes: torch.Tensor, num_tasks: int, rng: torch.Generator) -> dict[int, torch.Tensor]:
    """Choose tasks of a list at random; if the list is too short, make new tasks.

    A new task has as many classes as a random task of the list, drawn from all classes of the list `task_classes`
    (tasks, C), in which -1 pads smaller tasks. Returns the classes (long) of each task by its number in the list; new
    tasks have the next numbers.
    """
    listed = [row[row >= 0] for row in task_classes]
    chosen = {i: listed[i] for i in torch.randperm(len(listed), generator=rng)[:num_tasks].tolist()}
    every = torch.cat(listed).unique()
    for i in torch.randint(len(listed), (num_tasks - len(chosen),), generator=rng).tolist():
        chosen[len(chosen)] = every[torch.randperm(len(every), generator=rng)[: len(listed[i])]]
    return chosen
