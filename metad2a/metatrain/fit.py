"""The one training loop: Adam on a summed loss, plateau scheduler, checkpoints, log and resume (section 4.1)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
import torch.nn as nn
from annotated_types import MaxLen
from pydantic import Strict

from metad2a.core.environment import TextLog, command_line, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.progress import progress
from metad2a.core.schema import BYTES, OPEN, Integer, State, TensorOf, Text, check, check_progress, check_state
from metad2a.core.training_run import TrainingRun
from metad2a.metatrain.checkpoints import Checkpoint, numbered_checkpoints, read_checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.options import FitOptions

LAST, BEST = "ckpt_last.pt", "ckpt_max_corr.pt"
PRODUCTS = ("model/ckpt_*.pt",)  # of a run in its folder
FREE = ("max_epoch", "save_epoch")  # may change when a run is resumed


class Objective(Protocol):
    """A model with its data, as `fit` trains and validates it.

    Attributes:
        model: on its device.
        draws: of the tuples' tasks.
        training: (n,) long, the tuples to train on.
        best_metric: the validation figure whose maximum is kept in `ckpt_max_corr.pt`, or None.
    """

    model: nn.Module
    draws: TaskDraws
    training: torch.Tensor
    best_metric: str | None

    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Loss of a batch of tuples, summed."""

    def validate(self) -> dict[str, float]:
        """Validation figures, from draws that are the same every time."""


class _State:
    """Everything that changes while training, saved and restored as one."""

    def __init__(self, objective: Objective, options: FitOptions):
        device = next(objective.model.parameters()).device
        self.model = objective.model
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.1, patience=10)
        self.rng = random_generator(options.seed, device)
        self.raw: dict[str, torch.Tensor] = {}  # while the model holds the average
        self.average = [p.detach().clone() for p in self.model.parameters()] if options.ema else []
        self.decay = options.ema
        self.steps = 0
        self.epoch = 0
        self.best = -math.inf

    @torch.no_grad()
    def step(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.average:  # the decay warms up, or the average would long remember the initial weights
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.average, list(self.model.parameters()), 1 - decay)
        self.steps += 1

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the model has the averaged weights, where there are such."""
        if not self.average:
            yield
            return
        self.raw = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        try:
            self.model.load_state_dict(dict(zip(dict(self.model.named_parameters()), self.average, strict=True)))
            yield
        finally:
            self.model.load_state_dict(self.raw)
            self.raw = {}

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": self.rng.get_state(),
            "raw": self.raw,
            "steps": self.steps,
            "best": self.best,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.training.get("raw") or checkpoint.state)
        for tensor, (name, _) in zip(self.average, self.model.named_parameters(), strict=False):
            tensor.copy_(checkpoint.state[name])
        self.optimizer.load_state_dict(checkpoint.training["optimizer"])
        self.scheduler.load_state_dict(checkpoint.training["scheduler"])
        self.steps = checkpoint.training.get("steps", 0)
        self.rng.set_state(checkpoint.training["rng"])
        self.best = checkpoint.training["best"]
        self.epoch = checkpoint.epoch


def fit(objective: Objective, options: FitOptions, run: TrainingRun, template: Checkpoint) -> None:
    """Train, validate after every epoch, and keep checkpoints in `model` below the run's folder.

    Args:
        run: begun; where it resumes, training goes on from `ckpt_last.pt`, and the weights are then those of an
            uninterrupted run. Its log is `log.txt`.
        template: a checkpoint whose kind, configuration, extractor and target every saved one takes.

    Raises:
        UserError: the checkpoint to resume from is missing or another run's, or the loss is not finite.
        KeyboardInterrupt: interrupted; the last finished epoch is on disk.
    """
    models = run.folder / "model"
    record = TextLog(run.folder / "log.txt")
    state = _State(objective, options)
    template = replace(template, history=run.history)

    def save(name: str, metrics: dict[str, float]) -> None:
        weights, training = state.model.state_dict(), state.training_state() | {"identity": run.identity}
        replace(template, state=weights, epoch=state.epoch, metrics=metrics, training=training).save(models / name)

    if run.resume:
        checkpoint = read_checkpoint(models / LAST, template.kind, _mend(models))
        run.check(checkpoint.training.get("identity"), models / LAST)
        _check_training(checkpoint, state, models / LAST)
        state.restore(checkpoint)
        record(f"resumed after epoch {state.epoch}: {command_line()}")
    else:
        record(f"started: {command_line()}")
        save(LAST, {})
    write_scalar, close_writer = _scalar_writer(run.folder / "tensorboard")
    try:
        for epoch in range(state.epoch + 1, options.max_epoch + 1):
            loss = _train_epoch(objective, state, options, epoch)
            state.scheduler.step(loss)
            state.epoch = epoch
            with state.averaged():
                metrics = {"train_loss": loss, "lr": state.optimizer.param_groups[0]["lr"], **objective.validate()}
                for name in _names(objective, state, options, metrics):
                    save(name, metrics)
            record(f"epoch {epoch} " + " ".join(f"{name} {value:.6g}" for name, value in metrics.items()))
            for name, value in metrics.items():
                write_scalar(name, value, epoch)
    finally:
        close_writer()
    record(f"finished after epoch {state.epoch}; checkpoints are in {models}")


def _mend(models: Path) -> str:
    """What to do where the last epoch's file cannot be read, a sentence."""
    if earlier := numbered_checkpoints(models):
        path = display_path(earlier[max(earlier)])
        return f"Copy {path} over it and go on from there with --resume, or start anew with --overwrite."
    return "Start anew with --overwrite."


