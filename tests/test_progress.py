"""Progress bars are for terminals, through one door."""

import io
import re

from conftest import ROOT

from engine.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def written(file, **options):
    for _ in progress(range(3), file=file, mininterval=0, **options):
        pass
    return file.getvalue()


def test_a_bar_is_shown_on_a_terminal_and_in_no_log(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE")
    assert "3/3" in written(Terminal())
    assert written(io.StringIO()) == ""
    assert written(Terminal(), hidden=True) == ""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert written(Terminal()) == ""


def test_every_bar_is_one_of_these():
    for path in ROOT.glob("**/*.py"):
        if path.name != "progress.py" and "tests" not in path.parts and ".venv" not in path.parts:
            calls = re.findall(r"\btqdm\((.*)\)", path.read_text())
            assert all("disable=True" in call for call in calls), path
