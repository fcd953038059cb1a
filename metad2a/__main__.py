"""MetaD2A: meta-train a generator and a predictor of architectures, and search with them.

python main.py --model search --data-name cifar10              rank architectures for a dataset
python main.py --model generator | predictor                   meta-train
python main.py --model build                                   build the generator's database with the predictor
python main.py --model generator | predictor --test ...        the published two steps of a search; with
                                                               --search-space ofa_mbv3 the first ranks as well
python main.py --model compare --data-name cifar10             run other search methods beside ours
python main.py --model train_arch --arch STRING --data-name X  train an architecture on a dataset
python main.py --model predict --network RUN --images PATH     classify image files with what was trained
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from metad2a.core.cli import gpu_option, positive_int, run, true_or_false
from metad2a.core.errors import UserError
from metad2a.core.options import CommonOptions, ModelSizes, add_options, fill, flag, option_fields
from metad2a.metatrain.options import BuildOptions, FitOptions, TrainOptions
from metad2a.networks.options import PredictOptions, TrainArchOptions
from metad2a.rivals.cost import REAL
from metad2a.rivals.options import CompareOptions
from metad2a.rivals.options import budget as budget_of_comparison
from metad2a.rivals.real_options import RealOptions
from metad2a.searches.budget.options import BudgetOptions
from metad2a.searches.budget.options import budget as budget_of_search
from metad2a.searches.options import ALL, OF_PREDICTOR, PREDICTOR, PUBLISHED_DATASETS, SearchOptions, choose_ranking

# The modes as messages name them, and the options of each.
MODES: dict[str, tuple[type, ...]] = {
    "search": (SearchOptions, BudgetOptions),
    "generator | predictor": (TrainOptions, FitOptions),
    "generator | predictor --test": (SearchOptions,),
    "build": (BuildOptions,),
    "train_arch": (TrainArchOptions,),
    "predict": (PredictOptions,),
    "compare": (CompareOptions, RealOptions),
}
UNUSED = {("predictor", "nasbench201"): {"generator_checkpoint"}, ("predictor", "ofa_mbv3"): {"generator_checkpoint"},
          ("generator", "nasbench201"): {"predictor_checkpoint", "latency", "latency_batch", "num_draws"}}  # fmt: skip
ONE_GO = {"ranking", "report", "pareto"}  # what the published two steps have no use for
NOT_ON_A_BUDGET = (*OF_PREDICTOR, "ranking", "num_runs", "latency", "latency_batch", "image_size", "pareto")
INSTEAD = {("train_arch", "max_epoch"): "--epochs", ("generator | predictor", "epochs"): "--max-epoch"}
GENERAL = {"model", "test", "gpu", "nvt", "train_arch"}  # of all modes, or with checks of their own


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    names = ("search", "generator", "predictor", "build", "train_arch", "predict", "compare")
    add("--model", "--model-name", "--model_name", required=True, choices=names, help="what to do")
    add("--test", action="store_true", help="meta-test the generator or predictor instead of training it")
    gpu_option(parser)
    add("--nvt", type=positive_int, help="vertex types; follows from the search space, and is checked against it")
    done = add_options(parser, CommonOptions, ModelSizes)
    for title, cls in (
        ("meta-training", FitOptions),
        ("meta-training", TrainOptions),
        ("meta-test and search", SearchOptions),
        ("search on a budget", BudgetOptions),
        ("build", BuildOptions),
        ("training the architecture that was found", TrainArchOptions),
        ("classifying images", PredictOptions),
        ("comparing search methods", CompareOptions),
        ("comparing search methods", RealOptions),
    ):
        done = add_options(parser.add_argument_group(title), cls, leave_out=done)
    parser.add_argument(
        "--train-arch", type=true_or_false, default=False, help="--model predictor --test: then train the first choice"
    )
    return parser


def mode_of(args: argparse.Namespace) -> str:
    """Return which of `MODES` the arguments choose."""
    if args.model in ("generator", "predictor"):
        return "generator | predictor" + (" --test" if args.test else "")
    return args.model


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that the chosen mode does not use.

    Raises:
        UserError: naming the mode that an option belongs to.
    """
    mode, space = mode_of(args), getattr(args, "search_space", CommonOptions.search_space)
    used = set(option_fields(*MODES[mode])) | GENERAL
    if mode.endswith("--test"):
        used -= UNUSED.get((args.model, space), set()) | ONE_GO
        if args.train_arch:
            used |= set(option_fields(TrainArchOptions)) - {"arch"}
    for name in vars(args):
        if name in used:
            continue
        modes = [other for other, classes in MODES.items() if name in option_fields(*classes) and other != mode]
        instead = f"; use {INSTEAD[mode, name]} here" if (mode, name) in INSTEAD else ""
        raise UserError(
            f"{flag(name)} belongs to --model {', '.join(modes)} and does nothing with --model {args.model}"
            f"{' --test' if args.test else ''}: leave it out{instead}."
        )
    if args.test and args.model not in ("generator", "predictor"):
        raise UserError(f"--test belongs to --model generator | predictor and does nothing with --model {args.model}.")
    if args.train_arch and not (args.model == "predictor" and args.test):
        raise UserError("--train-arch true belongs to --model predictor --test.")


def dispatch(args: argparse.Namespace) -> None:
    check_options(args)
    if hasattr(args, "budget"):
        args.budget = (budget_of_search if args.model == "search" else budget_of_comparison)(args.budget)

    from metad2a import spaces

    space = spaces.get(getattr(args, "search_space", CommonOptions.search_space))
    if args.nvt not in (None, space.num_vertex_type):
        raise UserError(f"--nvt {args.nvt}: {space.name} has {space.num_vertex_type} vertex types.")
    if args.model == "train_arch":
        run_train_arch(args)
    elif args.model == "predict":
        run_predict(args)
    elif args.model == "build":
        run_build(args)
    elif args.model == "compare":
        run_compare(args)
    elif args.model == "search" or args.test:
        run_search(args)
    else:
        run_train(args)


