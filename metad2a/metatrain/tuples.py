"""The meta-training database: tuples of a task (ImageNet classes), an architecture and its accuracy.

Dimensions: n tuples, C classes per task.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from pydantic import BeforeValidator
from torch.nn.utils.rnn import pad_sequence

from metad2a.core.errors import UserError, describe
from metad2a.core.files import ASSETS, content_digest, display_path, load_torch, save_torch
from metad2a.core.schema import OPEN, Size, Text, check
from metad2a.core.tensors import FLOATS, INTEGERS, NumbersOf
from metad2a.graphs.batch import GraphBatch
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.sizes import Sizes

FORMAT = "metad2a-tuples-1"
NUM_VALIDATION = 400  # the first tuples of the split validate, the rest train (section 4.1)
FEATURES_NAME = "imgnet32"
TASK_LIST = "meta_train_task_lst.pt"


@dataclass(frozen=True)
class Tuples:
    """Meta-training tuples of one model."""

    archs: list[Any]  # n architectures
    accuracy: torch.Tensor  # (n,) float, %
    task: torch.Tensor  # (n,) long, rows of `task_classes`
    task_classes: torch.Tensor  # (tasks, C) long, classes as numbers from 0 in the features; -1 pads smaller tasks
    split: torch.Tensor  # (n,) long, a permutation: first the validation tuples, then the training tuples
    source: str  # the file of the tuples
    num_validation: int | None = None  # None: 400, or a quarter of a smaller database
    sizes: Sizes = field(default_factory=Sizes)  # known sizes of the supernet that measured the accuracies

    @property
    def validation(self) -> torch.Tensor:
        """Numbers of the validation tuples, long."""
        return self.split[: self._num_validation]

    @property
    def training(self) -> torch.Tensor:
        """Numbers of the training tuples, long."""
        return self.split[self._num_validation :]

    @property
    def _num_validation(self) -> int:
        return self.num_validation or min(NUM_VALIDATION, max(1, len(self.split) // 4))


def data_folder(space: SearchSpace, data_path: str | Path) -> Path:
    """The folder of a search space's databases."""
    return Path(data_path) / space.results_folder


def tuples_file(kind: str, space: SearchSpace, data_path: str | Path) -> Path:
    """The file of the "generator" or "predictor" tuples: the user's file, otherwise the shipped file."""
    name = f"meta_train_tasks_{kind}.pt"
    own, shipped = data_folder(space, data_path) / name, ASSETS / "meta_train" / name
    if own.is_file():
        return own
    if space.tuples_shipped and shipped.is_file():
        return shipped
    if kind == "generator":
        hint = f"Build it with: python main.py build-database --model generator --search-space {space.name}"
    elif space.tuples_shipped:
        hint = "Fetch it with: python get_files/get_preprocessed_data.py"
    else:
        hint = (
            f"Build it with: python main.py build-database --model predictor --search-space {space.name} --index 0 "
            "--imgnet DIR, then --collect"
        )
    raise UserError(f"{own} is missing. {hint}")


def load_task_classes(folder: Path, num_classes: int) -> torch.Tensor:
    """Read the task list in the folder of the tuples, otherwise the shipped list, through `pad_tasks`."""
    path = folder / TASK_LIST if (folder / TASK_LIST).is_file() else ASSETS / "meta_train" / TASK_LIST
    hint = "Fetch it with: python get_files/get_preprocessed_data.py"
    return pad_tasks(check(path, load_torch(path, hint), Tasks, "a list of tasks", hint), num_classes, path)


def pad_tasks(tasks: list[torch.Tensor], num_classes: int, path: Path) -> torch.Tensor:
    """Convert tasks of the file `path` (class numbers from 1) to (tasks, C) long: numbers from 0, padded by -1."""
    numbers = pad_sequence(tasks, batch_first=True, padding_value=0)
    if int(numbers.max()) > num_classes:
        raise UserError(
            f"{path} names class {int(numbers.max())}, but the features of {FEATURES_NAME} hold classes 1 to "
            f"{num_classes}."
        )
    return numbers - 1


