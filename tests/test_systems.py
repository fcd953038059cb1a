"""What differs between Linux, macOS and Windows, played by fakes."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.meta_train import line
from helpers.networks import toy_data, toy_run

from metad2a.core.environment import peak_gb, peak_memory
from metad2a.training.classifier import train


@pytest.fixture
def windows(monkeypatch):
    """Files that are mapped into memory can be neither replaced nor removed."""
    load, replace, unlink, mapped = torch.load, os.replace, os.unlink, set()

    def load_mapped(path, *args, mmap=False, **options):
        if mmap:
            mapped.add(Path(path).resolve())
        return load(path, *args, mmap=mmap, **options)

    def refused(work):
        def checked(*paths, **options):
            for path in paths:
                if Path(path).resolve() in mapped:
                    raise PermissionError(13, "Access is denied", str(path))
            return work(*paths, **options)

        return checked

    monkeypatch.setattr(torch, "load", load_mapped)
    for name, work in (("replace", replace), ("unlink", unlink), ("remove", os.remove), ("rename", os.rename)):
        monkeypatch.setattr(os, name, refused(work))
    return mapped


@pytest.mark.usefixtures("authors_data")
def test_training_replaces_no_file_that_it_has_mapped(command, windows):
    """Its own checkpoints, which --resume has read; the images, which nobody replaces, are mapped."""
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    code, _, err = command(line("predictor", "--max-epoch 2 --resume"))
    assert code == 0, err
    assert {path.name for path in windows} == {"imgnet32bylabel.pt"}


@pytest.mark.usefixtures("windows")
def test_train_arch_replaces_no_file_that_it_has_mapped(tmp_path):
    data = toy_data()
    run = toy_run(tmp_path, data)
    run.save()
    run.restore()
    train(run, data, str)
    assert run.checkpoint.is_file()


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_units_of_the_peak_memory(monkeypatch, system, unit):
    peak = SimpleNamespace(ru_maxrss=3 * 1024**3 // unit)
    fake = SimpleNamespace(RUSAGE_SELF="own", getrusage=lambda who: peak)
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(sys, "platform", system)
    assert peak_gb() == 3


def test_windows_does_not_tell_the_peak_memory(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_gb() == 0
    assert "unknown" in peak_memory()
