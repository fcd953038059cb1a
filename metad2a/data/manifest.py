"""Every file that MetaD2A can fetch: where it is published, where it goes, and which command needs it.

`metad2a/assets/published_files.csv` has a line for each. A file without a published checksum is verified by its
Content-Length and by opening it.
"""

import csv
from dataclasses import dataclass

from metad2a.core.files import ASSETS
from metad2a.data.options import DATASETS


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
