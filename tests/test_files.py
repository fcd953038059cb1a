"""Writing files so that none is lost and none is taken for another."""

import errno
import json
import math
from pathlib import Path

import pytest
import torch

from metad2a.core.errors import UserError
from metad2a.core.files import atomic_write, content_digest, write_json


def test_errors_of_the_writer_itself_are_passed_on():
    """They have nothing to do with the folder."""
    Path("file").write_text("before")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match=r"^CUDA error"):
        atomic_write("file", fail)
    assert [path.name for path in Path().iterdir()] == ["file"]
    assert Path("file").read_text() == "before"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 598"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_by_its_names(error):
    def fail(_):
        raise error

    with pytest.raises(UserError, match=r"Cannot write file: .* make room"):
        atomic_write("file", fail)


def test_json_has_no_nan():
    write_json("value.json", {"a": [1.5, math.nan, (math.inf, -1)], "b": {"c": -math.inf, "d": "NaN", "e": True}})

    def refuse(name):
        raise AssertionError(name)

    value = json.loads(Path("value.json").read_text(), parse_constant=refuse)
    assert value == {"a": [1.5, None, [None, -1]], "b": {"c": None, "d": "NaN", "e": True}}


def test_a_digest_is_of_type_shape_and_numbers():
    a = torch.arange(6, dtype=torch.float32)
    others = [a.half(), a.view(2, 3), a.flip(0), a[:5], a.bool()]
    assert len({content_digest(value) for value in (a, *others)}) == 6
    assert content_digest(a.view(2, 3).T.contiguous()) == content_digest(a.view(2, 3).T)
    assert content_digest(torch.empty(0)) != content_digest(torch.empty(0, 2))
    assert content_digest(["ab", "c"]) != content_digest(["a", "bc"])
