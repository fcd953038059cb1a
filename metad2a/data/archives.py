"""Extract downloaded archives: nothing appears under its name before all of the archive is extracted."""

import gzip
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from metad2a.core.errors import UserError
from metad2a.core.files import write_text
from metad2a.core.messages import log


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
