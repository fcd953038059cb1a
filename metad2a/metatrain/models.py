"""Find and load trained models: the user's own finished models, otherwise the shipped models."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from generator.model import GeneratorConfig, GeneratorModel
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, display_path, load_torch
from metad2a.core.messages import log
from metad2a.core.schema import check
from metad2a.core.tensors import check_sizes, check_state, without_memory
from metad2a.metatrain.checkpoints import Checkpoint, numbered_checkpoints, read_checkpoint
from metad2a.metatrain.fit import BEST, LAST
from metad2a.metatrain.objectives import target_statistics
from metad2a.metatrain.options import Kind
from metad2a.metatrain.tuples import load_tuples
from metad2a.spaces.base import SearchSpace
from predictor.ensemble import build_predictor
from predictor.model import PredictorConfig

SHOWN_METRICS = {
    "correlation": "validation correlation",
    "validation_loss": "validation loss",
    "regression_share": "share of the regression",
}
SHIPPED = "shipped"  # instead of a file: the shipped checkpoint
CLASSES = {"generator": (GeneratorConfig, GeneratorModel), "predictor": (PredictorConfig, build_predictor)}


def results_folder(kind: str, space: SearchSpace, save_path: str | Path) -> Path:
    """The folder of a model's log and checkpoints."""
    return Path(save_path) / space.results_folder / kind


def own_checkpoint(kind: str, folder: Path) -> Path | None:
    """The user's checkpoint in a run's folder `model`: the predictor's best epoch or the generator's last, else the
    latest numbered one. None if there is none."""
    numbered = numbered_checkpoints(folder)
    unnumbered = [folder / BEST, folder / LAST] if kind == "predictor" else [folder / LAST]
    latest_first = [numbered[epoch] for epoch in sorted(numbered, reverse=True)]
    return next((path for path in unnumbered + latest_first if path.is_file()), None)


def unfinished(folder: Path) -> str:
    """How far a training is that has not reached its last epoch; empty if it has, or its files do not tell."""
    try:
        last = load_torch(folder / LAST, "", mapped=True)
        epoch, wanted = last["epoch"], last["history"]["max_epoch"]
        return f"unfinished, epoch {epoch} of {wanted}" if epoch < wanted else ""
    except (UserError, KeyError, TypeError):
        return ""


def trained_here(kind: str, space: SearchSpace, save_path: str | Path) -> bool:
    """Whether the user has trained such a model to the end. An unfinished one is named."""
    folder = results_folder(kind, space, save_path) / "model"
    own = own_checkpoint(kind, folder)
    if own and (state := unfinished(folder)):
        log.info(
            f"Your {kind} in {display_path(folder)} is {state}, and is left out. To take it, add {_take(kind, own)}."
        )
        return False
    return own is not None


def _take(kind: str, path: Path | str) -> str:
    return f"--{kind}-checkpoint {shlex.quote(str(path))}"


def find_checkpoint(
    kind: Kind, space: SearchSpace, save_path: str | Path, load_epoch: int | None, given: str | None = None
) -> Path:
    """Find the requested checkpoint, a file `given`, "shipped", or an epoch. Without a request, the user's own if its
    training is finished or none is shipped, otherwise the shipped one; what is not used is named.

    The shipped one also stands for the published epoch, if the user has no such file. No such checkpoint raises a
    UserError.
    """
    shipped = ASSETS / "checkpoints" / space.name / f"{kind}.pt"
    if given:
        return shipped if given == SHIPPED and shipped.is_file() else Path(given)
    folder = results_folder(kind, space, save_path) / "model"
    own, numbered, state = own_checkpoint(kind, folder), numbered_checkpoints(folder), unfinished(folder)
    if load_epoch in numbered:
        return numbered[load_epoch]
    if load_epoch is None and own:
        if not shipped.is_file():
            if state:
                log.info(f"Your {kind} in {display_path(folder)} is {state}, and none is shipped: yours is used.")
            return own
        if not state:
            log.info(
                f"Your {kind} in {display_path(folder)} is used. To take the shipped one, add {_take(kind, SHIPPED)}."
            )
            return own
        log.info(
            f"Your {kind} in {display_path(folder)} is {state}: the shipped one is used. To take yours, add "
            f"{_take(kind, own)}."
        )
    elif load_epoch is not None and load_epoch == space.published_epoch and own and shipped.is_file():
        log.info(
            f"There is no {display_path(folder / f'ckpt_{load_epoch}.pt')}: the shipped {kind} is used. To take yours, "
            f"leave out --load-epoch and add {_take(kind, own)}."
        )
    elif load_epoch is not None and (own or load_epoch != space.published_epoch):
        epochs = ", ".join(map(str, sorted(numbered))) or "none"
        raise UserError(
            f"{folder / f'ckpt_{load_epoch}.pt'} is missing; epochs there: {epochs}. Give one of them as "
            f"--load-epoch, or train with: python main.py --model {kind} --search-space {space.name}"
        )
    if not shipped.is_file():
        fetch = f"Fetch the authors' with: python get_files/get_{kind}_checkpoint.py --search-space {space.name}. "
        raise UserError(
            f"There is no {kind} checkpoint in {folder}, and none is shipped for {space.name}. "
            f"{fetch if space.published_epoch else ''}Meta-train one with: "
            f"python main.py meta-train --model {kind} --search-space {space.name}"
        )
    return shipped


