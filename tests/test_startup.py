"""Commands that compute nothing with tensors start without PyTorch, and what they read is what PyTorch would read."""

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.folders import write_images
from helpers.fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as TF

from metad2a.commands.registry import COMMANDS
from metad2a.core.arrays import ArrayOf, ColumnsOf, TextsOf, load_arrays, read_arrays, save_arrays
from metad2a.core.environment import torch_version
from metad2a.core.errors import UserError
from metad2a.core.files import ASSETS, content_digest
from metad2a.data import features
from metad2a.data.features import load_features
from metad2a.data.resize import resize

WORKING = (
    "search cifar10",
    "search --data-name cifar100 --quiet",
    "search svhn --max-flops 60 --max-params 0.8 --device-latency pixel3 --max-latency 10 --report",
    "search cifar10 --num-runs 2",
    "search ninapro_images --image-folder images --report",
    "search images",
    "compare --data-name cifar10 --num-seeds 1 --num-workers 1 --budget 40evaluations --methods "
    "random,evolution,assisted-evolution,bayesian,halving,hyperband,mdenas,naswot,transfer,metad2a,metad2a-short",
    "compare --data-name imagenet-224 --search-space ofa_mbv3 --num-seeds 1 --num-workers 1 --budget 40evaluations "
    "--methods random,evolution,mdenas",
    "get-files mnist --list",
    "get-files preprocessed-data --list --search-space ofa_mbv3",
    "--version",
    "--help",
    *(f"{name} --help" for name in COMMANDS),
)
REFUSED = (
    "serch cifar10",
    "search nosuchname",
    "search cifar10 --max-flops x",
    "search cifar10 --max-flops 1",
    "search cifar10 --gpu first",
    "search cifar10 --device-latency nosuch",
    "search cifar10 --from-scratch",
    "search cifar10 --epochs 3",
    "search images --image-folder images",
    "train --data-name cifar10",
    "compare --data-name nosuch",
    "compare --data-name cifar10 --methods nosuch",
    "predict --network x --images y --top 0",
)
HEAVY = ("torch", "torchvision", "matplotlib", "sklearn", "igraph")
SCRIPT = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from metad2a.__main__ import main
outcome = {}
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(line.split())
        except SystemExit as stop:
            code = stop.code or 0
    outcome[line] = [code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]
print(json.dumps(outcome))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The exit code of each command, and the heavy modules that are imported after it, all in one process."""
    folder = tmp_path_factory.mktemp("startup")
    write_images(folder / "images", n=4)
    lines = [line for line in (*WORKING, *REFUSED) if "bayesian" not in line]
    lines += [line for line in WORKING if "bayesian" in line]  # it needs scikit-learn, so it comes last
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), json.dumps(HEAVY)],
        input=json.dumps(lines), capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("line", [*WORKING, *REFUSED])
def test_without_tensors_nothing_heavy_is_imported(outcomes, line):
    code, modules = outcomes[line]
    assert code == (2 if line in REFUSED else 0)
    assert modules == (["sklearn"] if "bayesian" in line else [])


def test_a_search_takes_little_memory(tmp_path):
    """Linux says what a process itself has used; what `resource` says includes the process that started it."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("only Linux says it")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from metad2a.__main__ import main; "
    code += "main(['search', 'cifar10']); print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", done.stdout, re.MULTILINE)
    assert 10 < int(peak) / 1024 < 150


def test_the_version_of_pytorch_is_read_without_it():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from metad2a.core.environment import torch_version; "
    code += "print(torch_version(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(torch.__version__), "False"]
    assert torch_version() == torch.__version__


# The files


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(part, other[name]) for name, part in one.items())
    if isinstance(one, np.ndarray):
        other = np.asarray(other)
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


def as_tensors(value):
    if isinstance(value, dict):
        return {name: as_tensors(part) for name, part in value.items()}
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("path", sorted(ASSETS.rglob("*.npz")), ids=lambda path: path.stem)
def test_numpy_reads_what_pytorch_would(tmp_path, path):
    value = load_arrays(path, "")
    torch.save(as_tensors(value), tmp_path / "other.pt")
    assert same(value, torch.load(tmp_path / "other.pt", weights_only=True))
    save_arrays(tmp_path / "again.npz", value)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    assert not path.with_suffix(".pt").exists()  # one form is shipped


