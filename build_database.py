"""Build the meta-training databases.

python build_database.py --model_name predictor --index 0 --imgnet DIR    measure random architectures on random tasks
python build_database.py --model_name predictor --collect                 merge the shards that were built so
python build_database.py --model_name generator                           the trained predictor's best for each task

For the generator the predictor scores architectures sampled from the search space, and the best becomes the tuple's
architecture: a high-quality one for that task, without training any (MetaD2A section 4.1).
"""

import argparse
import re
import sys
from dataclasses import dataclass

import torch

import search_spaces
from engine.cli import gpu_option, not_negative_int, positive_int, run
from engine.errors import UserError
from engine.progress import progress
from engine.runs import choose_device, keep_freed_memory, random_generator, say
from loading import find_checkpoint, load_model, supernet_sizes
from predictor.score import encode_architectures
from predictor.train import to_percent
from supernet.model import PUBLISHED
from tasks.features import Features, check_extractor, draw_images, find_features, load_features
from tasks.meta_train import FEATURES_NAME, data_folder, load_task_classes, save_tuples

MAX_SHARDS = 500  # of one command, which holds a lock on each
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
    hs: int | None
    nz: int | None


@torch.inference_mode()
def build(options: BuildOptions) -> None:
    """Write `meta_train_tasks_generator.pt` and its split to the data folder.

    Where more tasks are wanted than the task list has, further ones are drawn like those.

    Raises:
        UserError: a database is there already, or predictor and features do not fit.
    """
    keep_freed_memory()
    space, device = search_spaces.get(options.search_space), options.device
    folder = data_folder(space, options.data_path)
    target = folder / "meta_train_tasks_generator.pt"
    if target.exists() and not options.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it, or give another --data-path.")
    path = find_checkpoint("predictor", space, options.save_path, options.load_epoch, options.predictor_checkpoint)
    predictor, checkpoint = load_model("predictor", space, path, device, options.hs, options.nz)
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    check_extractor(features, checkpoint.extractor, predictor.config.feature_dim, "predictor")
    features = features.to(device)
    rng = random_generator(options.seed)
    tasks = choose_tasks(load_task_classes(folder, features.num_classes), options.num_tasks, rng)
    pool_size = min(MAX_POOL, options.num_tasks * options.num_sampled)
    pool = space.all_architectures() if space.size <= MAX_POOL else space.sample(pool_size, rng)
    graph_vec = encode_architectures(predictor, space, pool)  # (P, Z), encoded once for all tasks
    texts, scores = [], []
    for number, classes in progress(tasks.items(), desc="tasks", unit="task"):
        set_vec = _encode_task(predictor, features, classes, options, random_generator(number, device))
        sampled = torch.randperm(len(pool), generator=rng)[: options.num_sampled]
        score = predictor.predict_all(set_vec, graph_vec[sampled.to(device)]).mean(dim=0)
        best = int(score.argmax())
        texts.append(space.to_text(pool[sampled[best]]))
        scores.append(score[best].item())
    accuracy = to_percent(torch.tensor(scores), checkpoint.target)
    split = torch.randperm(len(tasks), generator=rng)
    lists = [(classes + 1).tolist() for classes in tasks.values()]
    numbers = torch.arange(len(tasks))
    sizes = supernet_sizes(checkpoint)
    written = save_tuples("generator", folder, texts, accuracy, numbers, split, tasks=lists, sizes=sizes)
    say(
        f"{written}: {len(texts)} tasks, {len(set(texts))} distinct architectures, predicted accuracy "
        f"{accuracy.mean():.2f} % on average"
    )


def _encode_task(predictor, features: Features, classes: torch.Tensor, options: BuildOptions, rng) -> torch.Tensor:
    classes = classes.to(features.counts.device).expand(options.num_draws, -1)
    return predictor.encode_set(features.images[draw_images(features, classes, options.num_sample, rng)])


