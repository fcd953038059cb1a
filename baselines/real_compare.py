"""Every method on the same images, with the same budget, and what they chose trained alike."""

import argparse
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baselines
import search_spaces
from baselines.base import Budget, Method, Result
from baselines.real import FINAL, SEARCH, UNTRAINED, ImageProblem, Sizes, Workers
from engine.cli import not_negative_int, positive_int, seed_number
from engine.errors import UserError
from engine.files import content_digest, identity_key, write_json
from engine.names import name_type
from engine.options import CommonOptions, MirrorOption, option
from engine.runs import keep_freed_memory, provenance
from engine.training_run import TrainingRun
from images.pixels import ImageData, load_image_data
from networks.train_arch import first_choice

if TYPE_CHECKING:
    import torch

RESULTS, LOG = "results.json", "log.txt"
PRODUCTS = (SEARCH, FINAL, UNTRAINED, "supernets", "distances.json", RESULTS)
ALL = "all"
HOUR = Budget(seconds=3600.0)
GIVEN = "given"  # the row of --arch
LIMIT = re.compile(r"(\d{1,7}(?:\.\d+)?) ?(min|epochs|evaluations)")


def parse_budget(text: str) -> Budget:
    """The argparse type of `--budget`: "30 min", "240 epochs" or "20 evaluations"."""
    match = LIMIT.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"takes for example '30 min', '240 epochs' or '20 evaluations', not {text!r}")
    value, unit = float(match[1]), match[2]
    if unit == "evaluations":
        return Budget(evaluations=int(value))
    return Budget(epochs=value) if unit == "epochs" else Budget(seconds=60 * value)


def parse_epochs(text: str) -> tuple[int, ...]:
    """The argparse type of numbers of epochs, each greater than the one before it."""
    values = tuple(positive_int(part) for part in text.split(","))
    if list(values) != sorted(set(values)):
        raise argparse.ArgumentTypeError(f"takes numbers that rise, for example 1,3,9, not {text!r}")
    return values


@dataclass(frozen=True, kw_only=True)
class RealOptions(CommonOptions, MirrorOption):
    """What to compare on which images, and how much each method may spend."""

    device: "torch.device"
    data_name: str = option(None, "the dataset", type=name_type)
    image_folder: str | None = option(None, "its images, one sub-folder a class")
    methods: str = option(ALL, "methods, or all that know the search space")
    budget: Budget = option(HOUR, "of each method: '30 min', '240 epochs' or '20 evaluations'", type=parse_budget,
                            default_text="60 min")  # fmt: skip
    search_epochs: tuple[int, ...] = option((4, 12), "of a network in a search, the fewest first, of which methods "
                                            "that use one number take the first", type=parse_epochs,
                                            default_text="4,12")  # fmt: skip
    epochs: int = option(200, "of the networks that were chosen", type=positive_int)
    channels: int = option(16, "C, channels of nasbench201's first stage", type=positive_int)
    cells: int = option(5, "N, cells of each of nasbench201's stages", type=positive_int)
    max_per_class: int | None = option(None, "at most so many training images of a class", type=positive_int)
    batch_size: int = option(256, "images of a batch", type=positive_int)
    seed: int = option(333, "of the searches and of the halves of the test set", type=seed_number)
    arch: str | None = option(None, "also train this architecture, or the first choice in a folder of results")
    num_workers: int = option(0, "Ray processes", type=not_negative_int, default_text="0: this process alone")
    ray_address: str | None = option(None, "of a running Ray cluster", default_text="start a local one")
    resume: bool = option(False, "continue an interrupted run; what is finished is kept")
    overwrite: bool = option(False, "replace what an earlier run left")


def chosen_methods(names: str, problem: ImageProblem) -> list[Method]:
    """The methods called `names`, or all that can search the problem.

    Raises:
        UserError: there is no such method, or it does not know the space or the form.
    """
    if names != ALL:
        methods = [baselines.get(name) for name in dict.fromkeys(re.split(r"[, ]+", names.strip()))]
        for method in methods:
            method.check(problem)
        return methods
    return [method for method in map(baselines.get, baselines.METHODS) if can_search(method, problem)]


def can_search(method: Method, problem: ImageProblem) -> bool:
    """Whether a method knows the problem's space and form."""
    try:
        method.check(problem)
    except UserError:
        return False
    return True


