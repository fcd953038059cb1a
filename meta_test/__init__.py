"""Meta-test: search for a dataset, the published two steps and their reports (MetaD2A section 4.2)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meta_test.report import Ranking

__all__ = ["propose"]


def propose(data_name: str, gpu: str | None = None, **options: Any) -> "Ranking":
    """`python main.py --model search`, from Python: prints and writes the same and returns the ranking.

    Args:
        gpu: as `--gpu`.
        options: further fields of `meta_test.options.SearchOptions`, for example `image_folder` or `max_flops`.

    Raises:
        UserError: whatever the command would end with.
    """
    from engine.runs import choose_device  # PyTorch takes seconds
    from meta_test.options import SearchOptions, choose_ranking
    from meta_test.search import search

    chosen = SearchOptions(device=choose_device(gpu), data_name=data_name, num_runs=1, **options)
    return search(replace(chosen, ranking=choose_ranking(chosen, options)))[0]
