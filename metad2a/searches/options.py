"""Options of a search and of the published two steps."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metad2a.core.cli import count_or_all, image_side, not_negative_float, positive_int, seed_number
from metad2a.core.errors import UserError
from metad2a.core.names import name_type
from metad2a.core.options import CommonOptions, MirrorOption, ModelSizes, flag, option

if TYPE_CHECKING:
    import torch

ALL = "all"
PUBLISHED_DATASETS = ("cifar10", "cifar100", "mnist", "svhn", "aircraft", "pets")
PARETO = ("flops", "params", "latency")
UNIVERSAL, PREDICTOR = "universal", "predictor"
# What only a ranking by the predictor uses, so that `--model search` with one of these is by the predictor
OF_PREDICTOR = ("num_gen_arch", "num_draws", "num_sample", "num_class", "load_epoch", "generator_checkpoint",
                "predictor_checkpoint", "hs", "nz")  # fmt: skip
# The same where the universal ranking is of generated candidates
OF_SCORING = ("num_draws", "predictor_checkpoint")
PUBLISHED_RUNS = {"cifar10": 10, "cifar100": 10}  # all other datasets: 1


@dataclass(frozen=True, kw_only=True)
class SearchOptions(CommonOptions, ModelSizes, MirrorOption):
    """A meta-test. `num_gen_arch` None ranks the whole space, `num_runs` None takes the published number."""

    device: "torch.device"
    seed: int = option(333, "of everything random", type=seed_number)
    data_name: str = option(
        ALL,
        "dataset: its <name>bylabel.pt, or shipped cifar10, mnist, imagenet16-120; all: the paper's",
        type=name_type,
    )
    image_folder: str | None = option(None, "its images, one sub-folder a class, processed first if not done")
    ranking: str | None = option(
        None,
        "of --model search: universal, the same for every dataset: all cells of NAS-Bench-201, generated MobileNetV3 "
        "subnets; predictor, generated candidates by a model that looks at the dataset (default: universal, predictor "
        "with an option of its own, for MobileNetV3 where one was trained)",
        choices=(UNIVERSAL, PREDICTOR),
    )
    num_gen_arch: int | None = option(500, "candidates, or all to rank the space", type=count_or_all)
    num_runs: int | None = option(
        None, "searches (default 1; --test of cifar10, cifar100: 10), or seeds of train_arch (3)", type=positive_int
    )
    num_draws: int = option(10, "draws of a dataset that scores are averaged over", type=positive_int)
    num_sample: int = option(20, "images of each class in a draw", type=positive_int)
    num_class: int | None = option(None, "draw so many classes at random (default all)", type=positive_int)
    load_epoch: int | None = option(None, "load ckpt_<epoch>.pt", type=positive_int, default_text="last or best")
    generator_checkpoint: str | None = option(None, "load this file")
    predictor_checkpoint: str | None = option(None, "load this file")
    max_flops: float | None = option(None, "candidates of at most so many MFLOPs", "--bound", type=not_negative_float)
    max_params: float | None = option(None, "candidates of at most so many M parameters", type=not_negative_float)
    device_latency: str | None = option(
        None, "show the milliseconds measured on a device, for example pixel3 (NAS-Bench-201; see the README)"
    )
    max_latency: float | None = option(
        None, "candidates of at most so many ms on --device-latency", type=not_negative_float
    )
    image_size: int | None = option(
        None,
        "MobileNetV3: side of images for costs, latency, training (default: the supernet's or 224)",
        type=image_side,
    )
    report: bool = option(False, "of --model search: also write report.html, a page to look at")
    pareto: str | None = option(None, "of --model search: the front of accuracy against this (NSGA-II)", choices=PARETO)
    latency: int | None = option(0, "measure the best so many, or all", type=count_or_all, default_text="none")
    latency_batch: int = option(1, "images of a batch that is measured", type=positive_int)

    @property
    def limits(self) -> dict[str, float]:
        """The largest cost of each kind that a candidate may have."""
        limits = {"flops": self.max_flops, "params": self.max_params, "device_latency": self.max_latency}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def runs(self) -> range:
        return range(1, (self.num_runs or PUBLISHED_RUNS.get(self.data_name, 1)) + 1)

    @property
    def folder(self) -> Path:
        """Results of the published two steps."""
        from metad2a import spaces  # and with it PyTorch, which takes seconds

        space = spaces.get(self.search_space)
        folder = Path(self.save_path) / space.results_folder / "meta_test" / self.data_name
        return folder / str(self.num_gen_arch or ALL) if space.ranks_when_generating else folder


def choose_ranking(options: SearchOptions, given: Collection[str]) -> str:
    """The ranking of a search: the one asked for, else the one that its other options are of.

    Args:
        given: names of the options that the user gave.

    Raises:
        UserError: they are of the other, or the space has no universal ranking.
    """
    from metad2a import spaces  # and with it PyTorch, which takes seconds
    from metad2a.metatrain.models import trained_here

    space = spaces.get(options.search_space)
    shipped = space.ranking_shipped
    others = [name for name in (OF_SCORING if space.architectures is None else OF_PREDICTOR) if name in given]
    if options.ranking == UNIVERSAL and not shipped:
        raise UserError(f"--ranking {UNIVERSAL}: there is none of {options.search_space}; use --ranking {PREDICTOR}.")
    if options.ranking == UNIVERSAL and others:
        raise UserError(f"{flag(others[0])} belongs to --ranking {PREDICTOR} and does nothing with {UNIVERSAL}.")
    own = space.architectures is None and trained_here("predictor", space, options.save_path)
    return options.ranking or (UNIVERSAL if shipped and not others and not own else PREDICTOR)
