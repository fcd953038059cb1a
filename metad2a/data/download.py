"""One download: to a temporary file, resumed, verified, then renamed."""

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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import torch
from filelock import FileLock

from metad2a.core.errors import UserError
from metad2a.core.files import write_json, write_text
from metad2a.core.messages import log
from metad2a.core.options import MIRROR_VARIABLE
from metad2a.core.progress import progress
from metad2a.data.manifest import PublishedFile

CHUNK = 1 << 20  # bytes of a file read at a time
NETWORK_CHUNK = 1 << 15  # at most so much of a broken transfer is lost
MAX_FAILURES = 5  # transfers in a row that bring nothing
MAX_DAMAGES = 2  # whole transfers that turn out to be damaged
BAD_ARCHIVE = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error)
BACK_OFF = 1.0  # seconds before the first retry; doubled each time
TIMEOUT = 60.0  # seconds without a byte
NO_CONNECTION = "no connection to the server"
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class Damaged(Exception):
    """A file is not what it should be; the message says why."""


class TryAgain(Exception):
    """A transfer failed in a way that may pass."""


def verify(path: Path, file: PublishedFile) -> None:
    """Check size, digests and content of a file. Raises `Damaged` when it is not the published one, or not whole."""
    size = path.stat().st_size
    if size == 0:
        raise Damaged("it is empty")
    if file.size is not None and size != file.size:
        raise Damaged(f"it has {size} bytes, expected {file.size}")
    with path.open("rb") as stream:
        head = stream.read(512)
    if _looks_like_html(head):
        raise Damaged("it is an HTML page and not data")
    for name, expected in (("sha256", file.sha256), ("md5", file.md5), ("md5", file.md5_suffix)):
        if expected is not None:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, name).hexdigest()
            if not digest.endswith(expected):
                raise Damaged(f"its {name} is {digest}, expected {'...' if len(expected) < 32 else ''}{expected}")
    _check_container(path, file.target, head)


def _looks_like_html(head: bytes) -> bool:
    return head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _check_container(path: Path, target: str, head: bytes) -> None:
    """Open the file as its name says: PyTorch files and gzip archives carry checksums of their own."""
    try:
        if target.endswith(".mat"):
            return  # its digest is known
        if target.endswith(".gz"):
            with gzip.open(path) as stream:
                while stream.read(CHUNK):
                    pass
        elif head.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                if bad := archive.testzip():
                    raise Damaged(f"its part {bad} is damaged")
        else:
            _check_old_torch_file(path, head)
    except (*BAD_ARCHIVE, ValueError, RuntimeError, IndexError) as error:
        raise Damaged(f"it cannot be opened ({error})") from error


def _check_old_torch_file(path: Path, head: bytes) -> None:
    """A file of PyTorch before 1.6, which has no checksums: several pickles, then the tensors' bytes."""
    if not head.startswith(b"\x80"):
        raise Damaged("it is not a PyTorch file")
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error):  # an object that is not read here does not make it damaged
            raise Damaged("its pickle is damaged") from error
        with path.open("rb") as stream:  # nothing is called: each pickle is walked to its end
            for _ in range(4):
                for _ in pickletools.genops(stream):
                    pass


def place(path: str, data_path: str | Path) -> Path:
    """Return where a file of the manifest belongs: what is published below `data/` goes below `data_path`."""
    return Path(data_path) / path.removeprefix("data/") if path.startswith("data/") else Path(path)


def fetch(
    file: PublishedFile, mirror: str | None = None, data_path: str | Path = "data", dead_hosts: set[str] | None = None
) -> Path:
    """Have a verified copy of `file` in its place; returns its path.

    A copy that is there and verifies is kept, wherever it came from. A transfer that broke off is resumed from its
    `.part` file. Of several processes one downloads and the others wait.

    Args:
        mirror: an address or a folder that has the same files under their `target` paths.
        data_path: takes the place of `data`.
        dead_hosts: servers that gave no connection, which are not tried; one that gives none now is added.

    Raises:
        UserError: the file cannot be had; what was there before is untouched.
    """
    target = place(file.target, data_path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_file(target)):
            if not _have(target, file):
                _bring(target, file, mirror, set() if dead_hosts is None else dead_hosts)
            if file.extract_to:
                extract(target, place(file.extract_to, data_path))
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}. {_by_hand(file, target)}") from error
    return target


def _lock_file(target: Path) -> Path:
    """Beside the data, where every process and host that shares them sees it. It is never removed: a lock that is
    removed while others wait for it locks nothing."""
    return target.with_name(f".{target.name}.lock")


def _have(target: Path, file: PublishedFile) -> bool:
    if not target.is_file():
        return False
    try:
        verify(target, file)
    except Damaged as error:
        log.info(f"{target} is there but damaged: {error}. It is fetched anew, and replaced when that is whole.")
        return False
    log.info(f"{target} is there and whole.")
    return True


def _by_hand(file: PublishedFile, target: Path) -> str:
    return (
        f"Fetch {file.address} by hand and put it at {target}, or name a copy with --mirror ADDRESS-or-FOLDER (or "
        f"{MIRROR_VARIABLE}); it is verified the same way."
    )


