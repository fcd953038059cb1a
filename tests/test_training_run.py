"""What all trainings share: the folder of a run."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from metad2a.core.errors import UserError
from metad2a.core.training_run import RECORD, TrainingRun
from metad2a.data.image_source import image_folder

FOLDER = Path("results/run")


def open_run(resume=False, overwrite=False, **more):
    return TrainingRun(FOLDER, ("*.pt",), resume, overwrite, **more)


def history(command):
    return {"command": command, "date": "2026-01-01", "seed": 1}


def finish(lr=0.1, command="first", **how):
    with open_run(**how) as run:
        run.begin({"lr": lr, "images": "abc"}, history(command))
        (FOLDER / "ckpt_last.pt").write_text(command)
    return run


def record():
    return json.loads((FOLDER / RECORD).read_text())


def test_one_process_at_a_time():
    with open_run(), pytest.raises(UserError, match="Another process trains in results/run"), open_run(overwrite=True):
        pass
    with pytest.raises(ValueError, match="ended"), open_run():
        raise ValueError("ended")
    with open_run():  # the lock is free again
        pass


def test_an_earlier_run_is_neither_replaced_nor_resumed_unasked():
    with pytest.raises(UserError, match="Nothing to resume"), open_run(resume=True):
        pass
    assert not FOLDER.exists()
    finish()
    with pytest.raises(UserError, match=r"earlier run \(ckpt_last.pt\).*--resume.*--overwrite"), open_run():
        pass
    with open_run(overwrite=True) as run:
        assert (FOLDER / "ckpt_last.pt").exists()  # until the data have been read
        (FOLDER / "log.txt").write_text("kept")
        run.begin({}, history("second"))
    assert sorted(path.name for path in FOLDER.iterdir()) == [".lock", "log.txt", RECORD]
    assert record() == {"identity": {}, "history": history("second"), "resumed": []}


def test_the_first_command_is_kept_and_the_later_ones_are_listed():
    finish()
    for command in ("second", "third"):
        run = finish(command=command, resume=True)
    later = [{"command": command, "date": "2026-01-01"} for command in ("second", "third")]
    assert record() == {"identity": run.identity, "history": history("first"), "resumed": later}
    assert run.history == {**history("first"), "resumed": later}


def test_what_differs_is_named():
    finish()
    with pytest.raises(UserError, match=r"run.json belongs to a run with lr 0.1, this command has 0.5"):
        finish(lr=0.5, command="second", resume=True)
    assert (FOLDER / "ckpt_last.pt").read_text() == "first"
    assert record()["history"] == history("first")
    with open_run(resume=True) as run, pytest.raises(UserError, match="images abc, this command has nothing"):
        run.begin({"lr": 0.1}, history("second"))


@pytest.mark.parametrize("text", [None, "", "[1]", "{}", '{"history": {}, "identity": 3, "resumed": 3}', "[" * 100_000])
def test_a_run_that_does_not_say_what_it_depends_on(text):
    finish()
    (FOLDER / RECORD).unlink()
    if text is not None:
        (FOLDER / RECORD).write_text(text)
    with open_run(resume=True) as run, pytest.raises(UserError, match="--overwrite"):
        run.begin({"lr": 0.1}, history("second"))
    finish(overwrite=True)


def test_a_run_that_may_begin_says_so(capsys):
    assert finish(resume=True, may_begin=True).history == history("first")
    assert "a new run begins" in capsys.readouterr().err


def test_what_a_killed_process_left_half_written_is_removed():
    finish()
    (FOLDER / "seed_1").mkdir()
    kept = [FOLDER / name for name in (".lock", ".hidden", "log.txt", "seed_1/a.abcd1234.pt", "ckpt_last.pt")]
    left = [FOLDER / name for name in (".ckpt_last.abcd1234.pt", "seed_1/.network.a_c0e1zz.pt", ".run.abcdefgh.json")]
    for path in (*kept, *left):
        path.write_text("")
    with open_run(resume=True):
        assert [path.exists() for path in left] == [False] * 3
        assert all(path.exists() for path in kept)


def test_an_interruption_says_how_to_go_on():
    with pytest.raises(KeyboardInterrupt) as caught, open_run():
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "__notes__")  # nothing is finished
    finish()
    with pytest.raises(KeyboardInterrupt) as caught, open_run(resume=True):
        raise KeyboardInterrupt
    assert "--resume" in caught.value.__notes__[0]


def test_images_are_known_by_their_content():
    def digest():
        source = image_folder("toy", "images", None)
        return source.digest(torch.arange(len(source.labels)))

    for name, level in (("a/0.png", 10), ("a/1.png", 20), ("b/0.png", 30)):
        path = Path("images", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (level, 0, 0)).save(path)
    first = digest()
    path = Path("images/a/0.png")
    path.rename("images/a/00.png")
    assert digest() == first  # whatever it is called
    Path("images/a/1.png").write_bytes(Path("images/b/0.png").read_bytes())
    assert digest() != first
    Path("images/a/1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"images/a/1\.png cannot be read"):
        digest()
