"""Options of a comparison of search methods."""

from dataclasses import MISSING, dataclass
from typing import ClassVar

from metad2a.core.budget import Budget, parse_budget
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.options import CLUSTER_NEEDS_WORKERS, CommonOptions, MirrorOption, Rule, option
from metad2a.core.values import not_negative_int, path, positive_int, rising, safe_name, seed_number
from metad2a.rivals import METHODS, REAL, TABLE

ALL = "all"


def some_budget(text: str) -> Budget:
    """Read a budget that is more than nothing."""
    if not (budget := parse_budget(text)):
        raise UserError("--budget 0 pays for nothing: give for example '500 evaluations', or leave it out.")
    return budget


OF_IMAGES = ("image_folder", "labels", "search_epochs", "epochs", "channels", "cells", "max_per_class", "batch_size",
             "ray_address", "resume", "overwrite", "mirror")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CompareOptions(CommonOptions, MirrorOption):
    """`compare`: which methods to run on what, how often and for how long."""

    data_name: str = option(MISSING, "Dataset.", type=safe_name)
    methods: str = option(ALL, f"Use all methods, or some of {','.join(METHODS)}.")
    budget: Budget | None = option(
        None,
        "What a search may spend: 6000epochs, 500evaluations, 10networks (of 200 epochs), 90m or 2h. "
        "Default: 500 evaluations of the fewest epochs; with --form real 60m.",
        type=some_budget,
    )
    num_seeds: int | None = option(None, "Searches of each method (default 10; with --form real 1).", type=positive_int)
    seed: int = option(333, "Seed of the first search; the others follow.", type=seed_number)
    form: str = option(
        TABLE, "Look accuracies up in a benchmark's table, or train networks on images.", choices=(TABLE, REAL)
    )
    num_workers: int | None = option(
        None,
        "Searches at a time (default: a core each); with --form real Ray processes (default 0: this process).",
        type=not_negative_int,
    )
    image_folder: str | None = option(None, "Folder of images, a sub-folder for each class.", type=path)
    search_epochs: tuple[int, ...] = option(
        (4, 12), "Epochs of a network during a search, fewest first.", type=rising, default_text="4,12"
    )
    epochs: int = option(200, "Epochs of the chosen networks.", type=positive_int)
    channels: int = option(16, "Channels of the first stage (C).", type=positive_int)
    cells: int = option(5, "Cells of each stage (N).", type=positive_int)
    max_per_class: int | None = option(None, "Take at most N training images of each class.", type=positive_int)
    batch_size: int = option(256, "Images of a batch.", type=positive_int)
    ray_address: str | None = option(
        None, "Use this running Ray cluster, which has this folder; needs --num-workers (default: start a local one)."
    )
    resume: bool = option(False, "Continue an interrupted comparison.")
    overwrite: bool = option(False, "Replace what an earlier comparison left.")

    groups: ClassVar = {"with --form real": OF_IMAGES}
    rules: ClassVar = (Rule(OF_IMAGES, lambda o: o.form == REAL, f"needs --form {REAL}"), CLUSTER_NEEDS_WORKERS)

    @property
    def names(self) -> list[str]:
        """The methods that are asked for, each once. Raises a UserError if there is no such method."""
        names = [*METHODS] if self.methods == ALL else [name.strip() for name in self.methods.split(",")]
        for name in names:
            if name not in METHODS:
                raise UserError(
                    f"--methods: there is no method {name!r}. {did_you_mean(name, [*METHODS, ALL])}"
                    f"Methods: {', '.join(METHODS)}; or all."
                )
        return list(dict.fromkeys(names))

    @property
    def seeds(self) -> list[int]:
        return [self.seed + number for number in range(self.num_seeds or (1 if self.form == REAL else 10))]
