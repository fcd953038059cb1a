"""Which architecture to evaluate: a search's choice, a text, or a configuration of NSGANetV2."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Le, MinLen
from typing_extensions import TypedDict

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.schema import Number, Size, Text, check, read_json
from metad2a.networks.train_arch import ranked_architectures
from metad2a.spaces.base import SearchSpace
from metad2a.spaces.ofa_mbv3.layers import DEPTHS, EXPANSIONS, KERNELS, MAX_DEPTH, NUM_STAGES, Arch
from metad2a.spaces.ofa_mbv3.supernet import MAX_IMAGE_SIZE


@dataclass(frozen=True)
class Chosen:
    """An architecture, its source (a file, or "--arch"), and the image size (pixels) if its configuration has one."""

    arch: Arch
    source: str
    image_size: int | None = None


def searched(folder: Path, hint: str) -> list[Chosen]:
    """The architectures of a meta-test's first run, best predicted first.

    Raises a UserError, which ends in the sentence `hint`, if the ranking is missing or damaged.
    """
    path = folder / "best_arch" / "ranking_run_1.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing. {hint}")
    texts, space = ranked_architectures(path, hint), spaces.get("ofa_mbv3")
    try:
        return [Chosen(space.from_text(text), str(path)) for text in texts]
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}). {hint}") from error


def first_within(
    bound: float | None, candidates: list[Chosen], space: SearchSpace, num_classes: int
) -> tuple[Chosen, dict[str, float]]:
    """The first candidate with at most `bound` million multiply-accumulates in `space`, and its costs.

    Raises a UserError if no candidate is that small.
    """
    smallest = float("inf")
    for chosen in candidates:
        cost = space.cost(chosen.arch, num_classes)
        if bound is None or cost["flops"] <= bound:
            return chosen, cost
        smallest = min(smallest, cost["flops"])
    raise UserError(
        f"--bound {bound:g}: none of the {len(candidates)} candidates of {candidates[0].source} is that small for "
        f"{space.size_text}; the smallest has {smallest:.6g} MFLOPs. Raise the bound, or search with this --bound."
    )


def read_model_config(path: str | Path, width_mult: float) -> Chosen:
    """A configuration of NSGANetV2 (Lu et al., ECCV 2020): `net.subnet` (ks, e, d and r) or `net.config` (layers).

    Raises a UserError if the file is missing or damaged, or its network does not fit a supernet `width_mult` wide.
    """
    space = spaces.get("ofa_mbv3")
    what, hint = "a configuration of NSGANetV2", "It is a JSON file with 'ks', 'e' and 'd', or a network's 'blocks'."
    value = read_json(path, dict[Text, Any], what, hint)
    config = check(path, value, _Network if "blocks" in value else _Subnet, what, hint)
    try:
        if "blocks" in config:
            arch = _from_blocks(config["blocks"])
        else:
            arch = {name: _padded(config[name], config["d"]) for name in ("ks", "e")} | {"d": config["d"]}
        arch = space.from_text(str(arch))
    except ValueError as error:  # a UserError is one
        raise UserError(f"{path} is not {what}: {error}. {hint}") from error
    size, width = config.get("r"), config.get("w", width_mult)
    if width != width_mult:
        raise UserError(
            f"{path} needs a supernet {width:g} wide, but --supernet is {width_mult:g} wide. Give another --supernet."
        )
    return Chosen(arch, str(path), size)


_Choices = list[Annotated[Size, Le(max(*KERNELS, *EXPANSIONS, *DEPTHS))]]
_More = {"r": NotRequired[Annotated[Size, Le(MAX_IMAGE_SIZE)]], "w": NotRequired[Number]}
_Subnet = TypedDict("_Subnet", {"ks": _Choices, "e": _Choices, "d": _Choices, **_More})  # type: ignore[misc]


class _Layer(TypedDict):
    kernel_size: Size
    expand_ratio: Number


class _Block(TypedDict):
    shortcut: Any
    conv: NotRequired[_Layer | None]  # two names of this key are in use
    mobile_inverted_conv: NotRequired[_Layer | None]


_Network = TypedDict("_Network", {"blocks": Annotated[list[_Block], MinLen(1)], **_More})  # type: ignore[misc]


def _padded(values: list[int], depths: list[int]) -> list[int]:
    """Fill the choices of the active layers up to all layers; a list of all layers stays as it is."""
    if len(values) != sum(depths):
        return values
    left = iter(values)
    fill = KERNELS[0]  # it equals the smallest expansion
    return [next(left) if i < depth else fill for depth in depths for i in range(MAX_DEPTH)]


def _from_blocks(blocks: list[dict[str, Any]]) -> Arch:
    """The architecture of a network's blocks without the first; a stage begins at a block without a shortcut."""
    stages: list[list[dict[str, Any]]] = []
    for block in blocks[1:]:
        layer = block.get("conv") or block.get("mobile_inverted_conv")
        if layer is None:
            raise ValueError("a block has neither 'conv' nor 'mobile_inverted_conv'")
        if block["shortcut"] is None or not stages:
            stages.append([])
        stages[-1].append(layer)
    depths = [len(stage) for stage in stages]
    if len(stages) != NUM_STAGES or not set(depths) <= set(DEPTHS):
        raise ValueError(f"stages of {depths} layers")
    layers = [layer for stage in stages for layer in stage]
    kernels = [layer["kernel_size"] for layer in layers]
    expansions = [min(EXPANSIONS, key=lambda e: abs(e - layer["expand_ratio"])) for layer in layers]
    return {"ks": _padded(kernels, depths), "e": _padded(expansions, depths), "d": depths}
