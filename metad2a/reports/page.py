"""One HTML file that needs no other: sections of pictures, tables, thumbnails and facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from metad2a.core.files import write_text

FOLDER = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Cell:
    """A table's cell: what it shows, and the number that it is sorted by where that is not its text."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows that the reader can sort. Columns named in `code` are architectures and the like."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    code: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A picture, SVG or HTML of ours, and what is below it."""

    picture: Markup
    caption: str = ""


@dataclass(frozen=True)
class Thumbnails:
    """Some images of a class, as `data:` addresses."""

    name: str
    note: str
    images: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading; whatever is empty is left out. Text is shown as text, never as HTML.

    Attributes:
        warnings: what the reader must see.
        html: HTML of ours.
    """

    heading: str
    text: str = ""
    warnings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    thumbnails: Sequence[Thumbnails] = ()
    table: Table | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    html: str = ""  # Markup, or nothing

    def __bool__(self) -> bool:
        parts = (self.text, self.warnings, self.figures, self.thumbnails, self.table, self.facts, self.html)
        return any(map(bool, parts))


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page as text; sections with nothing in them are left out."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(title=title, lead=lead, sections=[s for s in sections if s])


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page atomically. Raises a UserError when it cannot be written."""
    write_text(path, render(title, lead, sections))