def run_train(args: argparse.Namespace) -> None:
    from metad2a.core.environment import choose_device
    from metad2a.metatrain.train import train_model

    train_model(fill(TrainOptions, args, kind=args.model, device=choose_device(args.gpu), fit=fill(FitOptions, args)))


def run_build(args: argparse.Namespace) -> None:
    from metad2a.core.environment import choose_device
    from metad2a.database.generator import build

    build(fill(BuildOptions, args, device=choose_device(args.gpu)))


def run_train_arch(args: argparse.Namespace, **values: str) -> str:
    """Train an architecture on the dataset of `args`; prints and returns the report."""
    from metad2a.core.environment import choose_device
    from metad2a.networks.train_arch import train_arch

    options = fill(TrainArchOptions, args, device=choose_device(args.gpu), **values)
    for name in ("arch", "data_name"):
        if getattr(options, name) in (None, ALL):
            raise UserError(f"{flag(name)} is missing: --model train_arch needs an architecture and a dataset.")
    text = train_arch(options).text
    if text:
        print(text)
    return text


def run_predict(args: argparse.Namespace) -> None:
    from metad2a.core.environment import choose_device
    from metad2a.networks.predict import predict, text

    print(text(predict(fill(PredictOptions, args, device=choose_device(args.gpu)))))


def run_compare(args: argparse.Namespace) -> None:
    from metad2a.core.environment import choose_device

    if getattr(args, "data_name", ALL) == ALL:
        raise UserError("--data-name is missing: --model compare needs a dataset.")
    real = getattr(args, "form", CompareOptions.form) == REAL
    options = fill(RealOptions if real else CompareOptions, args, device=choose_device(args.gpu))
    if real:
        from metad2a.rivals.real_compare import compare_real

        compare_real(options)
        return
    from metad2a.rivals.compare import compare

    for name in option_fields(RealOptions):
        if hasattr(args, name) and name not in option_fields(CompareOptions):
            raise UserError(f"{flag(name)} does nothing with --form table: leave it out, or add --form real.")
    compare(options)


def run_search(args: argparse.Namespace) -> None:
    from metad2a import spaces
    from metad2a.core.environment import choose_device
    from metad2a.searches.instant import search
    from metad2a.searches.published import add_training, test_generator, test_predictor

    options = fill(SearchOptions, args, device=choose_device(args.gpu))
    if args.model == "search":
        options = replace(options, num_runs=options.num_runs or 1, ranking=choose_ranking(options, vars(args)))
    elif spaces.get(options.search_space).ranks_when_generating:
        of_predictor = args.model == "predictor" and {"load_epoch", "hs", "nz"} & set(vars(args))
        options = replace(options, ranking=PREDICTOR if of_predictor else choose_ranking(options, vars(args)))
    how = fill(BudgetOptions, args) if args.model == "search" else BudgetOptions()
    if how.budget.amount:
        run_budget(args, options, how)
        return
    unused = [name for name in option_fields(BudgetOptions) if name != "budget" and hasattr(args, name)]
    if unused and args.model == "search":
        modes = [mode for mode, classes in MODES.items() if unused[0] in option_fields(*classes) and mode != "search"]
        others = f", or to --model {', '.join(modes)}" if modes else ""
        raise UserError(f"{flag(unused[0])} belongs to a search with --budget, for example --budget 30m{others}.")
    step = {"search": search, "generator": test_generator, "predictor": test_predictor}[args.model]
    if args.train_arch:
        from metad2a.networks.export import check_formats

        check_formats(getattr(args, "export", None))  # before anything takes time

    def one(options: SearchOptions) -> None:
        first_choice = step(options)
        if args.train_arch and isinstance(first_choice, str):
            add_training(options, run_train_arch(args, arch=first_choice, data_name=options.data_name))

    if options.data_name == ALL:
        for_all(one, options)
    else:
        one(options)


def run_budget(args: argparse.Namespace, options: SearchOptions, how: BudgetOptions) -> None:
    """A search that trains on the dataset's images.

    Raises:
        UserError: an option is of another way of searching.
    """
    if options.data_name == ALL:
        raise UserError("--budget is for one dataset: name it with --data-name.")
    if others := [name for name in NOT_ON_A_BUDGET if hasattr(args, name)]:
        raise UserError(f"{flag(others[0])} does nothing with --budget, which starts from the universal ranking.")
    from metad2a.searches.budget.search import search

    search(options, how)


def for_all(one: Callable[[SearchOptions], None], options: SearchOptions) -> None:
    """A meta-test on each of the paper's datasets; one that cannot be done does not keep the others.

    Raises:
        UserError: some could not be done.
    """
    if options.image_folder:
        raise UserError("--image-folder is of one dataset: name it with --data-name.")
    failed: dict[str, UserError] = {}
    for name in PUBLISHED_DATASETS:
        print(f"== {name}")
        try:
            one(replace(options, data_name=name))
        except UserError as error:
            print(f"not done: {error}")
            failed[name] = error
    if failed:
        first = next(iter(failed))
        raise UserError(
            f"{len(failed)} of {len(PUBLISHED_DATASETS)} datasets could not be done: {', '.join(failed)}. {first}: "
            f"{failed[first]}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    return run(build_parser(), dispatch, argv)


if __name__ == "__main__":
    sys.exit(main())
