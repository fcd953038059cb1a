"""`search`: rank architectures for a dataset; with a budget, train the best network that it buys."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from metad2a.commands.base import Command
from metad2a.core.errors import UserError
from metad2a.searches.options import ALL, PUBLISHED_DATASETS, SearchOptions, choose_ranking, name_the_dataset


def run(options: SearchOptions) -> Any:
    """Search for one dataset, or for the paper's six."""
    if options.budget:
        if options.data_name == ALL:
            raise UserError("--budget is for one dataset: name it with --data-name.")
        from metad2a import spaces
        from metad2a.searches.budget.search import search

        if options.device_latency:
            spaces.get(options.search_space).device_latency(options.device_latency)  # refuses an unknown device
        return search(options)
    from metad2a.searches.instant import search as rank

    options = replace(options, num_runs=options.num_runs or 1, ranking=choose_ranking(options))
    return for_all(rank, options) if options.data_name == ALL else rank(options)


def for_all(one: Callable[[Any], Any], options: Any) -> None:
    """Do `one` for each of the paper's datasets. Raises a UserError at the end if some failed."""
    if options.image_folder:
        raise UserError("--image-folder needs --data-name: give a name for these images.")
    failed: list[str] = []
    for name in PUBLISHED_DATASETS:
        print(f"== {name}")
        try:
            one(replace(options, data_name=name))
        except UserError as error:
            print(f"not done: {error}")
            failed.append(name)
    if failed:
        count = f"{len(failed)} of {len(PUBLISHED_DATASETS)}"
        raise UserError(f"{count} datasets could not be done, for the reasons above: {', '.join(failed)}.")


COMMAND = Command(
    "search",
    "Rank architectures for a dataset at once; with --budget, make the best network for it that the budget buys.",
    "search path/to/images --budget 3m",
    SearchOptions,
    run,
    name_the_dataset,
)
