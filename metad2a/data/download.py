"""Downloads: to a temporary file, resumed, verified, then renamed; archives are extracted.

`metad2a/assets/published_files.csv` has a line for every file that MetaD2A can fetch. A file without a published
checksum is verified by its Content-Length and by opening it.
"""

import csv
import gzip
import hashlib
import json
import os
import pickle
import pickletools
import shutil
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock

from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, write_json, write_text
from metad2a.core.messages import log
from metad2a.core.options import MIRROR_VARIABLE
from metad2a.core.progress import progress
from metad2a.data.options import DATASETS

CHUNK = 1 << 20  # bytes of a file read at a time
NETWORK_CHUNK = 1 << 15  # bytes; a broken transfer loses at most as many
MAX_FAILURES = 5  # transfers in a row that bring nothing
MAX_DAMAGES = 2  # complete transfers of a damaged file
BACK_OFF = 1.0  # seconds before the first retry; doubled each time
TIMEOUT = 60.0  # seconds without a byte
NO_CONNECTION = "no connection to the server"
RETRY_STATUS = {408, 416, 425, 429, 500, 502, 503, 504}
HTML = (b"<!doctype", b"<html", b"<head", b"<?xml")
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, IndexError)


@dataclass(frozen=True)
class PublishedFile:
    """A file on a server."""

    name: str  # short, unique
    address: str  # where it is published
    target: str  # its path below the project; a mirror has it under the same path
    needed_by: str  # the command that reads it
    md5: str = ""  # hexadecimal, or only the last digits, "" if unknown
    extract_to: str = ""  # folder to extract an archive into, "" for other files
    note: str = ""  # shown by --list


def files_of(group: str, space: str = "") -> list[PublishedFile]:
    """The files that `get-files GROUP` fetches, or the official files of a dataset. Some belong to one search space."""
    with (ASSETS / "published_files.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row.pop("group") == group and row.pop("space") in ("", space)]
    return [PublishedFile(**row) for row in rows]


RAW_DATA = {name: files_of("aircraft" if name == "aircraft100" else name) for name in DATASETS}


class Damaged(Exception):
    """A file is not what it should be; the message says why."""


class TryAgain(Exception):
    """A transfer failed in a way that may pass."""


def verify(path: Path, file: PublishedFile) -> None:
    """Check digest and content of a file. Raises `Damaged` if it is not the published file, or not whole."""
    with path.open("rb") as stream:
        head = stream.read(512)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "md5").hexdigest() if file.md5 else ""
    if not head:
        raise Damaged("it is empty")
    if head.lstrip().lower().startswith(HTML):
        raise Damaged("it is an HTML page and not data")
    if not digest.endswith(file.md5):
        raise Damaged(f"its md5 is {digest}, expected {'...' if len(file.md5) < 32 else ''}{file.md5}")
    try:
        _check_content(path, file.target, head)
    except UNREADABLE as error:
        raise Damaged(f"it cannot be opened ({error})") from error


def _check_content(path: Path, target: str, head: bytes) -> None:
    """Read a file to its end, as its name says: PyTorch files and gzip archives contain checksums."""
    if target.endswith(".mat"):
        return  # its md5 is known
    if target.endswith(".gz"):
        with gzip.open(path) as stream:
            while stream.read(CHUNK):
                pass
    elif head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            if bad := archive.testzip():
                raise Damaged(f"its part {bad} is damaged")
    elif head.startswith(b"\x80"):
        _check_old_torch_file(path)
    else:
        raise Damaged("it is not a PyTorch file")


def _check_old_torch_file(path: Path) -> None:
    """Read a file of PyTorch before 1.6, which has no checksums: several pickles, then the tensors' bytes."""
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error):  # a file with other objects is not damaged
            raise Damaged("its pickle is damaged") from error
        with path.open("rb") as stream:  # reads each pickle to its end without calling anything
            for _ in range(4):
                for _ in pickletools.genops(stream):
                    pass


def place(path: str, data_path: str | Path) -> Path:
    """Where a file of the manifest belongs: files published below `data/` go below `data_path`."""
    return Path(data_path) / path.removeprefix("data/") if path.startswith("data/") else Path(path)


