"""Options of `search` and of the published two steps, `meta-test`."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from metad2a.core.budget import Budget, parse_budget, parse_time
from metad2a.core.errors import UserError
from metad2a.core.options import (
    CLUSTER_NEEDS_WORKERS,
    CommonOptions,
    MirrorOption,
    ModelSizes,
    Rule,
    flag,
    option,
)
from metad2a.core.values import (
    count_or_all,
    image_side,
    not_negative_float,
    not_negative_int,
    path,
    positive_int,
    safe_name,
    seed_number,
    true_or_false,
)
from metad2a.networks.options import TRAINING, TrainingOptions

ALL = "all"
PUBLISHED_DATASETS = ("cifar10", "cifar100", "mnist", "svhn", "aircraft", "pets")
PARETO = ("flops", "params", "latency")
UNIVERSAL, PREDICTOR = "universal", "predictor"
# Options that only a ranking by the predictor reads: with any of them, `search` ranks by the predictor.
OF_PREDICTOR = ("num_gen_arch", "num_draws", "num_sample", "num_class", "load_epoch", "generator_checkpoint",
                "predictor_checkpoint", "hs", "nz")  # fmt: skip
# The same for a space whose universal ranking ranks generated candidates
OF_SCORING = ("num_draws", "predictor_checkpoint")
PUBLISHED_RUNS = {"cifar10": 10, "cifar100": 10}  # all other datasets: 1
KINDS = ("generator", "predictor")
LENGTH = ("epochs", "time")  # of the training to rank for
# Titles of the help and their options
RANKING = ("ranking", "num_gen_arch", "num_draws", "num_sample", "num_class", "load_epoch", "generator_checkpoint",
           "predictor_checkpoint")  # fmt: skip
COSTS = ("max_flops", "max_params", "device_latency", "max_latency", "image_size", "latency", "latency_batch")
NEEDS_DEVICE = Rule(
    ("max_latency",), lambda o: o.device_latency, "needs --device-latency, for example --device-latency pixel3"
)
NEEDS_FOLDER = "ranks the cells of nasbench201 for a training on your images: name a folder, or leave this option out"
RANKED = "Rank N generated candidates, or `all` of the space."


@dataclass(frozen=True, kw_only=True)
class SessionOptions(CommonOptions, ModelSizes, MirrorOption):
    """What both ways to search read. `num_gen_arch` None ranks the whole space, `num_runs` None stands for 1."""

    given: frozenset[str] = frozenset()
    data_name: str = option(
        ALL, "Dataset, or a name for your images (default: the paper's six).", default_text="", type=safe_name
    )
    image_folder: str | None = option(None, "Folder of images, a sub-folder for each class.", type=path)
    seed: int = option(333, "Seed of everything random.", type=seed_number)
    num_runs: int | None = option(None, "Number of searches (default 1).", type=positive_int)
    ranking: str | None = option(
        None, "Rank by universal (same for all photographs) or predictor (sees images).", choices=(UNIVERSAL, PREDICTOR)
    )
    num_gen_arch: int | None = option(500, RANKED, type=count_or_all)
    num_draws: int = option(10, "Average scores over N draws of the dataset.", type=positive_int)
    num_sample: int = option(20, "Images of each class in a draw.", type=positive_int)
    num_class: int | None = option(None, "Draw N classes at random (default: all classes).", type=positive_int)
    load_epoch: int | None = option(
        None, "Load your ckpt_<epoch>.pt (default: your finished model, else the shipped one).", type=positive_int
    )
    generator_checkpoint: str | None = option(None, "Load the generator from this file, or `shipped`.", type=path)
    predictor_checkpoint: str | None = option(None, "Load the predictor from this file, or `shipped`.", type=path)
    max_flops: float | None = option(
        None, "Leave out candidates above N million FLOPs.", "--bound", type=not_negative_float
    )
    max_params: float | None = option(None, "Leave out candidates above N million parameters.", type=not_negative_float)
    device_latency: str | None = option(
        None, "Show the milliseconds measured on a device, such as pixel3 (docs/search.md)."
    )
    max_latency: float | None = option(
        None, "Leave out candidates above N ms on --device-latency.", type=not_negative_float
    )
    image_size: int | None = option(
        None, "MobileNetV3: side of images in pixels (default: the supernet's or 224).", type=image_side
    )
    latency: int | None = option(
        0, "Measure the latency of the first N candidates, or of `all` (default 0).", type=count_or_all, default_text=""
    )
    latency_batch: int = option(1, "Batch size of that measurement.", type=positive_int)

    @property
    def limits(self) -> dict[str, float]:
        """The largest cost of each kind that a candidate may have."""
        limits = {"flops": self.max_flops, "params": self.max_params, "device_latency": self.max_latency}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def runs(self) -> range:
        return range(1, (self.num_runs or 1) + 1)

    @property
    def folder(self) -> Path:
        """Results of the published two steps."""
        from metad2a import spaces

        space = spaces.get(self.search_space)
        folder = Path(self.save_path) / space.results_folder / "meta_test" / self.data_name
        return folder / str(self.num_gen_arch or ALL) if space.ranks_when_generating else folder


@dataclass(frozen=True, kw_only=True)
class SearchOptions(SessionOptions):
    """`search`: what to search for, and what the search may spend."""

    groups: ClassVar = {
        "dataset, and the training to rank for": ("images", "data_name", "image_folder", "labels", *LENGTH),
        "search that trains": (
            "budget",
            "from_scratch",
            "backbone",
            "num_workers",
            "ray_address",
            "export",
            "resume",
            "overwrite",
        ),
        "costs": (*COSTS, "pareto"),
        "ranking by the predictor": RANKING,
    }
    images: str | None = option(
        None, "Folder of images, a sub-folder for each class, or a dataset's name.", positional=True
    )
    data_name: str = option(MISSING, "Dataset, a name for your images, or `all` (the paper's six).", type=safe_name)
    epochs: int | None = option(
        None, "Rank for N passes over your images (default 200, as train does).", type=positive_int
    )
    time: Budget | None = option(
        None, "Rank for a training that takes this long here, for example 10m.", type=parse_time
    )
    report: bool = option(False, "Also write report.html. A search with --budget always does.")
    pareto: str | None = option(
        None, "Also find the front of accuracy against flops, params or latency.", choices=PARETO
    )
    budget: Budget = option(
        Budget(text="0"),
        "Make the best network that 3m, 1h30m, '600 epochs', '10 networks' (200 epochs each) or "
        "'500 evaluations' (12 epochs each) buy. 0 ranks at once.",
        type=parse_budget,
        default_text="0",
    )
    from_scratch: bool = option(False, "Only train architectures from nothing, without ImageNet's weights.")
    backbone: str | None = option(
        None,
        "Network with ImageNet's weights: efficientnet_lite0 to _lite2 (default: those that the budget pays for), "
        "one of torchvision, or timm/NAME.",
        default_text="",
    )
    num_workers: int = option(
        0, "Train N networks at once with Ray; 0 uses this process.", type=not_negative_int, default_text="0"
    )
    ray_address: str | None = option(None, "Use this running Ray cluster (host:6379 or auto), with --num-workers.")
    export: str | None = option(None, "Also write the trained network as onnx, pt2 or onnx,pt2.")
    resume: bool = option(False, "Continue an interrupted search.")
    overwrite: bool = option(False, "Replace what an earlier search left.")

    rules: ClassVar = (
        Rule(
            ("from_scratch", "backbone", "num_workers", "ray_address", "export", "resume", "overwrite"),
            lambda o: o.budget,
            "needs --budget, for example --budget 30m: add it, or leave this option out",
        ),
        Rule(
            (*OF_PREDICTOR, "ranking", "num_runs", "latency", "latency_batch", "image_size", "pareto", *LENGTH),
            lambda o: not o.budget,
            "does nothing with --budget, which starts from the universal ranking: leave it out",
        ),
        Rule(LENGTH, lambda o: o.image_folder and o.search_space == "nasbench201", NEEDS_FOLDER),
        Rule(
            LENGTH, lambda o: o.ranking != PREDICTOR and not o.given & set(OF_PREDICTOR),
            "does nothing with the ranking by the predictor: leave it out",
        ),
        Rule(("time",), lambda o: not o.epochs, "and --epochs both say how long to train: give one of them"),
        Rule(("backbone",), lambda o: not o.from_scratch, "is left out by --from-scratch: give one of the two"),
        CLUSTER_NEEDS_WORKERS,
        NEEDS_DEVICE,
        Rule(
            ("device_latency",), lambda o: not o.budget or o.max_latency,
            "only serves --max-latency if there is a --budget: add --max-latency, or leave this option out",
        ),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MetaTestOptions(SessionOptions, TrainingOptions):
    """`meta-test`: the published two steps. The generator's writes candidates, the predictor's ranks them."""

    groups: ClassVar = {
        "dataset": ("model", "data_name", "image_folder", "labels"),
        "costs": COSTS,
        "ranking by the predictor": RANKING[1:],
        "training": ("train_arch", *TRAINING),
    }
    ranking: str | None = None  # follows from the space and the options
    model: str = option(MISSING, "Whose step: generator or predictor.", "--model-name", choices=KINDS)
    num_runs: int | None = option(
        None, "Number of searches (default 1; cifar10, cifar100: 10), or of seeds.", type=positive_int
    )
    nvt: int | None = option(None, "Number of vertex types, as a check of the search space.", type=positive_int)
    train_arch: bool = option(False, "Then train the first choice: true or false (default false).", type=true_or_false)

    rules: ClassVar = (
        Rule(("generator_checkpoint",), lambda o: o.model == "generator", "belongs to --model generator: leave it out"),
        Rule(
            ("predictor_checkpoint", "latency", "latency_batch", "num_draws"),
            lambda o: o.model == "predictor" or o.search_space != "nasbench201",
            "belongs to --model predictor: leave it out",
        ),
        Rule(("train_arch",), lambda o: o.model == "predictor" or not o.train_arch, "needs --model predictor"),
        Rule(
            TRAINING,
            lambda o: o.train_arch, "needs --train-arch true",
        ),
        NEEDS_DEVICE,
    )  # fmt: skip

    @property
    def runs(self) -> range:
        return range(1, (self.num_runs or PUBLISHED_RUNS.get(self.data_name, 1)) + 1)


def name_the_dataset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `images`, a folder or a name, into `data_name` and `image_folder`.

    A folder gives its name to the dataset, without letters that no file name may have. Raises a UserError if there is
    no such folder."""
    values = {n: v for n, v in given.items() if v is not None or n not in ("images", "data_name", "image_folder")}
    if (images := values.pop("images", None)) is None:
        if not values.get("data_name"):
            problem = "--image-folder needs --data-name" if "image_folder" in values else "Name a dataset"
            raise UserError(
                f"{problem}, for example: python main.py search cifar10. The name all does the paper's six."
            )
        return values
    folder = Path(str(images)).expanduser()
    if not folder.is_dir():
        if folder.is_file() and re.search(r"[/\\.]", str(images)):
            raise UserError(f"{images} is a file. Give the folder that has a sub-folder of images for each class.")
        if isinstance(images, Path) or re.search(r"[/\\]", str(images)):
            raise UserError(f"There is no folder {images}. Check the path.")
        return values | {"data_name": str(images)}
    if "image_folder" in values:
        raise UserError(f"{images} and --image-folder {values['image_folder']} both name a folder: leave one out.")
    name = re.sub(r"[^\w.+-]+", "-", folder.resolve().name).strip("-. ") or "images"
    return {"data_name": name, "image_folder": str(folder)} | values


def choose_ranking(options: SessionOptions) -> str:
    """Return the ranking of a search: the given one, or the predictor if an option of the predictor is given. Raises a
    UserError if the options contradict each other, or the space has no universal ranking."""
    from metad2a import spaces

    space = spaces.get(options.search_space)
    shipped = space.ranking_shipped
    others = [name for name in (OF_SCORING if space.architectures is None else OF_PREDICTOR) if name in options.given]
    if options.ranking == UNIVERSAL and not shipped:
        raise UserError(f"--ranking {UNIVERSAL}: {options.search_space} has none; use --ranking {PREDICTOR}.")
    if options.ranking == UNIVERSAL and others:
        raise UserError(f"{flag(others[0])} belongs to --ranking {PREDICTOR} and does nothing with {UNIVERSAL}.")
    own = space.architectures is None and _trained_here(space, options)
    return options.ranking or (UNIVERSAL if shipped and not others and not own else PREDICTOR)


def _trained_here(space: Any, options: SessionOptions) -> bool:
    from metad2a.metatrain.models import trained_here  # imports PyTorch

    return trained_here("predictor", space, options.save_path)
