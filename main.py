"""MetaD2A: meta-train a generator and a predictor of architectures, and search with them.

python main.py --model search --data-name cifar10              rank architectures for a dataset
python main.py --model generator | predictor                   meta-train
python main.py --model build                                   build the generator's database with the predictor
python main.py --model generator | predictor --test ...        the published two steps of a search; with
                                                               --search-space ofa_mbv3 the first ranks as well
python main.py --model train_arch --arch STRING --data-name X  train an architecture on a dataset
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields

from engine.cli import (
    fraction,
    gpu_option,
    mirror_option,
    not_negative_float,
    not_negative_int,
    positive_int,
    run,
    true_or_false,
)
from engine.errors import UserError

MODES = ("search", "generator", "predictor", "build", "train_arch")
SEARCH_SPACES = ("nasbench201", "ofa_mbv3")


def count_or_all(text: str) -> int | None:
    """The argparse type of `--num-gen-arch`: a number, or None for all."""
    return None if text == "all" else positive_int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", "--model-name", "--model_name", required=True, choices=MODES, help="what to do")
    add("--test", action="store_true", help="meta-test the generator or predictor instead of training it")
    add("--search-space", "--graph-data-name", default="nasbench201", choices=SEARCH_SPACES, help="default nasbench201")
    add("--data-path", default="data", help="folder of features and databases (default data)")
    add("--save-path", default="results", help="folder of logs, checkpoints and results (default results)")
    add("--seed", type=not_negative_int, default=333, help="default 333")
    gpu_option(parser)
    mirror_option(parser)
    add("--overwrite", action="store_true", help="replace the checkpoints or the database of an earlier run")
    pickled = os.environ.get("METAD2A_ALLOW_PICKLE", "") not in ("", "0")
    add(
        "--allow-pickle",
        action="store_true",
        default=pickled,
        help="read the authors' databases, which are Python pickles of igraph graphs: the file may build igraph graphs "
        "and NumPy values, nothing else (also METAD2A_ALLOW_PICKLE=1)",
    )

    model = parser.add_argument_group("model and data")
    add = model.add_argument
    add("--hs", type=positive_int, help="width of vertex states (default: generator 56, predictor 512)")
    add("--nz", type=positive_int, help="width of dataset and graph vectors (default 56)")
    add("--nvt", type=positive_int, help="vertex types; follows from the search space, and is checked against it")
    add("--num-sample", type=positive_int, default=20, help="images of each class in a draw (default 20)")
    add("--num-class", type=positive_int, help="meta-test: draw so many classes at random (default all)")

    training = parser.add_argument_group("meta-training")
    add = training.add_argument
    add("--max-epoch", type=positive_int, default=400, help="default 400")
    add("--batch-size", "--batch_size", type=positive_int, help="default 32; 256 to train an architecture")
    add("--lr", type=not_negative_float, default=1e-4, help="Adam's learning rate (default 1e-4)")
    add("--weight-decay", type=not_negative_float, default=0.0, help="Adam's weight decay (default 0)")
    add(
        "--ema",
        type=fraction,
        default=0.0,
        help="validate and keep an exponential moving average of the weights with this decay a step (default 0: off)",
    )
    add(
        "--benchmark-task",
        default="",
        help="predictor: learn a benchmark's accuracies on this dataset as one more task (imagenet16-120)",
    )
    add(
        "--rank-loss",
        type=not_negative_float,
        default=0.0,
        help="predictor: weight of a pairwise ranking loss beside the squared error (default 0)",
    )
    add(
        "--within-task-loss",
        type=not_negative_float,
        default=0.0,
        help="predictor: weight of the squared error of differences between architectures of a task (default 0)",
    )
    add("--save-epoch", type=positive_int, default=20, help="keep ckpt_<epoch>.pt every so many epochs (default 20)")
    add("--resume", action="store_true", help="continue the run in --save-path")

    testing = parser.add_argument_group("meta-test and search")
    add = testing.add_argument
    add("--data-name", help="dataset: its <name>bylabel.pt in --data-path, or shipped: cifar10, mnist, imagenet16-120")
    add("--image-folder", help="images of --data-name, one sub-folder a class, processed first where that is not done")
    add(
        "--image-size",
        type=positive_int,
        help="ofa_mbv3: side in pixels of the images that costs and latency are of, and that --model train_arch trains "
        "on (default: that of the supernet behind the checkpoints, else 224; nasbench201 always has 32)",
    )
    add("--num-gen-arch", type=count_or_all, default=500, help="candidates (default 500), or all to rank the space")
    add("--num-runs", type=positive_int, help="default: search 1; --test 10 for cifar10 and cifar100, else 1")
    add("--num-draws", type=positive_int, default=10, help="draws of the dataset that scores are averaged over")
    add("--load-epoch", type=positive_int, help="load ckpt_<epoch>.pt (default: the last, the predictor's best)")
    add("--generator-checkpoint", help="load this file")
    add("--predictor-checkpoint", help="load this file")
    add(
        "--max-flops",
        "--bound",
        type=not_negative_float,
        help="candidates of at most so many millions of multiply-accumulates",
    )
    add("--max-params", type=not_negative_float, help="candidates of at most so many millions of parameters")
    add("--latency", type=count_or_all, default=0, help="measure so many candidates, best first, or all (default 0)")
    add("--latency-batch", type=positive_int, default=1, help="images of a batch that is measured (default 1)")

    chosen = parser.add_argument_group("training the architecture that was found")
    add = chosen.add_argument
    add("--train-arch", type=true_or_false, default=False, help="--model predictor --test: then train the first choice")
    add("--arch", help="--model train_arch: the architecture, in quotes")
    add("--epochs", type=positive_int, help="default 200, mnist 50; --num-runs (default 3) is the number of seeds")
    add("--export", help="also write the trained networks in these formats: onnx, pt2 or onnx,pt2")
    add("--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on GPUs that have it, else float32")

    build = parser.add_argument_group("build")
    add = build.add_argument
    add(
        "--num-tasks",
        type=positive_int,
        default=1710,
        help="tasks of the generator's database (default 1710: the paper's 1310 + 400)",
    )
    add("--num-sampled", type=positive_int, default=100, help="architectures scored for each task (default 100)")
    return parser


def dispatch(args: argparse.Namespace) -> None:
    import search_spaces

    types = search_spaces.get(args.search_space).num_vertex_type
    if args.nvt not in (None, types):
        raise UserError(f"--nvt {args.nvt}: {args.search_space} has {types} vertex types.")
    if args.train_arch and not (args.model == "predictor" and args.test):
        raise UserError("--train-arch true belongs to --model predictor --test.")
    if args.model == "train_arch":
        run_train_arch(args, args.arch)
    elif args.model == "build":
        run_build(args)
    elif args.model in ("generator", "predictor") and not args.test:
        run_train(args)
    else:
        run_search(args)


def run_train(args: argparse.Namespace) -> None:
    from engine.fit import FitOptions
    from engine.runs import choose_device
    from train import TrainOptions, train

    fit_names = [field.name for field in fields(FitOptions)]
    names = ("search_space", "data_path", "save_path", "hs", "nz", "resume", "overwrite", "allow_pickle")
    given = {name: getattr(args, name) for name in fit_names}
    fit = FitOptions(**{name: value for name, value in given.items() if value is not None})
    values = {name: getattr(args, name) for name in names}
    train(TrainOptions(kind=args.model, device=choose_device(args.gpu), fit=fit, **values))


def run_train_arch(args: argparse.Namespace, arch: str | None) -> str:
    """Train `arch` on the dataset of `args`; prints and returns the report."""
    from engine.runs import choose_device
    from train_arch import TrainArchOptions, train_arch

    for name, value in (("--arch", arch), ("--data-name", args.data_name)):
        if value is None:
            raise UserError(f"{name} is missing: --model train_arch needs an architecture and a dataset.")
    names = (
        "search_space data_name data_path image_folder save_path seed epochs num_runs batch_size precision export "
        "resume overwrite image_size mirror"
    )
    values = {name: getattr(args, name) for name in names.split()}
    text = train_arch(TrainArchOptions(arch=arch, device=choose_device(args.gpu), **values))
    if text:
        print(text)
    return text


def run_build(args: argparse.Namespace) -> None:
    from build_database import BuildOptions, build
    from engine.runs import choose_device

    names = (
        "search_space data_path save_path num_tasks num_sampled num_draws num_sample seed load_epoch overwrite "
        "predictor_checkpoint hs nz"
    )
    build(BuildOptions(device=choose_device(args.gpu), **{name: getattr(args, name) for name in names.split()}))


def run_search(args: argparse.Namespace) -> None:
    import search
    from engine.runs import choose_device

    if args.data_name is None:
        raise UserError("--data-name is missing: name a dataset, for example --data-name cifar10.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("torchrun is for --model train_arch alone: search without it, then train what was found.")
    names = (
        "search_space data_name data_path image_folder save_path num_gen_arch num_runs num_draws num_sample num_class "
        "seed load_epoch generator_checkpoint predictor_checkpoint hs nz max_flops max_params latency latency_batch "
        "image_size mirror"
    )
    values = {name: getattr(args, name) for name in names.split()}
    if args.model == "search":
        values["num_runs"] = args.num_runs or 1
    options = search.SearchOptions(device=choose_device(args.gpu), **values)
    command = {"search": search.search, "generator": search.test_generator, "predictor": search.test_predictor}
    first_choice = command[args.model](options)
    if args.train_arch:
        search.add_training(options, run_train_arch(args, first_choice))


def main(argv: Sequence[str] | None = None) -> int:
    return run(build_parser(), dispatch, argv)


if __name__ == "__main__":
    sys.exit(main())
