"""Compare methods on the same images, with the same budget and the same final training."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from metad2a import rivals, spaces
from metad2a.core.budget import Budget
from metad2a.core.environment import provenance
from metad2a.core.files import content_digest, identity_key, write_csv, write_json
from metad2a.core.training_run import TrainingRun
from metad2a.data.image_data import ImageData, load_image_data
from metad2a.rivals.base import Result
from metad2a.rivals.compare import Row, csv_rows, method_record, rows_of, table, usable
from metad2a.rivals.options import CompareOptions
from metad2a.rivals.real import FINAL, SEARCH, UNTRAINED, ImageProblem, Sizes

HOUR = Budget(seconds=3600.0)
RESULTS, TABLE_FILE, LOG = "comparison.json", "comparison.csv", "log.txt"
PRODUCTS = (SEARCH, FINAL, UNTRAINED, "supernets", RESULTS, TABLE_FILE, "distances.json")


def few_of_each(data: ImageData, most: int | None) -> ImageData:
    """A dataset with at most N training images of each class, the first ones."""
    if most is None:
        return data
    rows = [(data.train.labels == label).nonzero()[:most, 0] for label in range(len(data.class_names))]
    train = data.train[torch.cat(rows)]
    return replace(data, train=train, fingerprint=content_digest(data.fingerprint, train.pixels))


def limits_of(budget: Budget) -> dict[str, float | None]:
    """All limits of a budget as files keep them, None if the budget does not have one."""
    return {name: value for name, value in asdict(budget).items() if name != "text"}


def real_problem(options: CompareOptions) -> tuple[ImageProblem, dict[str, Any]]:
    """The problem of a dataset's images in the folder of its results, and what these depend on besides the methods.
    Raises a UserError if there are no such images, a class has only one training image, or the budget is too small."""
    space = spaces.get(options.search_space)
    where = (options.data_name, options.image_folder, options.data_path)
    data = few_of_each(load_image_data(*where, options.seed, space.image_size, options.mirror), options.max_per_class)
    sizes = Sizes(options.channels, options.cells, options.search_epochs, options.epochs, options.batch_size)
    budget, workers = options.budget or HOUR, (options.num_workers or 0, options.ray_address)
    problem = ImageProblem(space, data, sizes, budget, Path("."), options.device, *workers)
    problem.search_options = {"data_path": options.data_path, "save_path": options.save_path}
    identity = problem.identity | {"budget": limits_of(problem.budget), "search_epochs": list(sizes.fidelities)}
    identity |= {"epochs": options.epochs, "seed": options.seed}
    problem.folder = Path(options.save_path) / space.results_folder / "compare" / data.name / identity_key(identity)
    return problem, identity


def compare_real(options: CompareOptions) -> Path:
    """Run every method, train what each chose, and print a table; returns the file of the results.

    The folder `<save_path>/compare/<dataset>/<key>/` gets `comparison.json`, `comparison.csv`, `log.txt`, `run.json`,
    the result of every network in `evaluations/`, `final/` and `scores/`, and every supernet in `supernets/`. Raises a
    UserError if options or images are bad, an earlier run is in the way, or a budget is too small."""
    problem, identity = real_problem(options)
    names = usable(problem, options)
    with TrainingRun(problem.folder, PRODUCTS, options.resume, options.overwrite, may_begin=True) as run:
        where = {"images": problem.images.origin, "device": options.device, "threads": torch.get_num_threads()}
        run.begin(identity, provenance(options.seed, **where))
        results = [search_one(name, problem, seed) for name in names for seed in options.seeds]
        with problem.recording(FINAL, problem.folder / LOG):
            rows = rows_of(problem, results)
        path = problem.folder / RESULTS
        write_json(path, record(problem, rows) | {"history": run.history})
        write_csv(problem.folder / TABLE_FILE, csv_rows(rows))
        print(problem.protocol)
        print(table(rows, None))
        print(f"every search: {problem.folder}/{TABLE_FILE}; hyper-parameters and images: {RESULTS}")
        return path


def search_one(name: str, problem: ImageProblem, seed: int) -> Result:
    """Run one method with one seed, with lines in the log."""
    with problem.recording(name, problem.folder / LOG):
        result = rivals.get(name).run(problem, seed)
        problem.record(f"chose {result.chosen[0]}")
        return result


def record(problem: ImageProblem, rows: list[Row]) -> dict[str, Any]:
    """The content of `comparison.json`."""
    data = problem.images
    images = {"train": len(data.train), "test": len(data.test), "classes": len(data.class_names)}
    methods = {row.method.name: method_record(row, lambda result: {"chosen": result.chosen[0]}) for row in rows}
    facts = {"dataset": data.name, "form": problem.form, "images": images, "budget": limits_of(problem.budget)}
    return facts | {"sizes": asdict(problem.sizes), "methods": methods}