def choose_tasks(task_classes: torch.Tensor, num_tasks: int, rng: torch.Generator) -> dict[int, torch.Tensor]:
    """Classes of random tasks of a list (tasks, C), -1 beyond a task's own, by number; then as many new as are wanted.

    A new task has as many classes as a random one of the list, drawn among all that the list names.
    """
    listed = [row[row >= 0] for row in task_classes]
    chosen = {i: listed[i] for i in torch.randperm(len(listed), generator=rng)[:num_tasks].tolist()}
    known = torch.cat(listed).unique()
    for i in torch.randint(len(listed), (num_tasks - len(chosen),), generator=rng).tolist():
        chosen[len(chosen)] = known[torch.randperm(len(known), generator=rng)[: len(listed[i])]]
    return chosen


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name", "--model-name", "--model", required=True, choices=("predictor", "generator"), help="whose")
    add("--search-space", "--graph-data-name", default="ofa_mbv3", choices=search_spaces.NAMES, help="default ofa_mbv3")
    add("--data-path", default="data", help="folder of features and databases (default data)")
    add("--save-path", default="results", help="folder of checkpoints (default results)")
    add(
        "--seed", type=not_negative_int, default=333, help="each shard and task has its own, which follow from this one"
    )
    add("--num-tasks", type=positive_int, help="tasks of a shard (default 100), or of the generator's database (1710)")
    add("--overwrite", action="store_true", help="replace the database of an earlier run; shards are always continued")
    gpu_option(parser)

    shards = parser.add_argument_group("predictor")
    add = shards.add_argument
    add("--index", type=shard_numbers, default=[0], help="shards to build: a number, or some as 0,3 or 0-9 (default 0)")
    add("--imgnet", help="the ImageNet folder: a sub-folder of images a class, or such folders train and val")
    add("--collect", action="store_true", help="merge the shards into the database")
    add(
        "--class-order", help="a text file whose lines start with a class's sub-folder (default: those of the features)"
    )
    add("--supernet", default=str(PUBLISHED), help=f"weights of the supernet (default {PUBLISHED})")
    add("--num-arch", type=positive_int, default=1, help="architectures measured on each task (default 1)")
    add("--num-calibration", type=positive_int, default=2000, help="images that calibrate batch norm (default 2000)")
    add("--epochs", type=positive_int, default=12, help="for networks trained from scratch, nasbench201 (default 12)")
    add("--num-workers", type=not_negative_int, default=0, help="Ray processes (default 0: this process alone)")
    add(
        "--ray-address", help="of a running Ray cluster whose machines share these folders (default: start a local one)"
    )

    best = parser.add_argument_group("generator")
    add = best.add_argument
    add("--num-sampled", type=positive_int, default=100, help="architectures scored for each task (default 100)")
    add("--num-draws", type=positive_int, default=10, help="draws of a task that scores are averaged over (default 10)")
    add("--num-sample", type=positive_int, default=20, help="images of each class in a draw (default 20)")
    add("--load-epoch", type=positive_int, help="load the predictor's ckpt_<epoch>.pt (default: its best)")
    add("--predictor-checkpoint", help="load this file")
    for name in ("--hs", "--nz"):
        add(name, type=positive_int, help="published; follows from the checkpoint")
    return parser


def shard_numbers(text: str) -> list[int]:
    """The argparse type of `--index`: "3", "0,3" or "0-9"."""
    parts = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip()) for part in text.split(",")]
    if None in parts:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard or a range of them: give for example 3, 0,3 or 0-9")
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts]
    if min(map(len, ranges)) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} has a range that ends before it begins")
    if sum(map(len, ranges)) > MAX_SHARDS:
        raise argparse.ArgumentTypeError(f"{text!r} are more than {MAX_SHARDS} shards, the most of one command")
    return sorted({number for part in ranges for number in part})


def dispatch(args: argparse.Namespace) -> None:
    if args.model_name == "generator":
        if args.collect:
            say("The generator's database is written whole: there is nothing to collect.")
            return
        names = (
            "search_space data_path save_path num_sampled num_draws num_sample seed load_epoch overwrite "
            "predictor_checkpoint hs nz"
        )
        values = {name: getattr(args, name) for name in names.split()}
        build(BuildOptions(device=choose_device(args.gpu), num_tasks=args.num_tasks or 1710, **values))
    elif args.collect:
        from database.build import collect

        collect(args.search_space, args.data_path, args.overwrite)
    else:
        run_shards(args)


def run_shards(args: argparse.Namespace) -> None:
    from database.build import ShardOptions, build_shards

    if args.imgnet is None:
        raise UserError("--imgnet is missing: name the ImageNet folder, one sub-folder of images a class.")
    options = ShardOptions(
        args.search_space,
        args.data_path,
        args.index,
        args.imgnet,
        args.class_order,
        args.supernet,
        args.num_tasks or 100,
        args.num_arch,
        args.num_calibration,
        args.epochs,
        args.seed,
        choose_device(args.gpu),
        args.num_workers,
        args.ray_address,
    )
    build_shards(options)


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
