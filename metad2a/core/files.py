"""Read and write files: no damaged file passes for a good file, and no file is lost."""

import csv
import hashlib
import io
import json
import math
import os
import pickle
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metad2a.core.errors import UserError, first_line
from metad2a.core.values import ALLOW_PICKLE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]  # the repository
ASSETS = ROOT / "metad2a" / "assets"
MAX_VERTICES = 10_000  # in a pickled graph
# Parts of the RuntimeError of torch.save and torch.export.save if a file cannot be written, as on a full disk
UNWRITABLE = ("unexpected pos", "PytorchStreamWriter failed", "iostream error")
PICKLED = (
    "{} holds pickled Python objects besides tensors (the authors' files keep igraph graphs). Unpickling lets a file "
    f"call code. To allow it for igraph graphs and NumPy values only, add --allow-pickle (or set "
    f"{ALLOW_PICKLE_VARIABLE}=1)."
)
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # names of the files that `atomic_write` renames


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> None:
    """Have `write(temporary)` make a file beside `path`, then rename it to `path`.

    Raises a UserError if the folder cannot be written or the disk is full; other errors of `write` are passed on.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(mark in str(error) for mark in UNWRITABLE):
            raise
        raise UserError(f"Cannot write {path}: {error}. Choose another folder or make room.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed `atomic_write` left in a folder and below it. No other process may be writing there."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="backslashreplace"))


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> None:
    """Write numbers, text, lists and dictionaries as JSON, atomically; NaN and infinity become null."""
    write_text(path, json.dumps(_without_nan(value), indent=indent, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_torch(path: str | Path, value: Any) -> None:
    """`torch.save` atomically."""
    atomic_write(path, lambda temporary: torch.save(value, temporary))


def load_torch(path: str | Path, hint: str, allow_pickle: bool = False, mapped: bool = False) -> Any:
    """Read a `.pt` file safely.

    Args:
        hint: what the user can do about a missing or damaged file, a sentence.
        allow_pickle: also accept igraph graphs and NumPy values. Nothing else is ever unpickled.
        mapped: map a large file into memory if its format allows. Windows cannot replace it while its tensors live.

    Raises a UserError if the file is missing, damaged, or holds objects that are not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'missing'}. {hint}")
    try:
        with _pickle_globals() if allow_pickle else nullcontext():
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
            except RuntimeError as error:
                if "mmap can only be used with" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)  # a file older than PyTorch 1.6
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "unsupported class" in str(error):
            held = f"{path} holds pickled objects other than igraph graphs and NumPy values and was not read."
            raise UserError(held if allow_pickle else PICKLED.format(path)) from error
        raise UserError(f"{path} is damaged ({first_line(error)}). {hint}") from error
    except Exception as error:  # torch.load raises many types of errors for damaged files
        raise UserError(f"{path} is damaged or not a PyTorch file ({first_line(error)}). {hint}") from error


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(*values: Any) -> str:
    """Compute a digest of tensors (type, shape and numbers) and of values that JSON can hold."""
    digest = hashlib.sha256()
    for value in values:
        if torch.is_tensor(value):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            digest.update(json.dumps(value, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def identity_key(identity: dict[str, Any]) -> str:
    """A short name for a result that depends on everything in `identity`, numbers and text."""
    return content_digest(identity)[:12]


def display_path(path: str | Path) -> str:
    """A path as messages and records show it; shipped files are relative to the repository."""
    path = Path(path)
    path = path.relative_to(ROOT) if path.is_absolute() and path.is_relative_to(ROOT) else path
    return os.fsencode(path).decode(errors="backslashreplace")


def _pickle_globals():
    import igraph

    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray
    places = [(core, name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")]
    numpy_names = [(getattr(multiarray, name), f"numpy.{core}.multiarray.{name}") for core, name in places]
    dtypes = [type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8", "bool")]

    def graph(n: int = 0, *args: Any, **kwargs: Any) -> igraph.Graph:
        if not isinstance(n, int) or n > MAX_VERTICES:  # igraph would allocate memory for them
            raise ValueError(f"a graph of {n} vertices")
        return igraph.Graph(n, *args, **kwargs)

    graphs = [(graph, "igraph.Graph"), (igraph.Graph, "igraph.Graph (its class)")]
    return torch.serialization.safe_globals([*graphs, np.ndarray, np.dtype, *dtypes, *numpy_names])


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically; the first row is its heading. Raises a UserError if it cannot be written."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_text(path, buffer.getvalue())


def set_aside(path: Path) -> Path | None:
    """Rename an existing file or folder to `<name>.old-<k>`, to overwrite nothing; return the new path, or None."""
    if not path.exists():
        return None
    names = (path.with_name(f"{path.name}.old-{number}") for number in count(1))
    return path.rename(next(aside for aside in names if not aside.exists()))


def next_folder(parent: Path) -> Path:
    """Make the first of `parent`/001, /002 ... that does not exist. Two programs at a time get two folders."""
    parent.mkdir(parents=True, exist_ok=True)
    for folder in (parent / f"{number:03d}" for number in count(1)):
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder
