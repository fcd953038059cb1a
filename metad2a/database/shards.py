"""Shards of a database: append-only files of JSON lines, each with a checksum, that survive being killed.

The first line says what the shard is; every other is one measured task.
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
from metad2a.core.files import atomic_write
from metad2a.core.schema import OPEN, Integer, Names, Percent, Size, Text, check, parse_json
from metad2a.spaces.base import Sizes

FORMAT = "metad2a-shard-1"


def shard_file(folder: Path, shard: int) -> Path:
    return folder / f"shard_{shard:04d}.jsonl"


def shard_files(folder: Path) -> list[Path]:
    """All shards in a folder, by number."""
    return [path for path in sorted(folder.glob("shard_*.jsonl")) if path.stem.removeprefix("shard_").isdecimal()]


def _line(value: dict[str, Any]) -> str:
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _parse(line: str) -> dict[str, Any] | None:
    """The value of a line, None where its checksum does not agree."""
    digest, _, text = line.rstrip("\n").partition(" ")
    if not line.endswith("\n") or digest != f"{zlib.crc32(text.encode()):08x}":
        return None
    try:
        return parse_json(text)
    except ValueError:
        return None


def read_shard(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """The header of a shard, its records, and the bytes that are whole: a last line cut off by a kill is left out.

    Raises:
        UserError: a line that is not the last, or the header, is damaged, a task is there twice, or the file is
            another shard's.
    """
    lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
    values = [_parse(line) for line in lines]
    if values and values[-1] is None and not lines[-1].endswith("\n"):
        values.pop()
    remedy = (
        "Remove the file and build that shard anew with the command that built it (python build_database.py "
        f"--model_name predictor --index {int(path.stem.split('_')[1])} --imgnet DIR ...)"
    )
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        number = values.index(None) + 1 if None in values else 1
        alone = ", or remove that line alone to keep the others' results" if number > 1 else ""
        raise UserError(f"{path} is damaged in line {number}. {remedy}{alone}.")
    header = check(path, known[0], _Header, "a shard", f"{remedy}.", FORMAT)
    if shard_file(path.parent, header.shard) != path:
        raise UserError(f"{path} holds shard {header.shard}: it is a copy, or was renamed. Move it elsewhere.")
    for number, value in enumerate(known[1:], 2):
        record = check(f"Line {number} of {path}", value, _Record, "a measured task", f"{remedy}.")
        if not len(record.archs) == len(record.accuracy) or record.number >= header.num_tasks:
            raise UserError(
                f"Line {number} of {path} has {len(record.archs)} architectures and {len(record.accuracy)} accuracies "
                f"of task {record.number} of {header.num_tasks}. {remedy}."
            )
    counts = Counter(record["number"] for record in known[1:])
    if twice := [number for number, count in counts.items() if count > 1]:
        raise UserError(f"{path} holds task {twice[0]} twice. Remove one of the two lines.")
    return known[0], known[1:], sum(len(line.encode()) for line in lines[: len(known)])


@dataclass(frozen=True)
class _Header:
    """Fields of the first line of a shard, beside its format."""

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
    sizes: Sizes = field(default_factory=Sizes)  # not known of shards of earlier versions


@dataclass(frozen=True)
class _Record:
    """A task that was measured; classes are numbers in the features, from 1."""

    __pydantic_config__ = OPEN

    number: Integer
    classes: Annotated[list[Size], MinLen(1)]
    archs: Names
    accuracy: list[Percent]


class ShardWriter:
    """Appends records to a shard, each on disk when `append` returns. Its file is made with the first.

    Raises:
        UserError: the shard exists and was made with other options, or is damaged.
    """

    def __init__(self, path: Path, header: dict[str, Any]):
        self._header = header = {"format": FORMAT, **header}
        self.done: set[int] = set()
        if path.exists():
            before, records, size = read_shard(path)
            differing = [name for name in header if before.get(name, header[name]) != header[name]]
            if not records:  # a header alone, of whatever options
                path.unlink()
            elif differing:
                name = differing[0]
                raise UserError(
                    f"{path} was built with {name} {_short(before.get(name))}, this command has "
                    f"{_short(header[name])}. Give the options of the first run, remove the file, or give another "
                    "--data-path."
                )
            else:
                self.done = {record["number"] for record in records}
                os.truncate(path, size)
        self._path = path

    def append(self, record: dict[str, Any]) -> None:
        if not self.done:
            atomic_write(self._path, lambda temporary: temporary.write_text(_line(self._header), encoding="utf-8"))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())
        self.done.add(record["number"])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."
