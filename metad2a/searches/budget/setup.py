"""What a search on a budget starts from: its images, its candidates and its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.files import identity_key
from metad2a.data.image_data import ImageData, load_image_data
from metad2a.database.workers import load_ray
from metad2a.networks.export import check_formats
from metad2a.searches.limits import Limits
from metad2a.searches.options import SearchOptions
from metad2a.spaces.base import SearchSpace


@dataclass(frozen=True)
class Setup:
    """What stays the same during a search.

    Attributes:
        data: networks train on the training part; the validation part (`x-valid`) makes all choices; the test part
            (`x-test`) serves once, for the final figure of the network that the user gets.
        cells: the text of each class of equal cells (K): its cheapest architecture within the limits, or at all.
        allowed: (P,) the classes with an architecture within the limits.
        formats: in which the network is exported.
        identity: what the search depends on.
    """

    options: SearchOptions
    space: SearchSpace
    data: ImageData
    cells: list[str]
    allowed: torch.Tensor
    formats: list[str]
    identity: dict[str, Any]
    folder: Path


def prepare(options: SearchOptions) -> Setup:
    """Read the images and choose the candidates.

    Raises:
        UserError: bad options or images, Ray is needed and missing, or no cell is within the limits.
    """
    space = spaces.get(options.search_space)
    archs = space.architectures
    if archs is None or not space.ranking_shipped:
        raise UserError(f"--budget works for spaces with a shipped ranking of all architectures, not for {space.name}.")
    formats = check_formats(options.export)
    if options.num_workers:
        load_ray()
    images = (options.data_name, options.image_folder, options.data_path, options.seed, space.image_size)
    data = load_image_data(*images, options.mirror)
    listed = Limits(options, space, len(data.class_names)).listed()
    cells = [archs[number] for number in space.cheapest_members()]  # one of each function
    allowed = space.classes_of_equals()[listed]
    for cell, number in zip(allowed.tolist(), listed, strict=True):
        cells[cell] = archs[number]
    identity = {
        "search_space": space.name,
        "dataset": data.name,
        "images": data.fingerprint,
        "budget": options.budget.text,
        "limits": options.limits,
        "seed": options.seed,
    }
    parent = Path(options.save_path) / space.results_folder / "search" / options.data_name
    folder = parent / f"budget-{options.budget.text}-{identity_key(identity)}"
    return Setup(options, space, data, cells, allowed, formats, identity, folder)
