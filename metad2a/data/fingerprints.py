"""What image files hold, wherever they lie: digests, kept with the listing that they belong to, and exact copies."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import TypedDict

from metad2a.core.errors import UserError
from metad2a.core.files import display_path, write_json
from metad2a.core.progress import progress
from metad2a.core.schema import Integer, Text, read_json

AT_A_TIME = 1024  # files that wait to be read
Value = TypeVar("Value")


class Compared(TypedDict):
    """Digests of the contents of the training images and of the test images in their order. `copies` counts the test
    images that training has an exact copy of, and `pair` names one and its copy."""

    digests: tuple[Text, Text]
    copies: Integer
    pair: list[Text]


def listing_digest(files: Iterable[Path]) -> str:
    """Digest of the paths, sizes and times of files. If it is the same, the files are the same."""
    digest = hashlib.sha256()
    for path in files:
        try:
            about = path.stat()
            line = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
        except OSError:
            line = "missing"
        digest.update(os.fsencode(f"{os.path.abspath(path)} {line}\n"))
    return digest.hexdigest()[:32]


def remembered(
    data_path: str | Path | None, what: str, files: Sequence[Path], kind: Any, compute: Callable[[], Value]
) -> Value:
    """What `compute` returns about files: a value of the type `kind`, as JSON can hold it. It is computed once for each
    state of the files, and kept in `<data_path>/fingerprints/`."""
    if data_path is None:
        return compute()
    path = Path(data_path) / "fingerprints" / f"{what}-{listing_digest(files)}.json"
    if path.is_file():
        with suppress(UserError):  # a damaged file is made anew
            return read_json(path, kind, "a fingerprint", "")
    value = compute()
    with suppress(UserError):  # a folder that cannot be written costs time only
        write_json(path, value)
    return value


def contents(files: Sequence[Path]) -> Iterator[str]:
    """SHA-256 of each file's content, "" for a file that cannot be read."""
    with ThreadPoolExecutor() as pool, progress(total=len(files), desc="fingerprints", unit="img") as bar:
        for start in range(0, len(files), AT_A_TIME):
            some = files[start : start + AT_A_TIME]
            yield from pool.map(_content, some)
            bar.update(len(some))


def _content(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe would keep the program waiting
            return ""
        about = path.stat()
        return _read(path, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    except OSError:
        return ""


@lru_cache(2**21)
def _read(path: Path, *state: int) -> str:
    """SHA-256 of a file in a state; one command may ask for it several times."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare_parts(data_path: str | Path | None, train: Sequence[Path], test: Sequence[Path]) -> Compared:
    """Compare what the files of both parts hold."""

    def compute() -> Compared:
        found = list(contents([*train, *test]))
        halves = found[: len(train)], found[len(train) :]
        of_train = {digest: path for digest, path in zip(halves[0], train, strict=True) if digest}
        copies = [(path, of_train[digest]) for digest, path in zip(halves[1], test, strict=True) if digest in of_train]
        first, second = (hashlib.sha256("".join(half).encode()).hexdigest()[:32] for half in halves)
        pair = [*map(display_path, copies[0])] if copies else []
        return {"digests": (first, second), "copies": len(copies), "pair": pair}

    return remembered(data_path, "parts", [*train, *test], Compared, compute)
