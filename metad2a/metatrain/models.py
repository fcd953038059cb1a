"""Find and load trained models: the user's own, else the shipped ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, overload

import torch

from generator.model import GeneratorConfig, GeneratorModel
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, display_path
from metad2a.core.messages import log
from metad2a.core.schema import check, check_sizes, check_state, without_memory
from metad2a.metatrain.checkpoints import PUBLISHED, Checkpoint, numbered_checkpoints, read_checkpoint
from metad2a.metatrain.fit import BEST, LAST
from metad2a.metatrain.options import Kind
from metad2a.metatrain.tuples import load_tuples
from metad2a.spaces.base import SearchSpace
from predictor.ensemble import Predictor, build_predictor
from predictor.model import PredictorConfig

VALIDATION = {  # figures worth a word
    "correlation": "validation correlation",
    "validation_loss": "validation loss",
    "regression_share": "share of the regression",
}
CLASSES = {"generator": (GeneratorConfig, GeneratorModel), "predictor": (PredictorConfig, build_predictor)}


def results_folder(kind: str, space: SearchSpace, save_path: str | Path) -> Path:
    """Return the folder of a model's log and checkpoints."""
    return Path(save_path) / space.results_folder / kind


def trained_here(kind: str, space: SearchSpace, save_path: str | Path) -> bool:
    """Whether the user has checkpoints of a model of his own."""
    return any((results_folder(kind, space, save_path) / "model").glob("ckpt_*.pt"))


def find_checkpoint(
    kind: Kind, space: SearchSpace, save_path: str | Path, load_epoch: int | None, given: str | None = None
) -> Path:
    """The checkpoint to use: the one asked for, else the user's best or last, else the shipped one.

    Args:
        given: a file, which is then the one.
        load_epoch: of `ckpt_<epoch>.pt`; None for the predictor's best epoch and the generator's last, whether or not
            that one has a numbered file.

    Raises:
        UserError: the checkpoint asked for is missing.
    """
    if given:
        return Path(given)
    folder = results_folder(kind, space, save_path) / "model"
    shipped = ASSETS / "checkpoints" / space.name / f"{kind}.pt"
    numbered = numbered_checkpoints(folder)
    best, last = folder / BEST, folder / LAST
    if load_epoch is not None:
        if load_epoch in numbered:
            return numbered[load_epoch]
        if numbered or best.is_file() or last.is_file() or load_epoch != space.published_epoch:
            there = ", ".join(str(e) for e in sorted(numbered)) or "none"
            raise UserError(
                f"{folder / f'ckpt_{load_epoch}.pt'} is missing; epochs there: {there}. Give one of them as "
                f"--load-epoch, or train with: python main.py --model {kind} --search-space {space.name}"
            )
    elif kind == "predictor" and best.is_file():
        return best
    elif last.is_file():
        return last
    elif numbered:
        return numbered[max(numbered)]
    if not shipped.is_file():
        raise UserError(
            f"There is no {kind} checkpoint in {folder}, and none is shipped for {space.name}. Fetch the authors' "
            f"with: python get_files/get_{kind}_checkpoint.py --search-space {space.name}, or train one with: "
            f"python main.py --model {kind} --search-space {space.name}"
        )
    return shipped


@overload
def load_model(
    kind: Literal["predictor"], space: SearchSpace, path: str | Path, device: torch.device, *sizes: int | None
) -> tuple[Predictor, Checkpoint]: ...
@overload
def load_model(
    kind: Kind, space: SearchSpace, path: str | Path, device: torch.device, *sizes: int | None
) -> tuple[GeneratorModel | Predictor, Checkpoint]: ...
def load_model(
    kind: Kind, space: SearchSpace, path: str | Path, device: torch.device, *sizes: int | None
) -> tuple[GeneratorModel | Predictor, Checkpoint]:
    """Read a checkpoint, ours or published, into its model on `device`, in evaluation mode.

    Args:
        sizes: hs and nz that it must have; None for any.

    Raises:
        UserError: the file is missing, damaged, of the other model, of another search space or of other sizes.
    """
    hint = f"Train one with: python main.py --model {kind} --search-space {space.name}"
    if others := [epoch for epoch, other in numbered_checkpoints(Path(path).parent).items() if other != Path(path)]:
        hint = f"Take an earlier epoch with --load-epoch, for example {max(others)}, or train anew."
    checkpoint = read_checkpoint(path, kind, hint)
    published = checkpoint.history.get("names") == PUBLISHED
    if checkpoint.epoch < 1 and not published:
        raise UserError(
            f"{path} holds a {kind} that has not finished an epoch of training. Go on training it with: python main.py "
            f"--model {kind} --search-space {space.name} --resume, or name another as --{kind}-checkpoint."
        )
    config_class, model_class = CLASSES[kind]
    config = check(path, checkpoint.config, config_class, f"a {kind} with a good configuration", hint)
    graphs = (config.max_n, config.num_vertex_type)
    if checkpoint.search_space not in ("", space.name) or graphs != (space.max_n, space.num_vertex_type):
        found = checkpoint.search_space or f"graphs of {graphs[0]} vertices and {graphs[1]} types"
        raise UserError(f"{path} was trained for {found}, not for {space.name}. {hint}")
    for name, asked in zip(("hs", "nz"), sizes, strict=False):
        found = getattr(config, name)
        if asked is not None and asked != found:
            raise UserError(f"{path} has --{name} {found}, not {asked}: leave the option out or give {found}.")
    check_sizes(path, checkpoint.state, asdict(config), hint)
    if published:
        try:
            without_memory(lambda: model_class(config)).load_published(checkpoint.state)
        except UserError as error:
            raise UserError(f"{path}: {error}. {hint}") from error
        model = model_class(config)
        model.load_published(checkpoint.state)
        if kind == "predictor":
            checkpoint.target = published_target(space)
    else:
        check_state(path, checkpoint.state, without_memory(lambda: model_class(config)), "its configuration", hint)
        model = model_class(config)
        model.load_state_dict(checkpoint.state)
    log.info(f"{kind}: {describe(path, checkpoint)}")
    return model.to(device).eval(), checkpoint


def supernet_sizes(*checkpoints: Checkpoint) -> dict[str, Any]:
    """`image_size` and `width_mult` of the supernet that measured the checkpoints' database, where it is known."""
    known = [c.history for c in checkpoints]
    return {name: h[name] for name in ("image_size", "width_mult") for h in known if name in h}


def describe(path: str | Path, checkpoint: Checkpoint) -> str:
    """Describe a checkpoint in a line: file, epoch and validation figures."""
    path = Path(path)
    if checkpoint.history.get("names") == PUBLISHED:
        return f"{display_path(path)}, in the authors' format (epoch and validation figures are not kept in it)"
    shipped = "shipped " if path.is_relative_to(ASSETS) else ""
    figures = {name: value for name, value in checkpoint.metrics.items() if name in VALIDATION}
    text = "".join(f", {VALIDATION[name]} {value:.4g}" for name, value in figures.items())
    return f"{shipped}{display_path(path)}, epoch {checkpoint.epoch}{text}"


def published_target(space: SearchSpace) -> dict[str, float]:
    """Target statistics that the authors' checkpoints do not keep: those of their database, where it is shipped."""
    if not space.tuples_shipped:
        log.info("A published checkpoint lacks the scale of its accuracies: only the order of predictions counts.")
        return {"mean": 0.0, "std": 1.0}
    from metad2a.metatrain.predictor_objective import target_statistics

    return target_statistics(load_tuples("predictor", space, ASSETS / "none", num_classes=1000))
