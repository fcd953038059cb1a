"""The training loop: Adam on a summed loss, plateau scheduler, checkpoints, log and resume (MetaD2A section 4.1)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import MaxLen
from pydantic import Strict
from torch.optim.swa_utils import get_ema_multi_avg_fn

from metad2a.core.environment import TextLog, command_line, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.progress import progress
from metad2a.core.schema import OPEN, Integer, Text, check
from metad2a.core.tensors import State, check_progress, check_state
from metad2a.core.training_run import TrainingRun
from metad2a.metatrain.checkpoints import Checkpoint, numbered_checkpoints, read_checkpoint
from metad2a.metatrain.objectives import Objective
from metad2a.metatrain.options import FitOptions

LAST, BEST = "ckpt_last.pt", "ckpt_max_corr.pt"
PRODUCTS = ("model/ckpt_*.pt",)  # what a run leaves in its folder
FREE = ("max_epoch", "save_epoch")  # options that may change when a run is resumed


@dataclass(frozen=True)
class _Training:
    """The training state of a checkpoint. `check_progress` checks its first three fields."""

    __pydantic_config__ = OPEN

    optimizer: Any
    scheduler: Any
    rng: Any
    best: Annotated[float, Strict()]
    raw: State | Annotated[dict[Text, Any], MaxLen(0)] = field(default_factory=dict)
    steps: Integer = 0


class _State:
    """Everything that changes in training, saved and restored together."""

    def __init__(self, objective: Objective, options: FitOptions):
        device = next(objective.model.parameters()).device
        self.model = objective.model
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.lr, fused=True)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.1, patience=10)
        self.rng = random_generator(options.seed, device)
        self.average = [p.detach().clone() for p in self.model.parameters()] if options.ema else []
        self.raw: dict[str, torch.Tensor] = {}  # the weights, while the model holds their average
        self.decay = options.ema
        self.steps = 0
        self.epoch = 0
        self.best = -math.inf

    @torch.no_grad()
    def step(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.average:  # the decay grows, so that the average soon forgets the initial weights
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            get_ema_multi_avg_fn(decay)(self.average, list(self.model.parameters()), self.steps)
        self.steps += 1

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block, the model has the averaged weights if there is an average."""
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

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Load the training state of a checkpoint from the file `path`. Raises a UserError if it does not fit."""
        hint = "Start anew with --overwrite."
        training: _Training = check(path, checkpoint.training, _Training, "a checkpoint to resume from", hint)
        for weights in (checkpoint.state, training.raw or checkpoint.state):
            check_state(path, weights, self.model, "its configuration", hint)
        check_progress(path, vars(training), self.optimizer, self.scheduler, self.rng, hint)
        self.model.load_state_dict(training.raw or checkpoint.state)
        for tensor, (name, _) in zip(self.average, self.model.named_parameters(), strict=False):
            tensor.copy_(checkpoint.state[name])
        self.optimizer.load_state_dict(training.optimizer)
        self.scheduler.load_state_dict(training.scheduler)
        self.rng.set_state(training.rng)
        self.steps, self.best, self.epoch = training.steps, training.best, checkpoint.epoch


def fit(objective: Objective, options: FitOptions, run: TrainingRun, template: Checkpoint) -> None:
    """Train, validate after every epoch, and keep checkpoints in `model` below the run's folder.

    A run that resumes continues from `ckpt_last.pt` to the weights of an uninterrupted run. Every checkpoint takes its
    kind, configuration, extractor and target from `template`. A checkpoint that does not fit the run, or a loss that is
    not finite, raises a UserError.
    """
    models = run.folder / "model"
    record = TextLog(run.folder / "log.txt")
    state = _State(objective, options)
    template = replace(template, history=run.history | {"max_epoch": options.max_epoch})

    def save(name: str, metrics: dict[str, float]) -> None:
        weights, training = state.model.state_dict(), state.training_state() | {"identity": run.identity}
        replace(template, state=weights, epoch=state.epoch, metrics=metrics, training=training).save(models / name)

    if run.resume:
        hint = "Start anew with --overwrite."
        if earlier := numbered_checkpoints(models):
            path = display_path(earlier[max(earlier)])
            hint = f"Copy {path} over it and continue with --resume, or start anew with --overwrite."
        checkpoint = read_checkpoint(models / LAST, template.kind, hint)
        run.check(checkpoint.training.get("identity"), models / LAST)
        state.restore(checkpoint, models / LAST)
        record(f"resumed after epoch {state.epoch}: {command_line()}")
    else:
        record(f"started: {command_line()}")
        save(LAST, {})
    for epoch in range(state.epoch + 1, options.max_epoch + 1):
        loss = _train_epoch(objective, state, options, epoch)
        state.scheduler.step(loss)
        state.epoch = epoch
        with state.averaged():
            metrics = {"train_loss": loss, "lr": state.optimizer.param_groups[0]["lr"], **objective.validate()}
            if metrics.get(objective.best_metric, -math.inf) > state.best:
                state.best = metrics[objective.best_metric]
                save(BEST, metrics)
            if epoch % options.save_epoch == 0 or epoch == options.max_epoch:
                save(f"ckpt_{epoch}.pt", metrics)
            save(LAST, metrics)
        record(f"epoch {epoch} " + " ".join(f"{name} {value:.6g}" for name, value in metrics.items()))
    record(f"finished after epoch {state.epoch}; checkpoints are in {models}")


def _train_epoch(objective: Objective, state: _State, options: FitOptions, epoch: int) -> float:
    """Train on all training tuples once; returns the mean loss of a tuple."""
    objective.model.train()
    rng = state.rng
    rows = objective.draws.shuffled(objective.training, rng)
    total = torch.zeros((), device=rng.device)
    title = f"epoch {epoch}/{options.max_epoch}"
    for batch in progress(rows.split(options.batch_size), desc=title, leave=False, unit="batch"):
        loss = objective.loss(batch, rng)
        state.step(loss)
        total += loss.detach()  # without .item(), so that the host never waits for the device within an epoch
    mean = total.item() / len(rows)
    if not math.isfinite(mean):
        saved = f" Epoch {epoch - 1} is saved." if epoch > 1 else ""
        raise UserError(
            f"The loss became {mean} in epoch {epoch}.{saved} Try a smaller --lr, with --overwrite or another "
            "--save-path."
        )
    return mean