def test_features_are_the_same_in_both_forms(tmp_path, capsys):
    shipped = load_features(ASSETS / "features" / "mnist.npz", "mnist")
    shipped.save(tmp_path / "mnistbylabel.pt")
    assert features.main([str(tmp_path / "mnistbylabel.pt"), str(tmp_path / "mnist.npz")]) == 0
    assert "1000 images of 10 classes" in capsys.readouterr().out
    digests = {load_features(tmp_path / name, "mnist").digest() for name in ("mnistbylabel.pt", "mnist.npz")}
    assert digests == {shipped.digest()}
    assert features.main([str(tmp_path / "mnistbylabel.pt"), str(tmp_path / "mnist.npz")]) == 2


def test_an_array_has_the_digest_of_its_tensor():
    for array in (np.arange(6).reshape(2, 3), np.ones(3, np.float32), np.arange(8)[::2]):
        assert content_digest(array, "x") == content_digest(torch.from_numpy(array.copy()), "x")


SCHEMA = {
    "whole": ArrayOf(np.integer, ("n", 3), low=0),
    "parts": ColumnsOf(ArrayOf(np.floating, (4,), low=0, high=9)),
    "names": TextsOf(),
}
GOOD = {"format": "f-1", "whole": np.ones((2, 3), int), "parts": {"a": np.ones(4)}, "names": ["x", "y"]}


def read(path):
    return read_arrays(path, SCHEMA, "a test", "Make it anew.", "f-1")


def test_good_arrays_are_read(tmp_path):
    save_arrays(tmp_path / "a.npz", GOOD | {"more": 1})
    assert same(read(tmp_path / "a.npz"), {name: GOOD[name] for name in SCHEMA})
    assert "whole" not in load_arrays(tmp_path / "a.npz", "", leave_out=("whole",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "f-2"}, "its format is 'f-2', but should be 'f-1'"),
        ({"whole": None}, "whole is None"),
        ({"whole": np.ones((2, 3))}, "should be an array (n, 3) of integers"),
        ({"whole": np.ones((2, 2), int)}, "whole is an array (2, 2) of int64"),
        ({"whole": np.ones((0, 3), int)}, "should not be empty"),
        ({"whole": -np.ones((2, 3), int)}, "whole has values from -1 to -1, beyond 0 to inf"),
        ({"parts": {"a": np.ones(4), "b": np.array([1, 2, np.nan, 3])}}, "parts['b'] has values that are not finite"),
        ({"parts": {"a": np.full(4, 10.0)}}, "beyond 0 to 9"),
        ({"parts": np.ones(4)}, "parts is an array"),
        ({"names": []}, "names is a list of 0"),
        ({"names": ["x", "x"]}, "names has 'x' twice"),
        ({"names": ["x", 1]}, "should be a list of texts"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, change, message):
    save_arrays(tmp_path / "a.npz", GOOD | change)
    with pytest.raises(UserError, match="Make it anew") as caught:
        read(tmp_path / "a.npz")
    assert message in str(caught.value)


def test_a_missing_array_is_named(tmp_path):
    save_arrays(tmp_path / "a.npz", {name: GOOD[name] for name in ("format", "whole", "names")})
    with pytest.raises(UserError, match="it lacks 'parts'"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 and no more", b"version https://git-lfs x", b"junk"])
def test_files_that_are_no_arrays(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: .*Make it anew"):
        read(tmp_path / "a.npz")
    with pytest.raises(UserError, match="is missing"):
        read(tmp_path / "none.npz")


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", about=np.array("{}"), whole=np.array([print], dtype=object))
    with pytest.raises(UserError, match="is damaged"):
        read(tmp_path / "a.npz")


@fuzzed(60)
@given(st.data())
def test_damaged_arrays_are_refused(tmp_path, data):
    """A changed byte is found by the checksums of the archive, or changes nothing that is read."""
    save_arrays(tmp_path / "a.npz", GOOD)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "b.npz").write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 9]))])
    found = None
    with suppress(UserError):
        found = read(tmp_path / "b.npz")
    assert found is None or same(found, {name: GOOD[name] for name in SCHEMA})


# Images


@pytest.mark.numeric
@pytest.mark.parametrize("shape", [(3, 40, 50), (2, 3, 40, 50), (0, 3, 8, 8), (3, 32, 32), (3, 7, 9)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("last", [False, True])
def test_images_are_resized_as_torchvision_does(rng, shape, dtype, last):
    images = torch.randint(0, 256, shape, generator=rng).to(dtype)
    if last:  # as decoders give them
        images = images.movedim(-3, -1).contiguous().movedim(-1, -3)
    assert torch.equal(resize(images, 32), TF.resize(images, [32, 32], antialias=True))