def _names(objective: Objective, state: _State, options: FitOptions, metrics: dict[str, float]) -> list[str]:
    """The checkpoints to write after an epoch; `state.best` becomes the best figure so far."""
    names = [LAST]
    if state.epoch % options.save_epoch == 0 or state.epoch == options.max_epoch:
        names.insert(0, f"ckpt_{state.epoch}.pt")
    metric = metrics.get(objective.best_metric or "")
    if metric is not None and metric > state.best:
        state.best = metric
        names.insert(0, BEST)
    return names


@dataclass(frozen=True)
class _Training:
    """Fields of a training state that `_check_training` cannot compare with those of a state that was just made."""

    __pydantic_config__ = OPEN

    optimizer: dict[Text, Any]
    scheduler: dict[Text, Any]
    rng: Annotated[torch.Tensor, TensorOf(BYTES, ("n",))]
    best: Annotated[float, Strict()]
    raw: State | Annotated[dict[Text, Any], MaxLen(0)] = field(default_factory=dict)
    steps: Integer = 0


def _check_training(checkpoint: Checkpoint, state: _State, path: Path) -> None:
    """Raise a UserError unless the training state is one of this model."""
    hint, training = "Start anew with --overwrite.", checkpoint.training
    check(path, training, _Training, "a checkpoint to resume from", hint)
    for weights in (checkpoint.state, training.get("raw")):
        if weights:
            check_state(path, weights, state.model, "its configuration", hint)
    check_progress(path, training, state.optimizer, state.scheduler, state.rng, hint)


def _train_epoch(objective: Objective, state: _State, options: FitOptions, epoch: int) -> float:
    """One pass over the training tuples; returns the loss a tuple."""
    objective.model.train()
    rng = state.rng
    rows = objective.draws.shuffled(objective.training, rng)
    total = torch.zeros((), device=rng.device)
    batches = progress(
        rows.split(options.batch_size), desc=f"epoch {epoch}/{options.max_epoch}", leave=False, unit="batch"
    )
    for batch in batches:
        loss = objective.loss(batch, rng)
        state.step(loss)
        total += loss.detach()  # no .item(): the host must not wait for the device inside an epoch
    mean = total.item() / len(rows)
    if not math.isfinite(mean):
        saved = f" Epoch {epoch - 1} is saved." if epoch > 1 else ""
        raise UserError(
            f"The loss became {mean} in epoch {epoch}.{saved} Try a smaller --lr, with --overwrite or elsewhere."
        )
    return mean


def _scalar_writer(folder: Path) -> tuple[Callable[[str, float, int], None], Callable[[], None]]:
    """TensorBoard's `add_scalar` and `close` where TensorBoard is installed, else functions that do nothing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda name, value, epoch: None, lambda: None
    writer = SummaryWriter(str(folder))
    return writer.add_scalar, writer.close