def fetch(
    file: PublishedFile, mirror: str | None = None, data_path: str | Path = "data", dead_hosts: set[str] | None = None
) -> Path:
    """Have a verified copy of `file` in its place, and extracted if it is an archive; returns its path. An interrupted
    transfer goes on from its `.part` file. If several processes want a file, one downloads it and the others wait.

    Args:
        mirror: an address or a folder that has the same files under their `target` paths.
        dead_hosts: servers without a connection, which are not tried; a server that gives none now is added.

    Raises a UserError if the file cannot be downloaded; an earlier file stays as it was.
    """
    target = place(file.target, data_path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the data, where all processes and hosts that share them see the lock. It is never removed: a lock that
        # is removed while others wait for it locks nothing.
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not _have(target, file):
                _bring(target, file, mirror, set() if dead_hosts is None else dead_hosts)
            if file.extract_to:
                extract(target, place(file.extract_to, data_path))
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}. {_by_hand(file, target)}") from error
    return target


def _have(target: Path, file: PublishedFile) -> bool:
    if not target.is_file():
        return False
    try:
        verify(target, file)
    except Damaged as error:
        log.info(f"{target} is damaged: {error}. It is fetched anew, and replaced when the new file is verified.")
        return False
    log.info(f"{target} is there and whole.")
    return True


def _by_hand(file: PublishedFile, target: Path) -> str:
    return (
        f"Fetch {file.address} by hand and put it at {target}, or name a copy with --mirror ADDRESS-or-FOLDER (or "
        f"{MIRROR_VARIABLE}); it is verified the same way."
    )


def _bring(target: Path, file: PublishedFile, mirror: str | None, dead_hosts: set[str]) -> None:
    """Transfer `file` to `target`, again after failures that may pass."""
    part = Path(f"{target}.part")
    mirror = mirror or os.environ.get(MIRROR_VARIABLE)
    address = f"{mirror.rstrip('/')}/{file.target}" if mirror else file.address
    host = urlsplit(address).netloc
    hint = _by_hand(file, target)
    if host in dead_hosts:
        raise UserError(f"{address}: {NO_CONNECTION}, as a moment ago. {hint}")
    failures = damages = absences = 0
    reached = part.stat().st_size if part.is_file() else 0
    while True:
        try:
            if not mirror or "://" in mirror:
                _transfer(address, part, file, hint)
            elif Path(address).is_file():
                shutil.copyfile(address, part)
            else:
                raise UserError(f"The mirror has no {address}. {hint}")
            verify(part, file)
            break
        except (TryAgain, requests.RequestException) as error:
            failure = f"{address}: {_reason(error)}"
            size = part.stat().st_size if part.is_file() else 0
            absences += size <= reached and isinstance(error, requests.ConnectionError)
            failures = 1 if size > reached else failures + 1  # a slow transfer that goes on is no reason to give up
            reached = max(reached, size)
        except Damaged as error:
            _discard(part)
            damages += 1
            failures = 1
            failure = f"What {address} sent for {target} is damaged: {error}"
        if failures >= MAX_FAILURES or damages >= MAX_DAMAGES:
            if absences >= MAX_FAILURES:
                dead_hosts.add(host)
            raise UserError(f"{failure}. {hint}")
        wait = BACK_OFF * 2 ** (failures - 1)
        log.info(f"{failure}. Trying again in {wait:g} s.")
        time.sleep(wait)
    os.replace(part, target)
    _meta(part).unlink(missing_ok=True)
    log.info(f"{target}: {target.stat().st_size:,} bytes, verified.")


def _reason(error: Exception) -> str:
    """The error in words; messages of `requests` about connections nest several errors."""
    if isinstance(error, requests.Timeout):
        return f"no answer for {TIMEOUT:g} s"
    return NO_CONNECTION if isinstance(error, requests.ConnectionError) else str(error)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _meta(part).unlink(missing_ok=True)


def _meta(part: Path) -> Path:
    return Path(f"{part}.json")


