"""Read and write files: no damaged file passes for a good file, and no file is lost."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from metad2a.core.cli import is_out_of_memory
from metad2a.core.errors import REASONS, UserError, reason
from metad2a.core.messages import log
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


def atomic_write(path: str | Path, write: Callable[[Path], object], keep: bool = False) -> None:
    """Have `write(temporary)` make a file beside `path`, and when it is whole and on the disk rename it to `path`.

    An earlier file is replaced, or with `keep` set aside (see `set_aside`), which is said.

    Raises a UserError if the folder cannot be written or the disk is full; other errors of `write` are passed on.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if keep and (aside := set_aside(path)):
            log.info(f"The earlier {path.name} was kept as {display_path(aside)}.")
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(mark in str(error) for mark in UNWRITABLE):
            raise
        why = reason(error) if isinstance(error, OSError) else REASONS[errno.ENOSPC]
        raise UserError(f"Cannot write {display_path(path)}: {why}. Choose another folder or make room.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed `atomic_write` left in a folder and below it. No other process may be writing there."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


def write_text(path: str | Path, text: str, keep: bool = False) -> None:
    """Write a text file as `atomic_write` does."""
    content = text.encode(errors="backslashreplace")
    atomic_write(path, lambda temporary: temporary.write_bytes(content), keep)


def write_json(path: str | Path, value: Any, indent: int | None = 1, keep: bool = False) -> None:
    """Write numbers, text, lists and dictionaries as JSON, as `atomic_write` does; NaN and infinity become null."""
    write_text(path, json.dumps(_without_nan(value), indent=indent, allow_nan=False) + "\n", keep)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_torch(path: str | Path, value: Any, keep: bool = False) -> None:
    """`torch.save` atomically; `keep` sets an earlier file aside."""
    import torch

    atomic_write(path, lambda temporary: torch.save(value, temporary), keep)


def load_torch(path: str | Path, hint: str, allow_pickle: bool | None = None, mapped: bool = False) -> Any:
    """Read a `.pt` file safely.

    Args:
        hint: what the user can do about a missing or damaged file, a sentence.
        allow_pickle: also accept igraph graphs and NumPy values. Nothing else is ever unpickled. None if the command
            has no option to allow this.
        mapped: map a large file into memory if its format allows. Windows cannot replace it while its tensors live.

    Raises a UserError if the file is missing, damaged, or holds objects that are not allowed.
    """
    import torch

    path = Path(path)
    check_is_file(path, hint)
    try:
        with _pickle_globals() if allow_pickle else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice to report unusual files
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and _is_text(path))
            except RuntimeError as error:
                if "mmap can only be used with" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)  # a file older than PyTorch 1.6
    except Exception as error:  # torch.load raises many types for damaged files, and some texts advise to unpickle them
        words = str(error).lower()
        if "unsupported global" in words or "unsupported class" in words:
            held = "objects other than igraph graphs and NumPy values" if allow_pickle else "Python objects"
            text = f"{display_path(path)} holds pickled {held}, which could run code, and was not read. {hint}"
            raise UserError(PICKLED.format(path) if allow_pickle is False else text) from error
        damage = "it asks for more memory than there is" if is_out_of_memory(error) else damage_of(path)
        damage = str(error) if isinstance(error, UserError) else damage
        raise UserError(f"{display_path(path)} is damaged: {damage}. {hint}") from error


def check_is_file(path: Path, hint: str) -> None:
    """Raise a UserError if there is no such file."""
    if not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'missing'}. {hint}")


def _is_text(path: Path) -> bool:
    """Whether a path is UTF-8, as PyTorch wants it to map a file into memory."""
    return not any(0xD800 <= ord(letter) < 0xE000 for letter in str(path))


def damage_of(path: Path) -> str:
    """What is wrong with a file of tensors or arrays that cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        return reason(error)
    if not start:
        return "it is empty"
    if start.lstrip().startswith(b"<"):
        return "it is a web page"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself"
    if start.startswith(b"PK"):
        return "parts of it are missing or cannot be read" if zipfile.is_zipfile(path) else "its end is missing"
    kind = "arrays that NumPy" if path.suffix == ".npz" else "tensors that PyTorch"
    return f"it is no file of {kind} wrote"


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(*values: Any) -> str:
    """Compute a digest of tensors or arrays (type, shape and numbers) and of values that JSON can hold.

    A tensor and an array with the same numbers have the same digest.
    """
    digest, torch = hashlib.sha256(), sys.modules.get("torch")
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"torch.{value.dtype} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        elif torch and torch.is_tensor(value):
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
    import torch

    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray
    places = [(core, name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")]
    numpy_names = [(getattr(multiarray, name), f"numpy.{core}.multiarray.{name}") for core, name in places]
    dtypes = [type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8", "bool")]

    def graph(n: int = 0, *args: Any, **kwargs: Any) -> igraph.Graph:
        if not isinstance(n, int) or n > MAX_VERTICES:  # igraph would allocate memory for them
            raise UserError(f"it holds a graph of {n} vertices")
        return igraph.Graph(n, *args, **kwargs)

    graphs = [(graph, "igraph.Graph"), (igraph.Graph, "igraph.Graph (its class)")]
    return torch.serialization.safe_globals([*graphs, np.ndarray, np.dtype, *dtypes, *numpy_names])


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]], keep: bool = False) -> None:
    """Write a CSV file as `atomic_write` does; the first row is its heading."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_text(path, buffer.getvalue(), keep)


def set_aside(path: Path) -> Path | None:
    """Rename an existing file or folder to `<name>.old-<k>`, to overwrite nothing; return the new path, or None."""
    if not path.exists():
        return None
    names = (path.with_name(f"{path.name}.old-{number}") for number in count(1))
    return path.rename(next(aside for aside in names if not aside.exists()))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write to. When the block ends it takes the place of `folder`, which is set aside if it exists;
    if the block fails, `folder` stays as it is. Raises a UserError if nothing can be written there."""
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        new.mkdir(parents=True)
        yield new
        if aside := set_aside(folder):
            log.info(f"Earlier results were kept as {display_path(aside)}.")
        new.rename(folder)
    except OSError as error:
        raise UserError(f"Cannot write {display_path(folder)}: {reason(error)}. Give another folder.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def next_folder(parent: Path) -> Path:
    """Make the first of `parent`/001, /002 ... that does not exist. Two programs at a time get two folders."""
    parent.mkdir(parents=True, exist_ok=True)
    for folder in (parent / f"{number:03d}" for number in count(1)):
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder
