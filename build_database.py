"""Build the meta-training databases.

python build_database.py --model_name predictor --index 0 --imgnet DIR    measure random architectures on random tasks
python build_database.py --model_name predictor --collect                 merge the shards that were built so
python build_database.py --model_name generator                           the trained predictor's best for each task

For the generator the predictor scores architectures sampled from the search space, and the best becomes the tuple's
architecture: a high-quality one for that task, without training any (MetaD2A section 4.1).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import engine.python  # noqa: F401

# isort: split
import torch

import search_spaces
from database.options import ShardOptions
from engine.cli import gpu_option, run
from engine.errors import UserError
from engine.options import add_options, fill, flag, option_fields
from engine.progress import progress
from engine.runs import choose_device, keep_freed_memory, random_generator, say
from loading import find_checkpoint, load_model, supernet_sizes
from meta_train.options import BuildOptions, CommonOptions
from predictor.score import encode_architectures
from predictor.train import to_percent
from tasks.features import Features, check_extractor, draw_images, find_features, load_features
from tasks.meta_train import FEATURES_NAME, data_folder, load_task_classes, save_tuples

MAX_POOL = 20_000  # architectures that tasks sample from, where the space is too large to take whole


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
    add("--collect", action="store_true", help="merge the predictor's shards into its database")
    gpu_option(parser)
    done = add_options(parser, CommonOptions)
    done = add_options(parser.add_argument_group("predictor"), ShardOptions, leave_out=done)
    add_options(parser.add_argument_group("generator"), BuildOptions, leave_out=done)
    return parser


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that belong to the other model's database, or that collecting does not use.

    Raises:
        UserError: naming the option.
    """
    own = {"predictor": ShardOptions, "generator": BuildOptions}[args.model_name]
    used = {*option_fields(CommonOptions), "overwrite"} if args.collect else set(option_fields(own, CommonOptions))
    for name in option_fields(ShardOptions, BuildOptions):
        if hasattr(args, name) and name not in used:
            mode = f"--model_name {args.model_name}{' --collect' if args.collect else ''}"
            raise UserError(f"{flag(name)} does nothing with {mode}: leave it out.")


def dispatch(args: argparse.Namespace) -> None:
    args.search_space = getattr(args, "search_space", "ofa_mbv3")
    check_options(args)
    common = fill(CommonOptions, args)
    if args.model_name == "generator" and args.collect:
        say("The generator's database is written whole: there is nothing to collect.")
    elif args.model_name == "generator":
        build(fill(BuildOptions, args, device=choose_device(args.gpu)))
    elif args.collect:
        from database.build import collect

        collect(common.search_space, common.data_path, getattr(args, "overwrite", False))
    else:
        from database.build import build_shards

        values = {"search_space": common.search_space, "data_path": common.data_path, "use_gpus": args.gpu != "cpu"}
        options = fill(ShardOptions, args, device=choose_device(args.gpu), **values)
        if options.imgnet is None:
            raise UserError("--imgnet is missing: name the ImageNet folder, one sub-folder of images a class.")
        build_shards(options)


if __name__ == "__main__":
    sys.exit(run(build_parser(), dispatch))
