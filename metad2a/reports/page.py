"""One HTML file that needs no other: sections of text, warnings, pictures, tables and facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from metad2a.core.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

Rows = Sequence[Mapping[str, Any]]
Columns = Mapping[str, tuple[str, str]]  # name of a value in the rows -> heading and format


@dataclass(frozen=True)
class Table:
    """A table that the reader can sort; each cell is its text and the number to sort by, or None for texts."""

    headings: Sequence[str]
    rows: Sequence[Sequence[tuple[str, float | None]]]


def table(rows: Rows, columns: Columns) -> Table:
    """A table of the columns that some row has. The column "low" shows the interval from `low` to `high`."""
    shown = {name: column for name, column in columns.items() if any(row.get(name) is not None for row in rows)}
    cells = [[_cell(row, name, form) for name, (_, form) in shown.items()] for row in rows]
    return Table([heading for heading, _ in shown.values()], cells)


def _cell(row: Mapping[str, Any], name: str, form: str) -> tuple[str, float | None]:
    value = row.get(name)
    if value is None:
        return "", None
    text = f"{value:{form}} to {row['high']:{form}}" if name == "low" else f"{value:{form}}"
    return text, None if isinstance(value, str) else value


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading. Text is shown as text, never as HTML; empty parts are left out."""

    heading: str
    text: str = ""
    warnings: Sequence[str] = ()  # what the reader must see
    figures: Sequence[tuple[Markup, str]] = ()  # pictures (SVG that the program made), each with its caption
    thumbnails: Sequence[tuple[str, str, Sequence[str]]] = ()  # a class, a note, and images as `data:` addresses
    table: Table | None = None
    # Names of K classes, and (K, K) counts of images of class i that were taken for class j
    confusion: tuple[Sequence[str], Sequence[Sequence[int]]] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(value for name, value in vars(self).items() if name != "heading")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # a search without a page does without it

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=lambda name: not str(name).endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render_template(name: str, **values: Any) -> Markup:
    """Fill a template of the folder `templates`; HTML and SVG show every text as text."""
    return Markup(_environment().get_template(name).render(**values))


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page as text, without its empty sections."""
    return render_template("page.html.j2", title=title, lead=lead, sections=[s for s in sections if s])


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page atomically. Raises a UserError if it cannot be written."""
    write_text(path, render(title, lead, sections))
