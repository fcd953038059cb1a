"""Build the shards of a predictor's database, and collect them (MetaD2A section 4.1)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from metad2a import spaces
from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import file_digest, save_torch, write_csv
from metad2a.core.messages import counted, log
from metad2a.core.progress import progress
from metad2a.data.feature_files import find_features
from metad2a.data.features import load_features
from metad2a.data.user_folder import folder_parts
from metad2a.database.items import Item, draw_item, name_classes
from metad2a.database.options import DatabaseOptions
from metad2a.database.shards import ShardWriter, read_shard, shard_file, shard_files
from metad2a.database.trainings import COLUMNS, TRAININGS_FILE, Training, draw_task, row_of
from metad2a.database.workers import EvaluatorOptions, measure_here, measure_with_ray
from metad2a.metatrain.tuples import FEATURES_NAME, NUM_VALIDATION, TASK_LIST, data_folder, save_tuples
from metad2a.spaces.base import SearchSpace


def shards_folder(space: SearchSpace, data_path: str | Path, model: str = "predictor") -> Path:
    return data_folder(space, data_path) / f"{model}_shards"


def build_shards(options: DatabaseOptions) -> None:
    """Measure the predictor's tasks that the shards still lack; each measured task is on disk at once."""
    space = spaces.get(options.search_space)
    features = load_features(find_features(FEATURES_NAME, options.data_path), FEATURES_NAME)
    names, numbers = name_classes(features, options.class_order)

    def draw(shard: int, task: int) -> Item:
        return draw_item(space, len(names), options.num_arch, options.seed, shard, task)

    _build(options, shards_folder(space, options.data_path), names, numbers, draw)


def build_trainings(options: DatabaseOptions) -> None:
    """Train the networks that the ranking's shards of a folder still lack; each training is on disk at once."""
    space = spaces.get(options.search_space)
    names = folder_parts(options.data_name, options.imgnet)[0].class_names
    tasks = {shard: draw_task(space, options.data_name, len(names), options.seed, shard) for shard in options.index}
    folder = shards_folder(space, options.data_path, "ranking") / options.data_name
    _build(options, folder, names, list(range(1, len(names) + 1)), lambda shard, number: tasks[shard][number])


