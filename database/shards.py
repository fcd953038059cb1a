"""Shards of a database: append-only files of JSON lines, each with a checksum, that survive being killed.

The first line says what the shard is; every other is one measured task.
"""

import json
import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import atomic_write

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
    return json.loads(text) if line.endswith("\n") and digest == f"{zlib.crc32(text.encode()):08x}" else None


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
    if not values or None in values or values[0].get("format") != FORMAT:
        number = values.index(None) + 1 if None in values else 1
        alone = ", or remove that line alone to keep the others' results" if number > 1 else ""
        raise UserError(
            f"{path} is damaged in line {number}. Remove the file and build that shard anew with the command that "
            f"built it (python build_database.py --model_name predictor --index {int(path.stem.split('_')[1])} "
            f"--imgnet DIR ...){alone}."
        )
    if shard_file(path.parent, values[0]["shard"]) != path:
        raise UserError(f"{path} holds shard {values[0]['shard']}: it is a copy, or was renamed. Move it elsewhere.")
    counts = Counter(record["number"] for record in values[1:])
    if twice := [number for number, count in counts.items() if count > 1]:
        raise UserError(f"{path} holds task {twice[0]} twice. Remove one of the two lines.")
    return values[0], values[1:], sum(len(line.encode()) for line in lines[: len(values)])


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