def build_model(path: str | Path, checkpoint: Checkpoint, hint: str) -> Any:
    """Build the model of a checkpoint from the file `path`. Parameters that do not fit raise a UserError."""
    config_class, model_class = CLASSES[checkpoint.kind]
    config = check(path, checkpoint.config, config_class, f"a {checkpoint.kind} with a good configuration", hint)
    check_sizes(path, checkpoint.state, asdict(config), hint)
    empty = without_memory(lambda: model_class(config))
    state = empty.our_names(checkpoint.state) if checkpoint.published else checkpoint.state
    check_state(path, state, empty, "its configuration", hint)
    model = model_class(config)
    model.load_state_dict(state)
    return model


def load_model(
    kind: Kind, space: SearchSpace, path: str | Path, device: torch.device, *sizes: int | None
) -> tuple[Any, Checkpoint]:
    """Read a checkpoint, ours or published, into a `GeneratorModel` or `Predictor` on `device`, in evaluation mode.

    A missing or damaged file, another model, search space, or sizes (hs and nz, None for any) raise a UserError.
    """
    hint = f"Train one with: python main.py --model {kind} --search-space {space.name}"
    if others := [epoch for epoch, other in numbered_checkpoints(Path(path).parent).items() if other != Path(path)]:
        hint = f"Take an earlier epoch with --load-epoch, for example {max(others)}, or train anew."
    checkpoint = read_checkpoint(path, kind, hint)
    if checkpoint.epoch < 1 and not checkpoint.published:
        raise UserError(
            f"{path} holds a {kind} that has not finished an epoch of training. Continue its training with: python "
            f"main.py --model {kind} --search-space {space.name} --resume, or name another as --{kind}-checkpoint."
        )
    model = build_model(path, checkpoint, hint)
    graphs = (model.config.max_n, model.config.num_vertex_type)
    if checkpoint.search_space not in ("", space.name) or graphs != (space.max_n, space.num_vertex_type):
        found = checkpoint.search_space or f"graphs of {graphs[0]} vertices and {graphs[1]} types"
        raise UserError(f"{path} was trained for {found}, not for {space.name}. {hint}")
    for name, required in zip(("hs", "nz"), sizes, strict=False):
        size = getattr(model.config, name)
        if required not in (None, size):
            raise UserError(f"{path} has --{name} {size}, not {required}: leave the option out or give {size}.")
    if kind == "predictor" and checkpoint.published:
        checkpoint.target = published_target(space)
    log.info(f"{kind}: {describe(path, checkpoint)}")
    return model.to(device).eval(), checkpoint


def supernet_sizes(*checkpoints: Checkpoint) -> dict[str, Any]:
    """Known `image_size` and `width_mult` of the supernet that measured the checkpoints' databases."""
    histories = [checkpoint.history for checkpoint in checkpoints]
    return {name: h[name] for name in ("image_size", "width_mult") for h in histories if name in h}


def describe(path: str | Path, checkpoint: Checkpoint) -> str:
    """Describe a checkpoint in a line: file, epoch and validation figures."""
    path = Path(path)
    if checkpoint.published:
        return f"{display_path(path)}, in the authors' format, which lacks epoch and validation figures"
    shipped = "shipped " if path.is_relative_to(ASSETS) else ""
    figures = {SHOWN_METRICS[name]: value for name, value in checkpoint.metrics.items() if name in SHOWN_METRICS}
    text = "".join(f", {name} {value:.4g}" for name, value in figures.items())
    return f"{shipped}{display_path(path)}, epoch {checkpoint.epoch}{text}"


def published_target(space: SearchSpace) -> dict[str, float]:
    """Target statistics for the authors' checkpoints, which lack them: those of the shipped database."""
    if not space.tuples_shipped:
        log.info("A published checkpoint lacks the scale of its accuracies: only the order of predictions counts.")
        return {"mean": 0.0, "std": 1.0}
    return target_statistics(load_tuples("predictor", space, ASSETS / "none", num_classes=1000))