def few_of_each(data: ImageData, most: int | None) -> ImageData:
    """A dataset with at most so many training images of a class, the first ones."""
    if most is None:
        return data
    import torch

    rows = [(data.train.labels == label).nonzero()[:most, 0] for label in range(len(data.class_names))]
    train = data.train[torch.cat(rows)]
    return replace(data, train=train, fingerprint=content_digest(data.fingerprint, train.pixels))


def compare_real(options: RealOptions) -> tuple[str, Path]:
    """Run every method, train what each chose, and report.

    Files: `<save_path>/compare/<dataset>/<key>/` with `results.json`, `log.txt`, `run.json`, and every network's result
    in `evaluations/`, `final/` and `scores/`, every supernet in `supernets/`.

    Returns:
        A table as text, and the file of the results.

    Raises:
        UserError: bad options or images, an earlier run is in the way, or a method found nothing within the budget.
    """
    keep_freed_memory()
    space = search_spaces.get(options.search_space)
    arch = space.to_text(space.from_text(first_choice(options.arch))) if options.arch else None
    where = (options.data_name, options.image_folder, options.data_path)
    data = few_of_each(load_image_data(*where, options.seed, space.image_size, options.mirror), options.max_per_class)
    sizes = Sizes(options.channels, options.cells, options.search_epochs, options.epochs, options.batch_size)
    workers = Workers(str(options.device), options.num_workers, options.ray_address)
    problem = ImageProblem(space, data, sizes, options.budget, Path("."), workers)
    methods = chosen_methods(options.methods, problem)
    identity = problem.identity | {"budget": asdict(options.budget), "search_epochs": list(sizes.fidelities)}
    identity |= {"epochs": options.epochs, "seed": options.seed}
    parent = Path(options.save_path) / space.results_folder / "compare" / data.name
    problem.folder = parent / identity_key(identity)
    with TrainingRun(problem.folder, PRODUCTS, options.resume, options.overwrite, may_begin=True) as run:
        run.begin(identity, provenance(options.seed, images=data.origin, device=options.device))
        results = [search_one(method, problem, options.seed) for method in methods]
        return report(problem, results, arch, run.history), problem.folder / RESULTS


def search_one(method: Method, problem: ImageProblem, seed: int) -> Result:
    """Run one method with one seed, saying how far it is."""
    with problem.recording(method.name, problem.folder / LOG):
        result = method.run(problem, seed)
        problem.record(f"chose {result.chosen[0]}")
        return result


def report(problem: ImageProblem, results: list[Result], arch: str | None, history: dict[str, Any]) -> str:
    """Train what was chosen, write `results.json`, and return a table of all methods."""
    rows: list[dict[str, Any]] = [
        {"method": result.method, "title": baselines.get(result.method).title, "chosen": result.chosen[0]}
        | asdict(result.cost)
        | {"parameters": result.parameters, "notes": result.notes}
        for result in results
    ]
    if arch is not None:
        cost = {"evaluations": 0, "epochs": 0.0, "seconds": 0.0}
        rows.append({"method": GIVEN, "title": "--arch", "chosen": arch, **cost, "parameters": {}, "notes": {}})
    with problem.recording(FINAL, problem.folder / LOG):
        texts = list(dict.fromkeys(row["chosen"] for row in rows))
        accuracy = dict(zip(texts, problem.judge(texts), strict=True))
    for row in rows:
        row["accuracy"] = accuracy[row["chosen"]]
    data, sizes = problem.images, problem.sizes
    images = {"train": len(data.train), "test": len(data.test), "classes": len(data.class_names)}
    value = {"dataset": data.name, "images": images, "sizes": asdict(sizes), "budget": asdict(problem.budget)}
    write_json(problem.folder / RESULTS, value | {"rows": rows, "history": history})
    lines = [f"{'method':<18} {'test %':>7} {'networks':>8} {'epochs':>7} {'seconds':>8}  chosen"]
    for row in sorted(rows, key=lambda row: -row["accuracy"]):
        cost_text = f"{row['evaluations']:>8} {row['epochs']:>7.0f} {row['seconds']:>8.0f}"
        lines.append(f"{row['method']:<18} {row['accuracy']:>7.2f} {cost_text}  {row['chosen']}")
    return "\n".join(lines)