def _bring(target: Path, file: PublishedFile, mirror: str | None, dead_hosts: set[str]) -> None:
    part = Path(f"{target}.part")
    address = f"{mirror.rstrip('/')}/{file.target}" if mirror else file.address
    host = urlsplit(address).netloc
    hint = _by_hand(file, target)
    if host in dead_hosts:
        raise UserError(f"{address}: {NO_CONNECTION}, as a moment ago. {hint}")
    failures = damages = absences = 0
    reached = part.stat().st_size if part.is_file() else 0
    while True:
        try:
            if mirror and "://" not in mirror:
                _copy(Path(address), part, hint)
            else:
                _transfer(address, part, file, hint)
            verify(part, file)
            break
        except (TryAgain, requests.RequestException) as error:
            failure = f"{address}: {_reason(error)}"
            size = part.stat().st_size if part.is_file() else 0
            absences += size <= reached and isinstance(error, requests.ConnectionError)
            failures = 1 if size > reached else failures + 1  # a slow line that goes on is no reason to give up
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
    """A line for the user; the messages of `requests` on connections nest several errors."""
    if isinstance(error, requests.Timeout):
        return f"no answer for {TIMEOUT:g} s"
    if isinstance(error, requests.ConnectionError):
        return NO_CONNECTION
    return str(error)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _meta(part).unlink(missing_ok=True)


def _meta(part: Path) -> Path:
    return Path(f"{part}.json")


def _copy(source: Path, part: Path, hint: str) -> None:
    if not source.is_file():
        raise UserError(f"The mirror has no {source}. {hint}")
    shutil.copyfile(source, part)


def _transfer(address: str, part: Path, file: PublishedFile, hint: str) -> None:
    """Get `address` into `part`, going on where an earlier transfer of the same content ended."""
    done, headers, known = 0, {"Accept-Encoding": "identity"}, {}
    if part.is_file() and _meta(part).is_file():
        known = _read_meta(part)
        if known.get("address") == address and known.get("validator"):
            done = part.stat().st_size
            headers.update({"Range": f"bytes={done}-", "If-Range": known["validator"]})
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and done == known.get("length"):
            return  # it was whole already
        if response.status_code in RETRY_STATUS or response.status_code == 416:
            if response.status_code == 416:
                _discard(part)
            raise TryAgain(f"the server answered {response.status_code} {response.reason}")
        if response.status_code not in (200, 206):
            raise UserError(f"{address}: the server answered {response.status_code} {response.reason}. {hint}")
        if "text/html" in response.headers.get("Content-Type", ""):
            raise UserError(f"{address} sent an HTML page and not {file.name}: it may have moved. {hint}")
        done = done if response.status_code == 206 else 0
        length = _expected_length(response, done)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if done and (length, validator) != (known.get("length"), known.get("validator")):
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


def _expected_length(response: requests.Response, done: int) -> int | None:
    if response.status_code == 206:
        start, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")
        if start != str(done):
            raise TryAgain("the server resumed at another place than asked")
        total = total.partition("/")[2]
        return int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length")
    return int(length) if length else None


def _write_body(response: requests.Response, part: Path, done: int, length: int | None, name: str) -> None:
    with (
        part.open("ab" if done else "wb") as stream,
        progress(total=length, initial=done, unit="B", unit_scale=True, desc=name) as bar,
    ):
        for chunk in response.iter_content(NETWORK_CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def extract(archive: Path, folder: Path) -> None:
    """Extract a verified archive (tar, or one file with gzip) into `folder`; nothing in it can reach outside.

    What was extracted appears under its names when all of it is there. It is extracted again when it is missing.

    Raises:
        UserError: a member's path leads outside, or the archive is damaged.
    """
    marker = folder / f".{archive.name}.extracted"
    stamp: dict[str, list[Any]] = {"archive": [archive.stat().st_size, archive.stat().st_mtime_ns], "entries": []}
    if _extracted(marker, stamp["archive"]):
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".extracting") as temporary:
            if tarfile.is_tarfile(archive):
                _extract_tar(archive, temporary)
            else:
                with gzip.open(archive) as packed, (Path(temporary) / archive.stem).open("wb") as stream:
                    shutil.copyfileobj(packed, stream, CHUNK)
            for entry in sorted(Path(temporary).iterdir()):
                _move(entry, folder / entry.name)
                stamp["entries"].append(entry.name)
    except tarfile.FilterError as error:
        raise UserError(f"{archive} is not extracted: {error}.") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive} cannot be extracted: {error}. Remove it and fetch it again.") from error
    write_text(marker, json.dumps(stamp))
    log.info(f"{archive} extracted to {folder}.")


def is_extracted(file: PublishedFile, data_path: str | Path) -> bool:
    """Tell whether the archive `file` in its place was extracted to the end; True for a file that is no archive."""
    if file.extract_to is None:
        return True
    archive, folder = place(file.target, data_path), place(file.extract_to, data_path)
    status = archive.stat()
    return _extracted(folder / f".{archive.name}.extracted", [status.st_size, status.st_mtime_ns])


def _extracted(marker: Path, archive: list[int]) -> bool:
    try:
        stamp = json.loads(marker.read_text(encoding="utf-8"))
        return stamp["archive"] == archive and all((marker.parent / name).exists() for name in stamp["entries"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _extract_tar(archive: Path, folder: str) -> None:
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():  # all are looked at before the first is written
            tarfile.data_filter(member, folder)
        tar.extractall(folder, filter="data")


def _move(source: Path, target: Path) -> None:
    """Put a finished entry in its place; what an interrupted extraction or an older archive left there gives way."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)


def fetch_all(files: Iterable[PublishedFile], mirror: str | None, data_path: str | Path = "data") -> None:
    """Fetch files one after the other; one that fails does not keep the rest, a server that is away is tried once.

    Raises:
        UserError: some could not be had.
    """
    failed: list[tuple[PublishedFile, UserError]] = []
    dead_hosts: set[str] = set()
    for file in files:
        try:
            fetch(file, mirror, data_path, dead_hosts)
        except UserError as error:
            log.info(str(error))
            failed.append((file, error))
    if failed:
        names = ", ".join(file.name for file, _ in failed)
        raise UserError(f"{len(failed)} files could not be fetched: {names}. The first: {failed[0][1]}")
