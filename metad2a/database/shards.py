"""Shards of a database: append-only files of JSON lines with checksums. Killing the program loses no finished line.

The first line describes the shard; every other line is one measured task.
"""

import json
import os
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from metad2a.core.errors import UserError
from metad2a.core.files import write_text
from metad2a.core.schema import OPEN, Integer, Names, Percent, Size, Text, check
from metad2a.spaces.sizes import Sizes

FORMAT = "metad2a-shard-1"


def shard_file(folder: Path, shard: int) -> Path:
    return folder / f"shard_{shard:04d}.jsonl"


def shard_files(folder: Path) -> list[Path]:
    """All shards in a folder, by number."""
    return [path for path in sorted(folder.glob("shard_*.jsonl")) if path.stem.removeprefix("shard_").isdecimal()]


@dataclass(frozen=True)
class _Header:
    """The first line of a shard, besides its format."""

    __pydantic_config__ = OPEN

    shard: Integer
    search_space: Text
    supernet: Text
    class_names: Names
    num_tasks: Size
    num_archs: Size
    num_calibration: Size
    epochs: Size
    seed: Integer
    sizes: Sizes = field(default_factory=Sizes)  # missing in shards of earlier versions


@dataclass(frozen=True)
class _Record:
    """A measured task; classes are numbers in the features, from 1."""

    __pydantic_config__ = OPEN

    number: Integer
    classes: Annotated[list[Size], MinLen(1)]
    archs: Annotated[list[Text], MinLen(1)]
    accuracy: list[Percent]


def _line(value: dict[str, Any]) -> str:
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _parse(line: str) -> Any:
    """The value of a line, None if its checksum is wrong."""
    digest, _, text = line.rstrip("\n").partition(" ")
    if not line.endswith("\n") or digest != f"{zlib.crc32(text.encode()):08x}":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_shard(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Read the header of a shard, its records, and the number of intact bytes, without a half-written last line."""
    lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
    values = [_parse(line) for line in lines]
    if values and values[-1] is None and not lines[-1].endswith("\n"):
        values.pop()
    remedy = (
        "Remove the file and build the shard anew with the command that built it (python main.py "
        f"build-database --model predictor --index {int(path.stem.split('_')[1])} --imgnet DIR ...)"
    )
    if not values or None in values:
        number = values.index(None) + 1 if values else 1
        keep = ", or remove only that line to keep the other results" if number > 1 else ""
        raise UserError(f"{path} is damaged in line {number}. {remedy}{keep}.")
    header = check(path, values[0], _Header, "a shard", f"{remedy}.", FORMAT)
    if shard_file(path.parent, header.shard) != path:
        raise UserError(f"{path} holds shard {header.shard}: it is a renamed file or a copy. Move it elsewhere.")
    for number, value in enumerate(values[1:], 2):
        record = check(f"Line {number} of {path}", value, _Record, "a measured task", f"{remedy}.")
        if len(record.archs) != len(record.accuracy) or record.number >= header.num_tasks:
            raise UserError(
                f"Line {number} of {path} has {len(record.archs)} architectures and {len(record.accuracy)} accuracies "
                f"of task {record.number} of {header.num_tasks}. {remedy}."
            )
    number, count = Counter(record["number"] for record in values[1:]).most_common(1)[0] if values[1:] else (0, 0)
    if count > 1:
        raise UserError(f"{path} holds task {number} twice. Remove one of the two lines.")
    return values[0], values[1:], sum(len(line.encode()) for line in lines[: len(values)])


class ShardWriter:
    """Appends records to a shard. Each record is on disk when `append` returns; the first one creates the file."""

    def __init__(self, path: Path, header: dict[str, Any]):
        self._path, self._header = path, {"format": FORMAT, **header}
        self.done: set[int] = set()
        if not path.exists():
            return
        before, records, size = read_shard(path)
        if not records:  # only a header, whatever its options
            path.unlink()
            return
        for name, value in self._header.items():
            if before.get(name, value) != value:
                raise UserError(
                    f"{path} was built with {name} {str(before[name])[:80]}, this command has {str(value)[:80]}. Give "
                    "the options of the first run, remove the file, or give another --data-path."
                )
        self.done = {record["number"] for record in records}
        os.truncate(path, size)

    def append(self, record: dict[str, Any]) -> None:
        if not self.done:
            write_text(self._path, _line(self._header))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())
        self.done.add(record["number"])
