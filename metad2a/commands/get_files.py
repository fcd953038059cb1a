"""`get-files`: fetch published data and checkpoints."""

from dataclasses import MISSING, dataclass
from typing import ClassVar

from metad2a.commands.base import Command
from metad2a.core.cli import FETCHED
from metad2a.core.errors import UserError
from metad2a.core.options import SEARCH_SPACES, MirrorOption, Rule, option
from metad2a.core.values import path

NOT_PUBLISHED = (
    "The authors publish no database of the MobileNetV3 predictor: their script fetches the predictor's checkpoint by "
    "mistake (their issue 3). Fetch that checkpoint with: python get_files/get_predictor_checkpoint.py "
    "--search-space ofa_mbv3. Or build a database with: python main.py build-database --model predictor "
    "--search-space ofa_mbv3 --index 0 --imgnet DIR, then --collect"
)

OF_SPACE = ("preprocessed-data", "generator-checkpoint", "predictor-checkpoint")  # whose files differ by space


@dataclass(frozen=True, kw_only=True)
class GetFilesOptions(MirrorOption):
    """`get-files`: what to fetch, and where to."""

    files: str = option(MISSING, f"What to fetch: {', '.join(FETCHED)}.", choices=FETCHED, positional=True)
    search_space: str = option(
        "nasbench201", "Space of preprocessed-data and of the checkpoints.", "--graph-data-name", choices=SEARCH_SPACES
    )
    data_path: str = option("data", "Folder for data.", type=path)
    only: str | None = option(None, "Names of files, by commas.")
    list: bool = option(False, "Show the files and their addresses, and fetch nothing.")

    rules: ClassVar = (
        Rule(("search_space",), lambda o: o.files in OF_SPACE, f"is for {', '.join(OF_SPACE)}: leave it out"),
    )


def run(options: GetFilesOptions) -> None:
    """Fetch the files, or show them."""
    from metad2a.data.download import fetch_all, files_of

    if options.files == "predictor-database":
        raise UserError(NOT_PUBLISHED)
    files = files_of(options.files, options.search_space)
    if options.only:
        names = options.only.split(",")
        if unknown := set(names) - {file.name for file in files}:
            known = ", ".join(file.name for file in files)
            raise UserError(f"--only {sorted(unknown)[0]}: there is no such file. The files are {known}.")
        files = [file for file in files if file.name in names]
    if options.list:
        for file in files:
            print(f"{file.name}\n  {file.address}\n  -> {file.target}  {file.note}\n  for {file.needed_by}")
    else:
        fetch_all(files, options.mirror, options.data_path)


COMMAND = Command(
    "get-files",
    "Fetch published data and checkpoints, verified and resumed.",
    "get-files preprocessed-data --list",
    GetFilesOptions,
    run,
)
