"""`meta-test`: the published two steps of a search, generate and rank (MetaD2A section 4)."""

from dataclasses import replace
from typing import Any

from metad2a.commands.base import Command
from metad2a.commands.meta_train import check_vertex_types
from metad2a.commands.search import for_all
from metad2a.commands.train import run as train
from metad2a.core.options import option_fields
from metad2a.networks.options import TrainingOptions, TrainOptions
from metad2a.searches.options import ALL, PREDICTOR, MetaTestOptions, choose_ranking


def run(options: MetaTestOptions) -> None:
    """Do the step that `options.model` names, for one dataset or the paper's six."""
    check_vertex_types(options.search_space, options.nvt)
    from metad2a import spaces
    from metad2a.networks.export import check_formats

    if spaces.get(options.search_space).ranks_when_generating:
        of_predictor = options.model == "predictor" and {"load_epoch", "hs", "nz"} & options.given
        options = replace(options, ranking=PREDICTOR if of_predictor else choose_ranking(options))
    check_formats(options.export)  # before anything takes time
    if options.data_name == ALL:
        for_all(one_step, options)
    else:
        one_step(options)


def one_step(options: MetaTestOptions) -> None:
    """Generate, or rank and train if that is wanted."""
    from metad2a.searches.published import add_training, test_generator, test_predictor

    if options.model == "generator":
        test_generator(options)
        return
    first_choice = test_predictor(options)
    if options.train_arch:
        how: dict[str, Any] = {name: getattr(options, name) for name in option_fields(TrainingOptions)}
        how |= {name: getattr(options, name) for name in ("gpu", "data_name", "image_folder", "image_size")}
        how["split_seed"] = options.split_seed if "split_seed" in options.given else options.seed
        outcome = train(TrainOptions(arch=first_choice, **how))
        add_training(options, outcome.text)


COMMAND = Command(
    "meta-test",
    "Search in the published two steps: the generator's writes candidates, the predictor's ranks them.",
    "meta-test --model generator --num-gen-arch 500 --data-name cifar10",
    MetaTestOptions,
    run,
)
