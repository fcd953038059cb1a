"""The folder of a training run: only one process trains in it, and no run passes for another run."""

import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from typing_extensions import TypedDict

from metad2a.core.errors import UserError
from metad2a.core.files import display_path, remove_temporaries, write_json
from metad2a.core.messages import log
from metad2a.core.schema import Facts, read_json

RECORD, LOCK = "run.json", ".lock"
HINT = "A run of an older version cannot be resumed: start anew with --overwrite or another --save-path."


class _Record(TypedDict):
    identity: Facts
    history: Facts
    resumed: list[Facts]


class TrainingRun:
    """A folder that this process locks within the `with` block; its `run.json` holds `identity` and `history`.

    The steps: enter (lock, remove what a killed process left half written, stop at an earlier run), read the data,
    `begin` (compare what the run depends on, or remove the earlier run), train.

    Args:
        products: patterns of what a run leaves in the folder; where one is there, there was an earlier run.
        resume, overwrite: continue the earlier run, or replace it.
        may_begin: `resume` begins a run where there is none.

    Attributes:
        identity: what the result depends on, contents by their digests.
        history: `provenance` of the command that began the run; under "resumed" command and date of later ones.

    Raises a UserError if another process trains there, an earlier run is in the way, or there is none to resume.
    """

    def __init__(self, folder: Path, products: tuple[str, ...], resume: bool, overwrite: bool, may_begin: bool = False):
        self.folder, self.products = folder, products
        self.resume, self.overwrite, self.may_begin = resume, overwrite, may_begin
        self.identity: dict[str, Any] = {}
        self.history: dict[str, Any] = {}
        self.lock = FileLock(folder / LOCK, timeout=0)

    def __enter__(self) -> "TrainingRun":
        if self.resume and not self.may_begin and not self._earlier():
            raise UserError(f"Nothing to resume: {self.folder} holds no run. Start without --resume.")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire()
        except Timeout as error:
            raise UserError(f"Another process trains in {self.folder}: wait, or change --save-path.") from error
        except NotImplementedError:
            log.info(f"{self.folder} is on a file system without locks: no other process may train there.")
        try:
            remove_temporaries(self.folder)
            earlier = self._earlier()
            if earlier and not self.resume and not self.overwrite:
                raise UserError(
                    f"{self.folder} holds an earlier run ({earlier[0].name}). Continue it with --resume, replace it "
                    "with --overwrite, or give another --save-path."
                )
        except BaseException:
            self.lock.release()
            raise
        if self.resume and not earlier:
            log.info(f"There is nothing to resume in {self.folder}: a new run begins.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: Any) -> None:
        self.lock.release()
        if isinstance(error, KeyboardInterrupt) and self._earlier():
            how = "Continue with the same command and --resume."
            error.add_note(f"Interrupted: what is finished is in {display_path(self.folder)}. {how}")

    def begin(self, identity: dict[str, Any], history: dict[str, Any]) -> None:
        """Continue the earlier run with `resume`, if its identity is the same; otherwise remove it and begin anew."""
        self.identity, self.history = identity, history
        path, earlier = self.folder / RECORD, self._earlier()
        record = {"identity": identity, "history": history, "resumed": []}
        if self.resume and earlier:
            record = read_json(path, _Record, "what an earlier run depends on", HINT)
            self.check(record["identity"], path)
            record["resumed"].append({name: history[name] for name in ("command", "date")})
            self.history = record["history"] | {"resumed": record["resumed"]}
        else:
            for path_before in earlier:
                shutil.rmtree(path_before) if path_before.is_dir() else path_before.unlink()
        write_json(path, record)

    def check(self, identity: Any, path: Path) -> None:
        """Raise a UserError unless `identity`, which the file `path` holds, is this run's identity."""
        if not isinstance(identity, dict):
            raise UserError(f"{path} does not record its options and data. {HINT}")
        for name in self.identity | identity:
            before, now = (values.get(name, "nothing") for values in (identity, self.identity))
            if before != now:
                raise UserError(
                    f"{path} belongs to a run with {name} {str(before)[:200]}, this command has {str(now)[:200]}. Give "
                    "the options and data of the first run, or start anew with --overwrite."
                )

    def _earlier(self) -> list[Path]:
        return sorted(path for pattern in self.products for path in self.folder.glob(pattern))