def load_tuples(
    kind: str, space: SearchSpace, data_path: str | Path, num_classes: int, allow_pickle: bool = False
) -> Tuples:
    """Read tuples in the authors' layouts (`graph`, or `str` and `g`) or in ours; `allow_pickle` permits igraph graphs.

    A missing or damaged file, parts that do not fit together, or a class beyond `num_classes` raise a UserError.
    """
    path = tuples_file(kind, space, data_path)
    hint = f"Fetch or build the {kind}'s database anew."
    file = check(path, load_torch(path, hint, allow_pickle), _File, "a meta-training database", hint)
    archs = _architectures(path, file, space, hint)
    if file.tasks is not None:
        task_classes = pad_tasks(file.tasks, num_classes, path)
    else:
        task_classes = load_task_classes(path.parent, num_classes)
    split_path, hint = path.with_name(f"meta_train_tasks_{kind}_idx.pt"), "It belongs to the database beside it."
    split = check(split_path, load_torch(split_path, hint), _Split, "a split", hint)
    counts = {"architectures": archs, "accuracies": file.acc, "tasks": file.task, "entries in the split": split}
    if len({len(values) for values in counts.values()}) > 1:
        parts = ", ".join(f"{len(values)} {name}" for name, values in counts.items())
        raise UserError(f"{path} is inconsistent: it has {parts}.")
    if not torch.equal(split.sort().values, torch.arange(len(split))):
        raise UserError(f"The split beside {path} is not a permutation of its {len(split)} tuples.")
    if (file.num_validation or 0) >= len(split) > 1:
        raise UserError(f"{path}: num_validation {file.num_validation} of {len(split)} tuples leaves none to train on.")
    if int(file.task.max()) >= len(task_classes):
        raise UserError(f"{path} refers to task {int(file.task.max())}, but the task list has {len(task_classes)}.")
    more = file.num_validation, file.sizes
    return Tuples(archs, file.acc.float(), file.task, task_classes, split, display_path(path), *more)


def _list_of_rows(value: Any) -> Any:
    return list(value) if isinstance(value, torch.Tensor) and value.ndim == 2 else value


Tasks = Annotated[
    list[Annotated[torch.Tensor, NumbersOf(INTEGERS, low=1)]], MinLen(1), BeforeValidator(_list_of_rows)
]  # class numbers, from 1
_Split = Annotated[torch.Tensor, NumbersOf(INTEGERS, low=0)]


@dataclass(frozen=True)
class _File:
    """A database of this program or of the authors. `str` holds the architectures, or `graph` in the authors' files."""

    __pydantic_config__ = OPEN

    acc: Annotated[torch.Tensor, NumbersOf(FLOATS)]
    task: Annotated[torch.Tensor, NumbersOf(INTEGERS, low=0)]
    str: Annotated[list[Text], MinLen(1)] | None = None
    graph: Annotated[list[Any], MinLen(1)] | None = None
    tasks: Tasks | None = None
    num_validation: Size | None = None
    sizes: Sizes = field(default_factory=Sizes)


def _architectures(path: Path, file: _File, space: SearchSpace, hint: str) -> list[Any]:
    if file.str is not None:
        try:
            return [space.from_text(text) for text in file.str]
        except UserError as error:
            raise UserError(f"{path}: {error} {hint}") from error
    if file.graph is None:
        raise UserError(f"{path} has neither 'graph' nor 'str'. {hint}")
    archs = space.decode(_from_igraphs(path, file.graph, space, hint))
    if None in archs:
        raise UserError(f"{path}: graph {archs.index(None)} is not an architecture of {space.name}. {hint}")
    return archs


def _from_igraphs(path: Path, graphs: list[Any], space: SearchSpace, hint: str) -> GraphBatch:
    """Convert igraph graphs, whose vertices have an attribute `type`."""
    types, edges = [], []
    for number, graph in enumerate(graphs):
        is_graph = type(graph).__name__ == "Graph" and "type" in graph.vs.attributes()
        types.append(graph.vs["type"] if is_graph else [])
        valid = all(type(kind) is int and 0 <= kind < space.num_vertex_type for kind in types[-1])
        if not valid or not 0 < len(types[-1]) <= space.max_n:
            raise UserError(
                f"{path}: graph {number} is {describe(graph)}, but should be an igraph graph of at most {space.max_n} "
                f"vertices whose types are numbers from 0 to {space.num_vertex_type - 1}. {hint}"
            )
        edges.append(graph.get_edgelist())
    return GraphBatch.from_lists(types, edges, space.max_n)


def save_tuples(
    kind: str, folder: str | Path, texts: list[str],
    accuracy: torch.Tensor, task: torch.Tensor, split: torch.Tensor, **more: Any,
) -> Path:  # fmt: skip
    """Write a database in our layout, which holds only tensors, numbers and text; returns its file.

    `more`: `num_validation` and `sizes` as in `Tuples`; `tasks` (class numbers from 1) if the folder lacks a task list.
    """
    path = Path(folder) / f"meta_train_tasks_{kind}.pt"
    save_torch(path, {"format": FORMAT, "acc": accuracy, "task": task, "str": texts, **more})
    save_torch(path.with_name(f"meta_train_tasks_{kind}_idx.pt"), split)
    return path


def tuples_digest(tuples: Tuples, space: SearchSpace) -> str:
    """Digest of the architectures, their accuracies, tasks and split."""
    texts = [space.to_text(arch) for arch in tuples.archs]
    split = tuples.split, len(tuples.validation)
    return content_digest(texts, tuples.accuracy, tuples.task, tuples.task_classes, *split)
