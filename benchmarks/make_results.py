"""Make RESULTS.md, the pages in docs/results and their plots from benchmarks/results: python benchmarks/make_results.py

A page is a file of benchmarks/templates in which three kinds of placeholders stand for what the result files say:

- `@table:NAME@`: what the function `tables` of a measurement's module calls NAME;
- `@made:FILE@`: the command, date and machine of a result file;
- `@FILE/key/.../key:FORMAT@`: one figure of a result file, for example `@lines/tables/cifar10/maximum:.2f@`.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import budget, closed, dataset_effect, length, lines, quality, rivals, ways
from benchmarks.pages import RESULTS, made, read
from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, atomic_write, write_text

MODULES: tuple[Any, ...] = (lines, rivals, budget, ways, length, dataset_effect, quality, closed)
DRAWING: tuple[Any, ...] = (rivals, budget, ways, length, quality)
TEMPLATES = Path(__file__).with_name("templates")
PLACEHOLDER = re.compile(r"@(table|made):([\w.-]+)@|@([\w.-]+(?:/[\w. -]+)+):([^@\s]+)@")


def fill(text: str, tables: dict[str, str], files: dict[str, Any], commands: dict[str, str]) -> str:
    """Replace the placeholders of a page. Raises a UserError if one names what does not exist."""

    def value(match: re.Match[str]) -> str:
        kind, name, path, form = match.groups()
        try:
            if kind == "table":
                return tables[name].rstrip("\n")
            if kind == "made":
                return made(files[name]["history"], commands[name])
            file, *keys = path.split("/")
            found = result_of(files[file])
            for key in keys:
                found = found[int(key) if isinstance(found, list) else key]
            return format(found, form)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{match[0]} of a page in {TEMPLATES} names nothing that was measured.") from error

    return PLACEHOLDER.sub(value, text)


def result_of(file: dict[str, Any]) -> Any:
    """What was measured; older files hold it beside their history."""
    return file.get("result", file)


def make(args: argparse.Namespace) -> None:
    commands = {name: command for module in MODULES for name, command in module.FILES.items()}
    files = {name: read(name, command) for name, command in commands.items()}
    results = {name: result_of(file) for name, file in files.items()}
    tables: dict[str, str] = {}
    for module in MODULES:
        tables |= module.tables(results)
    if not args.no_plots:
        for module in DRAWING:
            for name, figure in module.plots(results).items():
                atomic_write(RESULTS / f"{name}.png", partial(figure.savefig, dpi=100, format="png"))
    for template in sorted(TEMPLATES.glob("*.md")):
        folder = Path(args.output) if template.name == "RESULTS.md" else Path(args.output) / "docs" / "results"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / template.name, fill(template.read_text(encoding="utf-8"), tables, files, commands))
        print(f"{folder / template.name} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=str(ROOT), help="folder of RESULTS.md and docs/results (default: this one)")
    parser.add_argument("--no-plots", action="store_true", help="make the pages only")
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), make))
