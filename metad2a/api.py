"""From Python: `search` for architectures, `train` one, `predict` with it.

    from metad2a import search, train, predict
    result = search("path/to/images")  # or "cifar10", or search("path/to/images", budget="30m")
    print(result.architectures[0], result.accuracy[0], result.report)

The functions print and write what the commands do. Further arguments are the commands' options with underscores, for
example `max_flops=60`. Bad input raises `metad2a.core.errors.UserError`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a.core.cli import as_started
from metad2a.core.errors import UserError

if TYPE_CHECKING:
    from metad2a.networks.predict import Prediction

OF_SEARCH = (
    "search_space",
    "data_path",
    "save_path",
    "mirror",
    "gpu",
    "image_size",
    "labels",
    "epochs",
)  # options that `train` needs too
__all__ = ["Found", "Trained", "predict", "search", "train"]


@dataclass(frozen=True)
class Found:
    """The outcome of a search, best architecture first; with a budget, those of the ways that it compared."""

    name: str  # of the dataset
    images: str | None  # the folder of its images, None for a known dataset
    architectures: list[str]
    accuracy: list[float]  # scores of the ranking as its table has them, or with a budget % on the images that chose
    costs: list[dict[str, float]]  # `flops` and `params` (millions), and latencies (ms) if they were asked for
    folder: Path  # where everything was written
    report: Path  # the page to look at
    network: Path | None = None  # the trained network of a search with a budget
    options: dict[str, Any] = field(default_factory=dict)  # those of the search that `train` needs as well


@dataclass(frozen=True)
class Trained:
    """Trained networks, a file for each seed, the folder of the run, its report, and the text that it printed."""

    networks: list[Path]
    folder: Path
    report: Path
    text: str


def search(images: str | Path, budget: str = "0", gpu: str | None = None, **options: Any) -> Found:
    """Do what `main.py search IMAGES --report` does.

    Args:
        images: a folder with a sub-folder for each class, or the name of a dataset such as "cifar10".
        budget: what the search may spend on training, for example "30m"; "0" ranks at once.
        gpu: a CUDA device's number, or "cpu".
    """
    from metad2a.commands.search import COMMAND

    with _names_of_python():
        chosen = COMMAND.prepare({"images": images, "budget": budget, "gpu": gpu, "report": True, **options})
        if chosen.data_name == "all":
            raise UserError("search takes one dataset: a folder of images, or a name.")
        outcome = COMMAND.run(chosen)
    if chosen.budget:
        result, folder = outcome
        rows = sorted((way for way in result["ways"] if way["curve"]), key=lambda way: -way["accuracy"])
        texts, accuracy = ([row[name] for row in rows] for name in ("arch", "accuracy"))
        costs = [{name: row[name] for name in ("flops", "params")} for row in rows]
    else:
        best = outcome[0]
        texts, accuracy, costs, folder = best.texts, best.predicted, best.costs, best.folder
    network = path if (path := folder / "network.pt").is_file() else None
    about = {name: getattr(chosen, name) for name in OF_SEARCH}
    where = (folder, folder / "report.html", network)
    return Found(chosen.data_name, chosen.image_folder, texts, accuracy, costs, *where, about)


def train(
    architecture: Found | str, images: str | Path | None = None, gpu: str | None = None, **options: Any
) -> Trained:
    """Do what `main.py train` does: train the first choice of a search, or any architecture.

    Args:
        architecture: what `search` returned, or an architecture's text.
        images: as for `search`; None takes those of the search.
        options: for example `epochs` (default 200) and `num_runs` (default 3 seeds).
    """
    from metad2a.commands.train import COMMAND
    from metad2a.searches.options import name_the_dataset

    values: dict[str, Any] = {"gpu": gpu, **options}
    if isinstance(architecture, Found):
        about = architecture.options if images is None else {**architecture.options, "labels": None}
        values = about | {name: value for name, value in values.items() if value is not None}
        if images is None:
            values |= {"data_name": architecture.name, "image_folder": architecture.images}
        architecture = architecture.architectures[0]
    elif images is None:
        raise UserError("train: give the images, a folder or a dataset's name, beside an architecture.")
    with _names_of_python():
        outcome = COMMAND.run(COMMAND.prepare(name_the_dataset({**values, "arch": architecture, "images": images})))
    folder = outcome.networks[0].parent.parent
    return Trained(outcome.networks, folder, folder / "report.html", outcome.text)


def predict(
    network: Found | Trained | str | Path, images: str | Path | Sequence[str | Path], **options: Any
) -> "list[Prediction]":
    """Do what `main.py predict` does: tell the class of each image, and the network's confidence.

    Args:
        network: what `train` or a search with a budget returned, a network.pt, or the folder of a run.
        images: an image, a folder of images, or several of both.
    """
    from metad2a.commands.predict import COMMAND

    if isinstance(network, Found):
        if network.network is None:
            raise UserError("predict: this search has trained nothing. Train its first choice with train(found).")
        network = network.network
    elif isinstance(network, Trained):
        network = network.networks[0]
    with _names_of_python():
        return COMMAND.run(COMMAND.prepare({"network": network, "images": images, **options}))


@contextmanager
def _names_of_python() -> Iterator[None]:
    """Name options in errors as Python does, `max_flops` for --max-flops; commands to type stay as they are."""
    try:
        yield
    except UserError as error:
        texts = re.split(r"(?<=[.:]) ", str(error))
        for i, text in enumerate(texts):
            if "python" not in text:
                texts[i] = re.sub(r"--([a-z][a-z-]*)", lambda match: match[1].replace("-", "_"), text)
        raise UserError(as_started(" ".join(texts))) from error