def _transfer(address: str, part: Path, file: PublishedFile, hint: str) -> None:
    """Download `address` to `part`, going on after the end of an earlier transfer of the same content."""
    done, headers, earlier = 0, {"Accept-Encoding": "identity"}, _read_meta(part)
    if part.is_file() and earlier.get("address") == address and earlier.get("validator"):
        done = part.stat().st_size
        headers |= {"Range": f"bytes={done}-", "If-Range": earlier["validator"]}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        if status == 416 and done == earlier.get("length"):
            return  # it was whole already
        if status in RETRY_STATUS:
            if status == 416:
                _discard(part)
            raise TryAgain(f"the server answered {status} {response.reason}")
        if status not in (200, 206):
            raise UserError(f"{address}: the server answered {status} {response.reason}. {hint}")
        if "text/html" in response.headers.get("Content-Type", ""):
            raise UserError(f"{address} sent an HTML page and not {file.name}: it may have moved. {hint}")
        done = done if status == 206 else 0
        length = _full_length(response, done)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if done and (length, validator) != (earlier.get("length"), earlier.get("validator")):
            _discard(part)
            raise TryAgain("the file changed on the server")
        write_json(_meta(part), {"address": address, "validator": validator, "length": length}, indent=None)
        _write_body(response, part, done, length, file.name)
    size = part.stat().st_size
    if length is not None and size != length:
        raise TryAgain(f"the transfer ended after {size:,} of {length:,} bytes")


def _read_meta(part: Path) -> dict:
    try:
        return json.loads(_meta(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _full_length(response: requests.Response, done: int) -> int | None:
    """The length of the whole file in bytes, None if the server does not say it."""
    length = response.headers.get("Content-Length", "")
    if response.status_code == 206:
        start, _, length = response.headers.get("Content-Range", "").partition("/")
        if not start.startswith(f"bytes {done}-"):
            raise TryAgain("the server resumed at another place than asked")
    return int(length) if length.isdigit() else None


def _write_body(response: requests.Response, part: Path, done: int, length: int | None, name: str) -> None:
    with (
        part.open("ab" if done else "wb") as stream,
        progress(total=length, initial=done, unit="B", unit_scale=True, desc=name) as bar,
    ):
        for chunk in response.iter_content(NETWORK_CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def fetch_all(files: Iterable[PublishedFile], mirror: str | None, data_path: str | Path = "data") -> None:
    """Fetch files one after the other. A failure does not stop the rest; a server without a connection is tried once.
    Raises a UserError if some files could not be downloaded."""
    failed: dict[str, UserError] = {}
    dead_hosts: set[str] = set()
    for file in files:
        try:
            fetch(file, mirror, data_path, dead_hosts)
        except UserError as error:
            if failed:  # the first ends the command
                log.info(str(error))
            failed[file.name] = error
    if failed:
        first = next(iter(failed.values()))
        if len(failed) == 1:
            raise first
        raise UserError(f"{len(failed)} files could not be fetched: {', '.join(failed)}. The first: {first}")


def extract(archive: Path, folder: Path) -> None:
    """Extract a verified archive (tar, or a single file with gzip) into `folder`, unless this was done before. Raises a
    UserError if a member's path leads outside of `folder`, or the archive is damaged."""
    if is_extracted(archive, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".extracting") as temporary:
            if tarfile.is_tarfile(archive):
                with tarfile.open(archive) as tar:
                    tar.extractall(temporary, filter="data")
            else:
                with gzip.open(archive) as packed, (Path(temporary) / archive.stem).open("wb") as stream:
                    shutil.copyfileobj(packed, stream)
            entries = sorted(path.name for path in Path(temporary).iterdir())
            for name in entries:
                target = folder / name
                if target.is_dir() and not target.is_symlink():  # of an interrupted extraction or an older archive
                    shutil.rmtree(target)
                os.replace(Path(temporary) / name, target)
    except tarfile.FilterError as error:
        raise UserError(f"{archive} is not extracted: {error}.") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive} cannot be extracted: {error}. Remove it and fetch it again.") from error
    write_text(_marker(archive, folder), json.dumps({"archive": _stamp(archive), "entries": entries}))
    log.info(f"{archive} extracted to {folder}.")


def is_extracted(archive: Path, folder: Path) -> bool:
    """Whether all that this archive holds was extracted into `folder` and is still there."""
    try:
        marker = json.loads(_marker(archive, folder).read_text(encoding="utf-8"))
        return marker["archive"] == _stamp(archive) and all((folder / name).exists() for name in marker["entries"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _marker(archive: Path, folder: Path) -> Path:
    return folder / f".{archive.name}.extracted"


def _stamp(archive: Path) -> list[int]:
    return [archive.stat().st_size, archive.stat().st_mtime_ns]
