"""Options of meta-training."""

import os
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Literal

from metad2a.core.options import CommonOptions, ModelSizes, Rule, option
from metad2a.core.values import ALLOW_PICKLE_VARIABLE, fraction, not_negative_float, positive_int, seed_number

OF_PREDICTOR = ("benchmark_task", "regression", "within_task_loss")
Kind = Literal["generator", "predictor"]


@dataclass(frozen=True)
class FitOptions:
    """The training loop: the published protocol by default. A resumed run may change `max_epoch` and `save_epoch`."""

    max_epoch: int = option(400, "Epochs.", type=positive_int)
    batch_size: int = option(32, "Tuples of a batch.", type=positive_int)
    lr: float = option(1e-4, "Adam's learning rate.", type=not_negative_float)
    save_epoch: int = option(20, "Keep ckpt_<epoch>.pt every N epochs.", type=positive_int)
    seed: int = option(333, "Seed of everything random.", type=seed_number)
    num_sample: int = option(20, "Images of each class in a draw.", type=positive_int)
    ema: float = option(
        0.0,
        "Validate and keep a moving average of the weights with this decay; 0 keeps the weights.",
        type=fraction,
        default_text="0",
    )
    benchmark_task: str = option(
        "", "Learn a benchmark's accuracies as more tasks, for example imagenet16-120 or imagenet16-120@12 (epochs)."
    )
    regression: Literal["yes", "no"] | None = option(
        None,
        "Add a ridge regression on the vertices; the validation tuples choose its share. "
        "Default: yes for ofa_mbv3; no, as published, for nasbench201.",
        choices=("yes", "no"),
    )
    within_task_loss: float = option(
        0.0,
        "Weight of the error of differences within a task, divided by their variance.",
        type=not_negative_float,
        default_text="0",
    )


@dataclass(frozen=True, kw_only=True)
class MetaTrainOptions(FitOptions, CommonOptions, ModelSizes):
    """`meta-train`: which model to train on what."""

    model: Kind = option(
        MISSING, "What to train: generator or predictor.", "--model-name", choices=("generator", "predictor")
    )
    nvt: int | None = option(
        None, "Number of vertex types, which is checked against the search space.", type=positive_int
    )
    compile: bool = option(False, "Compile the step, on a GPU to CUDA graphs: minutes at first, then faster.")
    resume: bool = option(False, "Continue an interrupted run.")
    overwrite: bool = option(False, "Replace what an earlier run left.")
    allow_pickle: bool = option(
        False,
        "Read the authors' pickles: igraph graphs and NumPy values, nothing else. "
        f"{ALLOW_PICKLE_VARIABLE}=1 does the same.",
    )

    groups: ClassVar = {
        "training": ("max_epoch", "batch_size", "lr", "save_epoch", "seed", "num_sample", "ema", "compile", "resume",
                     "overwrite"),
        "the predictor's training": OF_PREDICTOR,
    }  # fmt: skip
    rules: ClassVar = (
        Rule(OF_PREDICTOR, lambda o: o.model == "predictor", "belongs to --model predictor: leave it out"),
    )

    @property
    def fit(self) -> FitOptions:
        """The options of the loop."""
        return FitOptions(**{f.name: getattr(self, f.name) for f in fields(FitOptions)})

    @property
    def may_unpickle(self) -> bool:
        """Whether the user allows to load pickles, by an option or in the environment."""
        return self.allow_pickle or os.environ.get(ALLOW_PICKLE_VARIABLE, "") not in ("", "0")
