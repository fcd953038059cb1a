"""What is known about each of K = 4,930 classes of equal cells before any training, F features of each kind."""

from collections.abc import Sequence
from itertools import product
from typing import Annotated

import torch
from scipy import stats
from torch import nn
from typing_extensions import TypedDict

from metad2a.core.files import ASSETS, load_torch
from metad2a.core.schema import check
from metad2a.core.tensors import FLOATS, TensorOf
from metad2a.spaces.nasbench201.cells import CELL_EDGES, NONE, OPERATIONS, SKIP, all_cells, live_operations
from metad2a.spaces.nasbench201.classes import NUM_CLASSES, first_members

SCORES = ASSETS / "nasbench201" / "training_free.pt"
SCORES_FORMAT = "metad2a-training-free-1"
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # the edges of each way from a cell's input to its output


class _Scores(TypedDict):
    scores: Annotated[torch.Tensor, TensorOf(FLOATS, (NUM_CLASSES, "F"))]


def path_counts(operations: Sequence[int]) -> list[int]:
    """The number of paths from input to output with each of the 40 sequences of operations, without skips."""
    chains = [tuple(operations[edge] for edge in path) for path in PATHS]
    kept = [tuple(op for op in chain if op != SKIP) for chain in chains if NONE not in chain]
    others = [op for op in range(len(OPERATIONS)) if op not in (NONE, SKIP)]
    return [kept.count(sequence) for length in range(4) for sequence in product(others, repeat=length)]


def cell_shape(operations: Sequence[int]) -> tuple[int, float, int]:
    """Depth, width and number of convolutions of the edges on a way from input to output.

    Depth is the number of edges on the longest way, width the number of nodes connected to the input (Shu et al., ICLR
    2020, "Understanding Architectures Learnt by Cell-based NAS"), each as the share of its edges that come from there.
    """
    live = live_operations(operations)
    edges = [edge for edge, op in zip(CELL_EDGES, live, strict=True) if op != NONE]
    longest, width = {0: 0}, 0.0
    for node in (1, 2, 3):
        sources = [source for target, source in edges if target == node]
        if sources:
            longest[node] = 1 + max(longest[source] for source in sources)
            width += sources.count(0) / len(sources)
    return longest.get(3, 0), width, sum(OPERATIONS[op].startswith("nor_conv") for op in live)


def cell_features(scores: torch.Tensor) -> dict[str, torch.Tensor]:
    """Features of each class, each (K, F) float64: paths, operations on live edges, and the normal quantiles of the
    ranks of scores (K, F) in each column."""
    cells = all_cells()
    operations = [cells[number] for number in first_members()]
    live = torch.tensor([live_operations(row) for row in operations])
    ranks = stats.rankdata(scores.numpy(), axis=0)
    return {
        "paths": torch.tensor([path_counts(row) for row in operations], dtype=torch.float64),
        "operations": nn.functional.one_hot(live, len(OPERATIONS)).flatten(1).double(),
        "scores": torch.from_numpy(stats.norm.ppf((ranks - 0.5) / len(ranks))),
    }


def published_features() -> dict[str, torch.Tensor]:
    """`cell_features` with the published training-free scores. Raises a UserError if their file is damaged."""
    hint = "It is part of the repository: check it out anew."
    value = check(SCORES, load_torch(SCORES, hint), _Scores, "a file of training-free scores", hint, SCORES_FORMAT)
    return cell_features(value["scores"].double())
