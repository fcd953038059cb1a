"""What a network's user must know, as facts inside exported files and as a model card beside the network."""

import json
import re
from pathlib import Path
from typing import Any

from metad2a.core.files import write_text
from metad2a.core.version import __version__
from metad2a.data.gray import gray_text
from metad2a.data.image_source import Gray
from metad2a.networks.trained import TrainedNetwork
from metad2a.reports.page import render_template

UNSTATED = "not stated by whoever trained them (`train` does with `--licence`)"
PREPROCESSING = (
    "RGB, turned as EXIF says, transparency on white, {gray}the whole image resized to {side} x {side} (bilinear, "
    "antialiased), values divided by 255 to 0..1, layout (batch, 3, {side}, {side}); the network normalises them itself"
)


def facts(trained: TrainedNetwork) -> dict[str, Any]:
    """What goes with the weights wherever they go."""
    return {
        "architecture": trained.architecture,
        "search_space": trained.search_space,
        "class_names": trained.class_names,
        "image_size": trained.image_size,
        "preprocessing": PREPROCESSING.format(
            side=trained.image_size, gray=gray_text(trained.gray and Gray(*trained.gray))
        ),
        "outputs": "logits, a row an image, in the order of class_names",
        "accuracy": trained.accuracy,
        "licence_of_weights": str(trained.history.get("licence") or UNSTATED),
        "made_by": f"MetaD2A {__version__}",
    }


def as_text(trained: TrainedNetwork) -> dict[str, str]:
    """The facts as the text that ONNX and PyTorch programs keep: lists and dictionaries as JSON."""
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in facts(trained).items()}


def card(trained: TrainedNetwork) -> str:
    """The model card, in Markdown (the sections of Mitchell et al., FAT* 2019)."""
    about, history, protocol = facts(trained), trained.history, trained.identity.get("protocol")
    origin = {name: history[name] for name in ("command", "date", "images", "torch") if history.get(name)}
    training = {**origin, **(protocol if isinstance(protocol, dict) else {}), "seed": trained.seed}
    return render_template(
        "card.md.j2",
        facts=about,
        architecture=_code(trained.architecture),
        licence=" ".join(about["licence_of_weights"].split()),
        classes=list(map(_code, trained.class_names)),
        training={name: _code(str(value)) for name, value in training.items()},
    )


def write_card(path: Path) -> None:
    """Write `model_card.md` beside a network's file. Raises a UserError if a file cannot be used."""
    write_text(path.with_name("model_card.md"), card(TrainedNetwork.read(path)))


def _code(text: str) -> str:
    """Text that Markdown shows as it is, whatever is in it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"
