"""Progress bars are for terminals, through one door."""

import io
import re
from types import SimpleNamespace

from helpers import ROOT

from metad2a.core.progress import progress
from metad2a.searches import generate as generating


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
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert written(Terminal()) == ""


def test_every_bar_is_one_of_these():
    for path in ROOT.glob("**/*.py"):
        if path.name != "progress.py" and "tests" not in path.parts and ".venv" not in path.parts:
            calls = re.findall(r"\btqdm\((.*)\)", path.read_text())
            assert all("disable=True" in call for call in calls), path


def test_a_search_under_limits_shows_how_far_it_is(space, monkeypatch):
    """Every round of graphs, also one that brings nothing."""
    rounds = iter([space.architectures[:3], space.architectures[:3], space.architectures[3:9]])
    shown = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def set_postfix(self, graphs, refresh):
            shown.append(graphs)

        def update(self, count):
            shown.append(count)

    monkeypatch.setattr(generating, "progress", lambda **_: Bar())
    monkeypatch.setattr(generating, "decode_round", lambda *_: next(rounds))
    model = SimpleNamespace(eval=lambda: None)
    accepted = space.architectures[2:7]
    made = generating.generate(model, space, None, 4, 1, None, accept=lambda arch: arch in accepted)
    assert made.archs == accepted[:4]
    assert shown == [3, 1, 6, 0, 12, 4]
