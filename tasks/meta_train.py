"""The meta-training database: tuples of a task (classes of ImageNet), an architecture and its accuracy.

Dimensions: n tuples, C classes of a task.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from engine.errors import UserError
from engine.files import ASSETS, load_torch, save_torch, shown
from search_spaces import SearchSpace

FORMAT = "metad2a-tuples-1"
NUM_VALIDATION = 400  # the split file's first tuples are meta-validation, the rest meta-training (section 4.1)
FEATURES_NAME = "imgnet32"
TASK_LIST = "meta_train_task_lst.pt"


@dataclass(frozen=True)
class Tuples:
    """Meta-training tuples of one model.

    Attributes:
        archs: n architectures.
        accuracy: (n,) float, %.
        task: (n,) long, rows of `task_classes`.
        task_classes: (number of tasks, C) long, classes as rows of the features (number 1 is row 0), -1 beyond a
            task's own classes.
        split: (n,) long, a permutation: first the validation tuples, then those for training.
        source: the file they were read from.
        num_validation: how many are for validation; None for 400, or a quarter of a smaller database.
        sizes: `image_size` and `width_mult` of the supernet that measured them, where one did and it is known.
    """

    archs: list[Any]
    accuracy: torch.Tensor
    task: torch.Tensor
    task_classes: torch.Tensor
    split: torch.Tensor
    source: str
    num_validation: int | None = None
    sizes: dict[str, float] = field(default_factory=dict)

    @property
    def validation(self) -> torch.Tensor:
        """The first tuples of the split, long."""
        return self.split[: self._num_validation]

    @property
    def training(self) -> torch.Tensor:
        return self.split[self._num_validation :]

    @property
    def _num_validation(self) -> int:
        return self.num_validation or min(NUM_VALIDATION, max(1, len(self.split) // 4))


def data_folder(space: SearchSpace, data_path: str | Path) -> Path:
    """Where the databases of a search space are."""
    return Path(data_path) / space.results_folder


def tuples_file(kind: str, space: SearchSpace, data_path: str | Path) -> Path:
    """File of the tuples of "generator" or "predictor": the user's, else the shipped one.

    Raises:
        UserError: there is neither.
    """
    name = f"meta_train_tasks_{kind}.pt"
    own = data_folder(space, data_path) / name
    shipped = [ASSETS / "meta_train" / name] if space.tuples_shipped else []
    for path in (own, *shipped):
        if path.is_file():
            return path
    if kind == "generator":
        mend = f"Build it from a trained predictor with: python main.py --model build --search-space {space.name}"
    elif space.tuples_shipped:
        mend = "Fetch it with: python get_files/get_preprocessed_data.py"
    else:
        mend = "Build it with: python build_database.py --model_name predictor --index 0 --imgnet DIR, then --collect"
    raise UserError(f"{own} is missing. {mend}")


def load_task_classes(folder: Path, num_classes: int) -> torch.Tensor:
    """The task list beside the tuples, else the shipped one: (tasks, C) long, rows of the features, -1 beyond a
    task's own classes.

    Raises:
        UserError: it is missing or damaged, or names a class beyond the `num_classes` of the features.
    """
    path = folder / TASK_LIST if (folder / TASK_LIST).is_file() else ASSETS / "meta_train" / TASK_LIST
    tasks = load_torch(path, "Fetch it with: python get_files/get_preprocessed_data.py")
    if not isinstance(tasks, list) and not torch.is_tensor(tasks):
        raise UserError(f"{path} is not a list of tasks.")
    return pad_tasks([torch.as_tensor(task, dtype=torch.long) for task in tasks], num_classes, path)


def pad_tasks(tasks: list[torch.Tensor], num_classes: int, path: Path) -> torch.Tensor:
    """Tasks as class numbers from 1, of any sizes, to (tasks, C) long: rows of the features, -1 beyond a task's own.

    Raises:
        UserError: a task of the file `path` is empty or names a class beyond `num_classes`.
    """
    if not tasks or min(map(len, tasks)) == 0:
        raise UserError(f"{path} has no tasks, or one without classes.")
    numbers = pad_sequence(tasks, batch_first=True, padding_value=0)
    lowest = min(int(task.min()) for task in tasks)
    if lowest < 1 or int(numbers.max()) > num_classes:
        raise UserError(
            f"{path} names classes {lowest} to {int(numbers.max())}, but the features of {FEATURES_NAME} hold classes "
            f"1 to {num_classes}."
        )
    return numbers - 1


def load_tuples(
    kind: str, space: SearchSpace, data_path: str | Path, num_classes: int, allow_pickle: bool = False
) -> Tuples:
    """Read tuples in the authors' layouts (`graph`, or `str` and `g`) or in ours.

    Args:
        num_classes: of the features of ImageNet that the tasks refer to.
        allow_pickle: read the authors' igraph graphs.

    Raises:
        UserError: a file is missing, damaged, or refers to what is not there.
    """
    path = tuples_file(kind, space, data_path)
    value = load_torch(path, f"Fetch or build the {kind}'s database anew.", allow_pickle)
    if not isinstance(value, dict) or not {"acc", "task"} <= set(value):
        raise UserError(f"{path} is not a meta-training database: it needs 'acc', 'task' and 'graph' or 'str'.")
    archs = _architectures(path, value, space)
    accuracy = torch.as_tensor([float(a) for a in value["acc"]])
    task = torch.as_tensor([int(t) for t in value["task"]])
    if "tasks" in value:
        tasks = [torch.as_tensor(task, dtype=torch.long) for task in value["tasks"]]
        task_classes = pad_tasks(tasks, num_classes, path)
    else:
        task_classes = load_task_classes(path.parent, num_classes)
    split = load_torch(path.with_name(f"meta_train_tasks_{kind}_idx.pt"), "It belongs to the database beside it.")
    split = torch.as_tensor(split, dtype=torch.long)
    if not len(archs) == len(accuracy) == len(task) == len(split):
        raise UserError(f"{path} is inconsistent: {len(archs)} architectures, {len(accuracy)} accuracies, {len(task)} "
                        f"tasks, {len(split)} entries in the split.")  # fmt: skip
    if not torch.equal(split.sort().values, torch.arange(len(split))):
        raise UserError(f"The split beside {path} is not a permutation of its {len(split)} tuples.")
    if not bool(torch.isfinite(accuracy).all()):
        raise UserError(f"{path} holds accuracies that are NaN or infinite.")
    if int(task.min()) < 0 or int(task.max()) >= len(task_classes):
        raise UserError(f"{path} refers to task {int(task.max())}, but the task list has {len(task_classes)}.")
    more = value.get("num_validation"), value.get("sizes", {})
    return Tuples(archs, accuracy, task, task_classes, split, shown(path), *more)


def _architectures(path: Path, value: dict[str, Any], space: SearchSpace) -> list[Any]:
    if "str" in value:
        return [space.from_text(text) for text in value["str"]]
    if "graph" not in value:
        raise UserError(f"{path} has neither 'graph' nor 'str'.")
    archs = space.decode(from_igraphs(value["graph"], space.max_n))
    if None in archs:
        raise UserError(f"{path}: graph {archs.index(None)} is not an architecture of {space.name}.")
    return archs


def from_igraphs(graphs: list[Any], max_n: int):
    """igraph graphs with a vertex attribute `type` as a `GraphBatch`."""
    from graphs.batch import GraphBatch

    return GraphBatch.from_lists([g.vs["type"] for g in graphs], [g.get_edgelist() for g in graphs], max_n)


def save_tuples(
    kind: str,
    folder: str | Path,
    texts: list[str],
    accuracy: torch.Tensor,
    task: torch.Tensor,
    split: torch.Tensor,
    **more: Any,
) -> Path:
    """Write a database in our layout, tensors, numbers and text alone; returns its file.

    Args:
        more: `num_validation` and `sizes` as in `Tuples`, and `tasks`, class numbers from 1, where they are not in the
            task list beside it.
    """
    path = Path(folder) / f"meta_train_tasks_{kind}.pt"
    save_torch(path, {"format": FORMAT, "acc": accuracy, "task": task, "str": texts, **more})
    save_torch(path.with_name(f"meta_train_tasks_{kind}_idx.pt"), split)
    return path
