"""Options of meta-training and of building its databases."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from metad2a.core.cli import ALLOW_PICKLE_VARIABLE, fraction, not_negative_float, positive_int, seed_number
from metad2a.core.options import CommonOptions, ModelSizes, option

if TYPE_CHECKING:
    import torch

Kind = Literal["generator", "predictor"]


@dataclass(frozen=True)
class FitOptions:
    """The training loop: the published protocol unless told otherwise. `max_epoch` and `save_epoch` alone may change
    when a run is resumed."""

    max_epoch: int = option(400, "epochs", type=positive_int)
    batch_size: int = option(32, "tuples, or images of --model train_arch", "--batch_size", type=positive_int,
                             default_text="32; 256 to train an architecture")  # fmt: skip
    lr: float = option(1e-4, "Adam's learning rate", type=not_negative_float)
    weight_decay: float = option(0.0, "Adam's weight decay", type=not_negative_float)
    save_epoch: int = option(20, "keep ckpt_<epoch>.pt every so many epochs", type=positive_int)
    seed: int = option(333, "of everything random", type=seed_number)
    num_sample: int = option(20, "images of each class in a draw", type=positive_int)
    ema: float = option(0.0, "validate and keep a moving average of the weights, of this decay; 0: off", type=fraction)
    benchmark_task: str = option(
        "", "predictor: datasets of a benchmark as more tasks, by commas (imagenet16-120, imagenet16-120@12: epochs)"
    )
    benchmark_fold: int | None = option(
        None, "predictor: a fifth of the cells (0 to 4) to leave out of --benchmark-task", type=int, choices=range(5)
    )
    regression: Literal["yes", "no"] | None = option(
        None, "predictor: with a ridge regression on the vertices, whose share the validation tuples choose",
        choices=("yes", "no"), default_text="yes for ofa_mbv3; no, as published, for nasbench201",
    )  # fmt: skip
    rank_loss: float = option(0.0, "predictor: weight of a pairwise ranking loss", type=not_negative_float)
    within_task_loss: float = option(
        0.0, "predictor: weight of the error of differences within a task, over their variance", type=not_negative_float
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(CommonOptions, ModelSizes):
    """Which model to train on what; `fit` has the options of the loop."""

    kind: Kind
    device: "torch.device"
    fit: FitOptions
    compile: bool = option(False, "compile the step, on a GPU to CUDA graphs: minutes at first, then faster")
    resume: bool = option(False, "continue an interrupted run; what is finished is kept")
    overwrite: bool = option(False, "replace what an earlier run left")
    allow_pickle: bool = option(
        False, f"read the authors' pickles: igraph graphs and NumPy values, nothing else (or {ALLOW_PICKLE_VARIABLE}=1)"
    )

    @property
    def may_unpickle(self) -> bool:
        """Whether the user allows to load pickles, by an option or in the environment."""
        return self.allow_pickle or os.environ.get(ALLOW_PICKLE_VARIABLE, "") not in ("", "0")


@dataclass(frozen=True, kw_only=True)
class BuildOptions(CommonOptions, ModelSizes):
    """How to build the generator's database with the predictor."""

    device: "torch.device"
    num_tasks: int = option(1710, "tasks of the database: the paper's 1310 + 400", type=positive_int)
    num_sampled: int = option(100, "architectures scored for each task", type=positive_int)
    num_draws: int = option(10, "draws of a dataset that scores are averaged over", type=positive_int)
    num_sample: int = option(20, "images of each class in a draw", type=positive_int)
    seed: int = option(333, "of everything random", type=seed_number)
    load_epoch: int | None = option(None, "load ckpt_<epoch>.pt", type=positive_int, default_text="the best")
    predictor_checkpoint: str | None = option(None, "load this file")
    overwrite: bool = option(False, "replace what an earlier run left")
