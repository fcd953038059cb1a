"""One HTML file that needs no other: sections of text, warnings, pictures, tables and facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from metad2a.core.files import write_text

EMPTY = Markup("")
FOLDER = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, and the number to sort by if the text does not begin with it."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows that the reader can sort. `code` names the columns of architectures and the like."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    code: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A picture (SVG or HTML that the program made) and its caption."""

    picture: Markup
    caption: str = ""


@dataclass(frozen=True)
class Thumbnails:
    """Images of a class, as `data:` addresses."""

    name: str
    note: str
    images: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading. Text is shown as text, never as HTML; empty parts are left out.

    Attributes:
        warnings: what the reader must see.
        html: HTML that the program made.
    """

    heading: str
    text: str = ""
    warnings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    thumbnails: Sequence[Thumbnails] = ()
    table: Table | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    html: Markup = EMPTY

    def __bool__(self) -> bool:
        return any(value for name, value in vars(self).items() if name != "heading")


def render_template(name: str, autoescape: bool, **values: Any) -> str:
    """Fill a template of the folder `templates`."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(**values)


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page as text, without its empty sections."""
    return render_template("page.html.j2", True, title=title, lead=lead, sections=[s for s in sections if s])


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page atomically. Raises a UserError if it cannot be written."""
    write_text(path, render(title, lead, sections))