def _build(
    options: DatabaseOptions,
    folder: Path,
    names: list[str],
    numbers: list[int],
    draw: Callable[[int, int], Item | Training],
) -> None:
    """Measure the items of the shards that their files in `folder` lack."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        for shard in options.index:  # two processes must never build the same shard
            try:
                locks.enter_context(FileLock(folder / f".shard_{shard:04d}.lock", timeout=0))
            except Timeout as error:
                raise UserError(f"Another process is building shard {shard}: give another --index.") from error
        header = _header(options, names)
        writers = {n: ShardWriter(shard_file(folder, n), {"shard": n, **header}) for n in options.index}
        todo = [(n, task) for n in options.index for task in range(options.num_tasks) if task not in writers[n].done]
        items = [draw(*item) for item in todo]
        peak, total = 0.0, len(options.index) * options.num_tasks
        with progress(total=total, initial=total - len(todo), desc="tasks", unit="task") as bar:
            for item, result in _measured(options, names, items):
                classes = [numbers[c] for c in item.classes]
                record = {"number": item.number, "classes": classes, "archs": item.archs, **result}
                writers[item.shard].append(record)
                peak = max(peak, result["peak_gb"])
                bar.update()
    log.info(f"{counted(len(todo), 'task')} measured into {folder}; peak memory of a process {peak:.2f} GB")


def _measured(options: DatabaseOptions, names: list[str], items: list[Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    imgnet, supernet, data_path = (
        str(Path(path).resolve()) for path in (options.imgnet, options.supernet, options.data_path)
    )
    how = (options.num_calibration, options.epochs, str(options.device), options.data_name, data_path)
    evaluator = EvaluatorOptions(options.search_space, imgnet, tuple(names), supernet, *how)
    if not items:
        return iter(())
    if options.num_workers or options.ray_address:
        return measure_with_ray(evaluator, items, options.num_workers, options.ray_address, options.gpu != "cpu")
    return measure_here(evaluator, items)


def _header(options: DatabaseOptions, names: list[str]) -> dict[str, Any]:
    """The values that all shards of a command share."""
    same = ("search_space", "num_tasks", "num_calibration", "epochs", "seed")
    values = {name: getattr(options, name) for name in same} | {"num_archs": options.num_arch}
    supernet = file_digest(options.supernet) if Path(options.supernet).is_file() else ""
    sizes = spaces.get(options.search_space).supernet_sizes(options.supernet)
    return {"supernet": supernet, "class_names": names, **values, "sizes": sizes}


def collect(search_space: str, data_path: str, overwrite: bool) -> Path:
    """Merge all shards into the predictor's database, its split and its task list; returns the database's file."""
    space = spaces.get(search_space)
    folder = data_folder(space, data_path)
    for target in (folder / "meta_train_tasks_predictor.pt", folder / TASK_LIST):
        if target.exists() and not overwrite:
            raise UserError(f"{target} exists; add --overwrite to replace it, or give another --data-path.")
    tasks: list[list[int]] = []
    texts, accuracy, task = [], [], []
    shards = _read_all(space, shards_folder(space, data_path))
    for path, header, records in shards:
        missing = header["num_tasks"] - len(records)
        note = f"; measure the other {missing} with: --index {header['shard']}" if missing else ""
        log.info(f"{path.name}: {len(records)} of {header['num_tasks']} tasks{note}")
        for record in sorted(records, key=lambda record: record["number"]):  # workers finish in any order
            texts += [space.to_text(space.from_text(text)) for text in record["archs"]]
            accuracy += record["accuracy"]
            task += [len(tasks)] * len(record["archs"])
            tasks.append(record["classes"])
    if not texts:
        raise UserError(f"The shards in {shards_folder(space, data_path)} hold no measured task yet.")
    if len(tasks) < 2:
        raise UserError("A database needs at least two measured tasks: one to train on, one to validate with.")
    split, num_validation = split_by_task(torch.tensor(task))
    save_torch(folder / TASK_LIST, tasks)
    tensors = (torch.tensor(accuracy), torch.tensor(task), split)
    supernet = shards[0][1].get("sizes", {})  # shards of earlier versions lack it
    written = save_tuples("predictor", folder, texts, *tensors, num_validation=num_validation, sizes=supernet)
    sizes = [len(classes) for classes in tasks]
    log.info(
        f"{written}: {len(texts)} architectures on {len(tasks)} tasks of {min(sizes)} to {max(sizes)} classes, "
        f"accuracy {np.mean(accuracy):.2f} +- {np.std(accuracy):.2f} %"
    )
    return written


def collect_trainings(search_space: str, data_path: str, overwrite: bool) -> Path:
    """Write the trainings of all shards, those of every folder, to one CSV file; returns its path."""
    space = spaces.get(search_space)
    target = data_folder(space, data_path) / TRAININGS_FILE
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it, or give another --data-path.")
    folders = sorted(path for path in shards_folder(space, data_path, "ranking").glob("*") if shard_files(path))
    rows = []
    for folder in folders:
        for path, header, records in _read_all(space, folder):
            missing = header["num_tasks"] - len(records)
            if missing:
                log.info(f"{path}: {counted(missing, 'training')} missing; continue with --index {header['shard']}")
            rows += [row_of(folder.name, header, record) for record in sorted(records, key=lambda r: r["number"])]
    if not rows:
        raise UserError(
            f"There are no trainings in {shards_folder(space, data_path, 'ranking')}. Make some with: python main.py "
            "build-database --model ranking --data-name NAME --imgnet FOLDER --index 0"
        )
    write_csv(target, [list(COLUMNS), *rows])
    log.info(f"{target}: {counted(len(rows), 'training')} on images of {counted(len(folders), 'folder')}")
    return target


def _read_all(space: SearchSpace, folder: Path) -> list[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
    shards = [(path, *read_shard(path)[:2]) for path in shard_files(folder)]
    if not shards:
        raise UserError(
            f"There are no shards in {folder}. Build one with: python main.py build-database --model predictor "
            f"--search-space {space.name} --index 0 --imgnet DIR"
        )
    first_path, first, _ = shards[0]
    for path, header, _ in shards[1:]:
        for name in ("search_space", "supernet", "num_calibration", "epochs", "class_names"):
            if header[name] != first[name]:
                raise UserError(f"{path} and {first_path} differ in {name}: they do not belong to one database.")
    return shards


def split_by_task(task: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Split tuples with tasks (n,) long so that no task is in both parts.

    Returns a permutation (n,) long, validation first, and the number of validation tuples: at most 400 and a quarter.
    """
    shuffled = torch.randperm(int(task.max()) + 1, generator=random_generator(0))
    counts = torch.bincount(task, minlength=len(shuffled))
    total = counts[shuffled].cumsum(0)
    limit = min(NUM_VALIDATION, max(1, len(task) // 4))
    rank = shuffled.argsort()
    return rank[task].argsort(stable=True), int(total[max(int((total <= limit).sum()), 1) - 1])
