"""From Python: `search` for architectures, `train` one, `predict` with it. Three lines lead to a ranking:

    from metad2a.api import search, train, predict
    found = search("path/to/images")  # or "cifar10"
    print(found.architectures[0], found.accuracy[0], found.report)

They print and write what the commands of `main.py` do; further arguments are the commands' options as fields of
`SearchOptions`, `BudgetOptions`, `TrainArchOptions` and `PredictOptions`. Bad input raises a
`metad2a.core.errors.UserError`.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metad2a.networks.predict import Prediction

__all__ = ["Found", "Trained", "predict", "search", "train"]


@dataclass(frozen=True)
class Found:
    """What a search found, best first.

    Attributes:
        name: of the dataset.
        images: the folder of its images, None for a known dataset.
        architectures: their texts.
        accuracy: predicted or, with a budget, believed (%).
        costs: of each: `flops` and `params` (millions), and latencies (ms) where asked for.
        folder, report: where everything was written, and the page to look at.
        network: the trained network of the first choice, of a search with a budget.
    """

    name: str
    images: str | None
    architectures: list[str]
    accuracy: list[float]
    costs: list[dict[str, float]]
    folder: Path
    report: Path
    network: Path | None = None


@dataclass(frozen=True)
class Trained:
    """Trained networks, one a seed: their files, the folder of the run, its report, and what it printed."""

    networks: list[Path]
    folder: Path
    report: Path
    text: str


def search(images: str | Path, budget: str = "0", gpu: str | None = None, **options: Any) -> Found:
    """`main.py --model search --report` for a folder of images, or for a dataset that is known by name.

    Args:
        images: a folder with a sub-folder for each class, or a name such as "cifar10".
        budget: what may be spent on training, for example "30m"; "0" ranks at once.
        gpu: as `--gpu`.

    Raises:
        UserError: whatever the command would end with.
    """
    from metad2a.core.environment import choose_device
    from metad2a.searches.budget.options import BudgetOptions
    from metad2a.searches.budget.options import budget as parse_budget
    from metad2a.searches.options import SearchOptions, choose_ranking

    values = {**_dataset(images, options), **options}
    how = {key: values.pop(key) for key in list(values) if key in BudgetOptions.__dataclass_fields__}
    chosen = SearchOptions(device=choose_device(gpu), num_runs=values.pop("num_runs", 1), report=True, **values)
    spent = parse_budget(budget)
    if not spent.amount:
        from metad2a.searches.instant import search as rank

        best = rank(replace(chosen, ranking=choose_ranking(chosen, values)))[0]
        assert best.folder is not None
        page = best.folder / "report.html"
        return Found(chosen.data_name, chosen.image_folder, best.texts, best.predicted, best.costs, best.folder, page)
    from types import SimpleNamespace

    from metad2a.searches.budget.search import spend
    from metad2a.searches.budget.session import BudgetSearch

    both = {**vars(chosen), "limits": chosen.limits, **vars(BudgetOptions(budget=spent, **how))}
    found = BudgetSearch(SimpleNamespace(**both))
    rows, folder = spend(found)["ranking"], found.folder
    texts, believed = [row["architecture"] for row in rows], [row["accuracy"] for row in rows]
    costs = [{name: row[name] for name in ("flops", "params")} for row in rows]
    network = folder / "network.pt"
    return Found(
        chosen.data_name, chosen.image_folder, texts, believed, costs, folder, folder / "report.html",
        network if network.is_file() else None,
    )  # fmt: skip


def train(
    architecture: "Found | str", images: str | Path | None = None, gpu: str | None = None, **options: Any
) -> Trained:
    """`main.py --model train_arch`: train the first choice of a search, or any architecture.

    Args:
        architecture: what `search` returned, or an architecture's text.
        images: as of `search`; None for those that were searched for.
        options: for example `epochs` (default 200) and `num_runs` (default 3 seeds).

    Raises:
        UserError: whatever the command would end with.
    """
    from metad2a.core.environment import choose_device
    from metad2a.core.errors import UserError
    from metad2a.networks.options import TrainArchOptions
    from metad2a.networks.train_arch import train_arch

    if isinstance(architecture, Found):
        data = {"data_name": architecture.name, "image_folder": architecture.images} if images is None else {}
        architecture = architecture.architectures[0]
    elif images is None:
        raise UserError("train: give the images, a folder or a dataset's name, beside an architecture.")
    else:
        data = {}
    data = data or _dataset(str(images), options)
    done = train_arch(TrainArchOptions(device=choose_device(gpu), arch=architecture, **{**data, **options}))
    folder = done.networks[0].parent.parent
    return Trained(done.networks, folder, folder / "report.html", done.text)


def predict(network: "Found | Trained | str | Path", images: str | Path, **options: Any) -> "list[Prediction]":
    """`main.py --model predict`: the class of each image, and how sure the network is.

    Args:
        network: what `train` or a search with a budget returned, a network.pt, or a run's folder.
        images: an image, or a folder of images.

    Raises:
        UserError: whatever the command would end with.
    """
    from metad2a.core.environment import choose_device
    from metad2a.core.errors import UserError
    from metad2a.networks.options import PredictOptions
    from metad2a.networks.predict import predict as classify

    if isinstance(network, Found) and network.network is None:
        raise UserError("predict: this search has trained nothing. Train its first choice with train(found).")
    place = network.network if isinstance(network, Found) else network
    place = place.networks[0] if isinstance(place, Trained) else place
    device = choose_device(options.pop("gpu", None))
    return classify(PredictOptions(device=device, network=str(place), images=str(images), **options))


def _dataset(images: str | Path, options: dict[str, Any]) -> dict[str, Any]:
    """The options that name a dataset: a folder is named as it is called, but for letters that no name may have."""
    path = Path(images)
    if not path.is_dir() and not isinstance(images, Path) and len(path.parts) == 1:
        return {"data_name": images}
    name = re.sub(r"[^\w.+-]+", "-", path.resolve().name).strip("-. ") or "images"
    return {"data_name": options.get("data_name", name), "image_folder": str(path)}
