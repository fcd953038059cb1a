"""Export a trained network to run without this program, in the formats of `--export`.

onnx is for ONNX Runtime and others; pt2 is a PyTorch program (torch.export) for `torch.export.load(path).module()`.
Both keep class names, preprocessing, licence and the rest of `metad2a.networks.card.facts`, as the model's metadata
(onnx) or as extra files (pt2). Both take RGB images (B, 3, S, S), S = `image_size`, with values 0..1, and return logits
(B, K).
"""

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import atomic_write
from metad2a.networks.card import as_text
from metad2a.networks.trained import Classifier, TrainedNetwork, load_network

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # largest difference of outputs, relative to the largest logit
Outputs = Callable[[torch.Tensor], torch.Tensor]
Program = torch.export.ExportedProgram


def check_formats(text: str | None) -> list[str]:
    """The formats in a text with commas. Raises a UserError if one is unknown or needs a missing package."""
    formats = text.split(",") if text is not None else []
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(f"--export {unknown[0]!r} is none of {', '.join(FORMATS)}.")
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if "onnx" in formats and missing:
        raise UserError(f'--export onnx needs {missing[0]}: pip install ".[onnx]" in the clone.')
    return formats


def export(path: str | Path, formats: list[str]) -> list[Path]:
    """Write a trained network beside its file in some of `FORMATS`; returns the new files. Earlier files are renamed.

    Raises a UserError if `path` is no trained network, a file cannot be written, or, read back, gives other outputs.
    """
    network = load_network(path)
    images = torch.rand(3, 3, network.image_size, network.image_size, generator=random_generator(0))
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    metadata = as_text(TrainedNetwork.read(path))
    written = []
    for name in formats:
        target = Path(path).with_suffix(f".{name}")
        write, read = FORMATS[name]

        def write_checked(temporary: Path, name: str = name, write: Any = write, read: Any = read) -> None:
            write(program, temporary, metadata)
            _compare(network, read(temporary), images, f"the {name} export of {path}")

        atomic_write(target, write_checked, keep=True)
        written.append(target)
    return written


@torch.inference_mode()
def _compare(network: Classifier, exported: Outputs, images: torch.Tensor, what: str) -> None:
    for batch in (images, images[:1]):
        wanted, outputs = network(batch), exported(batch)
        difference = (outputs - wanted).abs().max() / wanted.abs().max()
        if not difference <= TOLERANCE:  # NaN fails this comparison
            by = f"(by {difference:.1e})"
            raise UserError(f"{what} gives other outputs than the network {by} and was not kept. Leave it out.")


def _write_onnx(program: Program, path: Path, metadata: dict[str, str]) -> None:
    import onnx

    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    exported = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    model = exported.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"  # the exporter invents a name, such as s77
    del model.graph.value_info[:]  # shapes inside the network, which use that name
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())


def _read_onnx(path: Path) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_pt2(program: Program, path: Path, metadata: dict[str, str]) -> None:
    buffer = io.BytesIO()  # PyTorch ends the process at a path that is not UTF-8
    torch.export.save(program, buffer, extra_files=metadata)
    path.write_bytes(buffer.getvalue())


# Name -> how to write a program with its metadata, and how to read it back
FORMATS: dict[str, tuple[Callable[[Program, Path, dict[str, str]], None], Callable[[Path], Outputs]]] = {
    "onnx": (_write_onnx, _read_onnx),
    "pt2": (
        _write_pt2,
        lambda path: torch.export.load(io.BytesIO(path.read_bytes())).module(),
    ),
}
