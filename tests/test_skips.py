"""With `--may-skip`, a test that is skipped without one of its marks fails."""

import pytest
from helpers import ROOT

pytest_plugins = "pytester"
MODULE = """
import pytest

@pytest.mark.gpu
def test_a(): pytest.skip("no GPU")

def test_b(): pytest.importorskip("no_such_module")

@pytest.mark.skipif(True, reason="no time")
def test_c(): pass

def test_d(): pass
"""


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        ([], {"passed": 1, "skipped": 3}),
        (["--may-skip", "gpu"], {"passed": 1, "skipped": 1, "failed": 1, "errors": 1}),
        (["--may-skip", "gpu", "-n", "1"], {"passed": 1, "skipped": 1, "failed": 1, "errors": 1}),
    ],
)
def test_skipped_tests(pytester, monkeypatch, options, outcomes):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    pytester.makeini("[pytest]\nmarkers = gpu")
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(test_module=MODULE)
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(**outcomes)
    if "failed" in outcomes:
        result.stdout.fnmatch_lines_random(["*must not be skipped*no_such_module*", "*must not be skipped*no time*"])


def test_a_module_that_is_skipped(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(test_module="import pytest\npytest.importorskip('no_such_module')")
    result = pytester.runpytest_subprocess("--may-skip", "gpu")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*must not be skipped*no_such_module*"])
