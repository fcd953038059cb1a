"""Writing files so that none is lost and none is taken for another."""

import errno
import json
import math
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from metad2a.core.errors import UserError
from metad2a.core.files import atomic_write, content_digest, load_torch, save_torch, whole_folder, write_json


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_in_words(number, capsys):
    from metad2a.core.cli import guarded

    def fail():
        raise OSError(number, "No space left on device", "log.txt")

    assert guarded(fail) == 2
    assert re.search("log.txt cannot be used: (the disk is full|your disk quota is used up)", capsys.readouterr().err)


def test_an_earlier_file_is_set_aside_only_when_the_new_one_is_whole(monkeypatch):
    from metad2a.core import files

    Path("classes.csv").write_text("before")
    synced = []
    monkeypatch.setattr(files.os, "fsync", synced.append)

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError):
        atomic_write("classes.csv", fail, keep=True)
    assert [path.name for path in Path().iterdir()] == ["classes.csv"]
    files.write_csv("classes.csv", [["after"]], keep=True)
    assert Path("classes.csv.old-1").read_text() == "before"
    assert Path("classes.csv").read_text() == "after\n"
    assert len(synced) == 1


class _Malicious:
    def __reduce__(self):
        return print, ("called",)


def test_what_cannot_be_loaded_is_said_in_our_words(capsys):
    """PyTorch advises to unpickle whatever it does not trust."""
    torch.save({"a": _Malicious()}, "code.pt")
    Path("legacy.pt").write_bytes(pickle.dumps({"a": _Malicious()}, protocol=4))
    Path("page.pt").write_text("<!DOCTYPE html><html></html>")
    Path("pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    Path("empty.pt").touch()
    torch.save({"a": torch.zeros(9)}, "cut.pt")
    Path("cut.pt").write_bytes(Path("cut.pt").read_bytes()[:500])
    words = {
        "code": "could run code",
        "page": "web page",
        "pointer": "Git LFS",
        "empty": "empty",
        "cut": "end is missing",
    }
    for name in (*words, "legacy"):
        with pytest.raises(UserError) as caught:
            load_torch(f"{name}.pt", "Train one.")
        assert words.get(name, "PyTorch wrote") in str(caught.value)
        assert not re.search("weights_only|WeightsUnpickler|allow-pickle|arbitrary", str(caught.value))
    assert capsys.readouterr() == ("", "")


def test_a_path_that_is_not_utf_8_is_read_as_it_was_written():
    path = Path(os.fsdecode(b"d\xff")) / "a.pt"
    save_torch(path, {"a": torch.arange(3)})
    assert load_torch(path, "", mapped=True)["a"].tolist() == [0, 1, 2]


def test_a_folder_of_results_is_set_aside_only_when_the_new_one_is_whole():
    folder = Path("best_arch")
    folder.mkdir()
    (folder / "accuracy.txt").write_text("before")

    def write_half():
        with whole_folder(folder) as new:
            (new / "accuracy.txt").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="the disk is full"):
        write_half()
    assert [path.name for path in Path().iterdir()] == ["best_arch"]
    with whole_folder(folder) as new:
        (new / "accuracy.txt").write_text("after")
    assert (folder / "accuracy.txt").read_text() == "after"
    assert Path("best_arch.old-1/accuracy.txt").read_text() == "before"
