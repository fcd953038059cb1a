"""Building and collecting a predictor's database on a toy supernet and a toy ImageNet."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from PIL import Image

from metad2a import spaces
from metad2a.__main__ import main
from metad2a.commands import mobilenetv3
from metad2a.data.features import Features
from metad2a.database.build import split_by_task
from metad2a.database.items import draw_item
from metad2a.database.shards import ShardWriter, read_shard, shard_file
from metad2a.metatrain.tuples import load_tuples

pytest.importorskip("ofa")
from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, build_supernet, save_supernet

NAMES = [f"n{i:02d}" for i in range(12)]
ofa = spaces.get("ofa_mbv3")
BUILD = "--model_name predictor --imgnet images --supernet supernet.pt --num-tasks 3 --num-calibration 8 --gpu cpu"
SHARDS = Path("data/ofa_mbv3/predictor_shards")


@pytest.fixture
def world(tmp_path):
    """Twelve classes of eight images, a supernet for them, and their features."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for name in NAMES:
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for i in range(8):
            Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    config = SupernetConfig(len(NAMES), 0.1, 16, NAMES)
    save_supernet(tmp_path / "supernet.pt", build_supernet(config), config)
    counts = torch.full((12,), 5)
    Features("imgnet32", torch.randn(60, 16), counts, NAMES, "toy-32px", "").save(tmp_path / "data/imgnet32bylabel.pt")
    return tmp_path


SPACE = ["--search-space", "ofa_mbv3"]


@pytest.fixture
def build(capsys):
    def call(line):
        try:
            code = main(["build-database", *SPACE, *line.split()])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.err

    return call


@pytest.fixture
def refuses(build):
    def call(line):
        code, err = build(line)
        errors = [text for text in err.splitlines() if text.startswith("error: ")]
        assert (code, len(errors)) == (2, 1)
        assert "Traceback" not in err
        return errors[0]

    return call


def records(shard=0):
    return sorted(read_shard(shard_file(SHARDS, shard))[1], key=lambda record: record["number"])


def results(shard=0):
    return [(r["number"], r["classes"], r["archs"], r["accuracy"]) for r in records(shard)]


def test_shards_are_built_and_collected(world, build):
    assert build(f"{BUILD} --index 0-1 --num-arch 2")[0] == 0
    assert results(0) != results(1)
    code, err = build("--model_name predictor --collect")
    assert code == 0
    assert "shard_0001.jsonl: 3 of 3 tasks" in err
    tuples = load_tuples("predictor", ofa, "data", 12)
    assert len(tuples.archs) == 12
    sizes = (tuples.task_classes >= 0).sum(dim=1)
    assert ((sizes >= 10) & (sizes <= 12)).all()
    assert len(torch.load("data/ofa_mbv3/meta_train_task_lst.pt", weights_only=True)) == 6
    expected = [value for shard in (0, 1) for record in records(shard) for value in record["accuracy"]]
    assert tuples.accuracy.tolist() == pytest.approx(expected)
    assert not set(tuples.task[tuples.training].tolist()) & set(tuples.task[tuples.validation].tolist())


def test_a_shard_that_does_not_say_its_sizes_is_continued(world, build):
    """As those of earlier versions; the database then does not say either."""
    assert build(f"{BUILD} --index 0")[0] == 0
    path = shard_file(SHARDS, 0)
    header, measured, _ = read_shard(path)
    assert header.pop("sizes") == {"image_size": 16, "width_mult": 0.1}
    path.unlink()
    writer = ShardWriter(path, header)
    for record in measured[:2]:
        writer.append(record)
    assert build(f"{BUILD} --index 0")[0] == 0
    assert len(records()) == len(measured)
    assert build("--model_name predictor --collect")[0] == 0
    assert load_tuples("predictor", ofa, "data", 12).sizes == {}


def test_measured_accuracies_are_those_of_the_subnet(world, build):
    """Against the plain way: every held-out image on its own through the active supernet."""
    from metad2a.spaces.ofa_mbv3.evaluator import SubnetEvaluator
    from metad2a.spaces.ofa_mbv3.supernet import load_supernet

    class Options:
        supernet, device, imgnet, class_names, num_calibration = "supernet.pt", "cpu", "images", NAMES, 100

    evaluator = SubnetEvaluator(Options)
    rng, arch, classes = torch.Generator().manual_seed(0), ofa.sample(1, torch.Generator())[0], [7, 2, 5]
    found = evaluator.evaluate(arch, classes, rng)
    net, _ = load_supernet("supernet.pt")
    net.set_active_subnet(arch["ks"], arch["e"], arch["d"])
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    training, held_out = evaluator.training, evaluator.held_out
    network = net.get_active_subnet()
    set_running_statistics(network, [(training.centered(training.numbers(classes)), None)])
    right = []
    for position, c in enumerate(classes):
        for number in held_out.by_class[c]:
            logits = network.eval()(held_out.centered(number[None]))[0]
            right.append(int(max(range(3), key=lambda i: logits[classes[i]]) == position))
    assert found == pytest.approx(100 * sum(right) / len(right))


def test_the_whole_way_to_a_search(world, build, command):
    """Databases, both models, a search: the published order, all by commands."""
    small = "--search-space ofa_mbv3 --nz 8 --num-sample 2 --gpu cpu"
    assert build(f"{BUILD} --index 0-1 --num-arch 2")[0] == 0
    assert build("--model_name predictor --collect")[0] == 0
    code, _, err = command(f"--model predictor --hs 12 --max-epoch 2 --batch-size 4 --within-task-loss 1 {small}")
    assert code == 0, err
    assert "correlation_within_tasks" in Path("results/ofa_mbv3/predictor/log.txt").read_text()
    config = torch.load("results/ofa_mbv3/predictor/model/ckpt_last.pt", weights_only=True)["config"]
    assert config["class_count"]  # its tasks differ in size
    assert config["additive"]
    line = "--model_name generator --num-tasks 8 --num-sampled 5 --num-sample 2 --num-draws 2"
    code, err = build(line)
    assert code == 0, err
    assert len(load_tuples("generator", ofa, "data", 12).archs) == 8
    for kind in ("predictor", "generator"):  # the supernet's
        assert load_tuples(kind, ofa, "data", 12).sizes == {"image_size": 16, "width_mult": 0.1}
    assert "--overwrite" in build(line)[1]
    code, _, err = command(f"--model generator --hs 8 --max-epoch 2 --batch-size 4 {small}")
    assert code == 0, err
    checkpoint = torch.load("results/ofa_mbv3/generator/model/ckpt_last.pt", weights_only=True)
    checkpoint["state"]["decoder.add_edge.2.bias"][:] = 5  # so little training makes no valid graph
    checkpoint["state"]["decoder.add_vertex.2.bias"][:] = -20
    checkpoint["state"]["decoder.add_vertex.2.bias"][2:11] = 0
    torch.save(checkpoint, "results/ofa_mbv3/generator/model/ckpt_last.pt")
    Features("toy", torch.randn(15, 16), torch.full((3,), 5), list("abc"), "toy-32px", "").save("data/toybylabel.pt")
    code, _, err = command(f"--model generator --test --num-gen-arch 5 --data-name toy {small}")
    assert code == 0, err
    assert "16x16 images at width 0.1" in err
    assert len(Path("results/ofa_mbv3/meta_test/toy/5/best_arch/architecture.txt").read_text().splitlines()) == 1


@pytest.fixture
def whole_way(capsys, monkeypatch):
    """The command `mobilenetv3`, whose generator makes valid graphs after this little training."""
    train = mobilenetv3.COMMANDS["meta-train"]

    def train_and_mend(options):
        train.run(options)
        if options.model == "generator":
            path = Path("results/ofa_mbv3/generator/model/ckpt_last.pt")
            checkpoint = torch.load(path, weights_only=True)
            checkpoint["state"]["decoder.add_edge.2.bias"][:] = 5
            checkpoint["state"]["decoder.add_vertex.2.bias"][:] = -20
            checkpoint["state"]["decoder.add_vertex.2.bias"][2:11] = 0
            torch.save(checkpoint, path)

    monkeypatch.setitem(mobilenetv3.COMMANDS, "meta-train", replace(train, run=train_and_mend))

    def call(line):
        code = main(["mobilenetv3", *line.split()])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


WHOLE = (
    "--imgnet images --supernet supernet.pt --data-name toy --image-folder images --index 0-1 --num-tasks 2 "
    "--num-arch 2 --num-calibration 8 --num-generator-tasks 8 --max-epoch 1 --num-gen-arch 4 --gpu cpu"
)


def test_all_of_it_in_one_command(world, whole_way):
    """With a small supernet; what is finished is not done again."""
    Features("toy", torch.randn(60, 16), torch.full((12,), 5), NAMES, "toy-32px", "").save("data/toybylabel.pt")
    shown = whole_way(f"{WHOLE} --epochs 0 --dry-run")[1]
    assert shown.count("$ python ") == 7
    assert not Path("results").exists()
    code, out, err = whole_way(f"{WHOLE} --epochs 0")
    assert code == 0, err
    assert [line for line in out.splitlines() if line.startswith("$")] == shown.splitlines()
    assert "batch norm calibrated on 8 training images; nothing was trained" in out
    assert len(list(Path("results/ofa_mbv3/evaluation/toy").glob("*/result.json"))) == 1
    again = whole_way(f"{WHOLE} --epochs 0 --dry-run")[1]
    assert "build-database" not in again
    assert again.count("--resume") == 3


def test_a_step_that_fails_ends_the_whole_way(world, whole_way):
    assert whole_way(WHOLE.replace("supernet.pt", "none.pt"))[0] == 2
    code, _, err = whole_way(WHOLE.replace("--imgnet images", "--imgnet none"))
    assert code == 2
    assert "--imgnet none is not a folder" in err


def test_items_do_not_depend_on_their_neighbours():
    one = draw_item(ofa, 1000, 2, 333, 3, 7)
    assert one == draw_item(ofa, 1000, 2, 333, 3, 7)
    sizes = [len(draw_item(ofa, 1000, 1, seed, 0, 0).classes) for seed in range(60)]
    assert 10 <= min(sizes) < 150 < 800 < max(sizes) <= 990
    assert one.classes != draw_item(ofa, 1000, 2, 333, 4, 7).classes
    assert one.classes != draw_item(ofa, 1000, 2, 334, 3, 7).classes
    assert len(draw_item(spaces.get("nasbench201"), 600, 1, 333, 0, 0).classes) == 20


def test_an_interrupted_shard_is_continued(world, build):
    assert build(f"{BUILD}")[0] == 0
    whole, path = results(), shard_file(SHARDS, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:40])  # killed while writing the second task
    code, err = build(f"{BUILD}")
    assert code == 0
    assert "2 tasks measured" in err
    assert results() == whole


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from metad2a.__main__ import main
from metad2a.database.shards import ShardWriter
append = ShardWriter.append
def killed(writer, record):
    if len(writer.done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    append(writer, record)
ShardWriter.append = killed
main(["build-database", "--search-space", "ofa_mbv3", *sys.argv[1:]])
"""


def test_a_killed_build_loses_nothing(world):
    """A process that the system kills when it has measured its fourth task and written three."""
    command = [sys.executable, "-c", KILLED, *BUILD.replace("tasks 3", "tasks 5").split()]
    process = subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    _, found, _ = read_shard(shard_file(SHARDS, 0))
    assert [record["number"] for record in found] == [0, 1, 2]


@pytest.mark.usefixtures("one_thread")
def test_a_ray_worker_that_dies_is_replaced(world, build, monkeypatch):
    """Two workers, of which the one that measures the second task is killed once: results as of this process alone."""
    pytest.importorskip("ray")
    from metad2a.database import workers

    marker = str(world / "killed")

    def measure_or_die(options, item):
        from metad2a.database.workers import measure  # of the worker's process

        if item.number == 1 and not os.path.exists(marker):
            open(marker, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(options, item)

    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # however little memory other programs leave
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with monkeypatch.context() as patch:
        patch.setattr(workers, "measure", measure_or_die)
        code, err = build(f"{BUILD} --num-workers 2")
    assert code == 0, err
    assert Path(marker).is_file()
    with_ray = results()
    shard_file(SHARDS, 0).unlink()
    assert build(BUILD)[0] == 0
    assert results() == with_ray


def test_a_worker_out_of_memory(world, refuses, monkeypatch):
    from metad2a.database import workers

    def full(options, item):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(workers, "measure", full)
    assert "--num-workers" in refuses(BUILD)


def test_ray_workers_that_are_killed_for_their_memory(world):
    """A threshold that every worker exceeds: tried again, but not for ever."""
    pytest.importorskip("ray")
    command = [sys.executable, str(ROOT / "build_database.py"), *BUILD.split(), "--num-workers", "1"]
    memory = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **memory}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 2
    assert "want of memory. Use fewer --num-workers" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_ray_is_optional(world, refuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'pip install ".[ray]"' in refuses(f"{BUILD} --num-workers 2")


def test_a_folder_that_lacks_classes(world, refuses):
    for path in (world / "images" / "n03").iterdir():
        path.unlink()
    (world / "images" / "n03").rmdir()
    assert "lacks 1 of 12 classes: it has no sub-folder n03" in refuses(BUILD)
    Path("order.txt").write_text("".join(f"{name} 1 x\n" for name in NAMES if name != "n03"))
    Path("unknown.txt").write_text("n77\nn00\n")
    assert "no features of class n77" in refuses(f"{BUILD} --class-order unknown.txt")


def test_some_of_the_classes_keep_their_numbers(world, build):
    Path("order.txt").write_text("".join(f"{name}\n" for name in NAMES[1:]))
    assert build(f"{BUILD} --class-order order.txt")[0] == 0
    assert all(min(record["classes"]) >= 2 for record in records())


def test_a_supernet_that_does_not_know_a_class(world, refuses):
    config = SupernetConfig(11, 0.1, 16, NAMES[1:])
    save_supernet("supernet.pt", build_supernet(config), config)
    assert "not trained on class n00" in refuses(BUILD)


def test_a_damaged_shard(world, build, refuses):
    assert build(BUILD)[0] == 0
    path = shard_file(SHARDS, 0)
    whole = path.read_text()
    path.write_text(whole.replace('"number": 1', '"number": 2'))
    assert "shard_0000.jsonl is damaged in line 3" in refuses("--model_name predictor --collect")
    assert "shard_0000.jsonl is damaged in line 3" in refuses(BUILD)
    path.write_text("")
    assert "damaged" in refuses("--model_name predictor --collect")
    path.write_text(whole)
    assert build("--model_name predictor --collect")[0] == 0


def test_a_refused_build_leaves_no_shard(world, build, refuses):
    """So that the corrected command is not taken for another database's."""
    refuses(BUILD.replace("supernet.pt", "nowhere.pt"))
    Path("images/n03").rename("n03")
    refuses(BUILD)
    Path("n03").rename("images/n03")
    assert build(BUILD)[0] == 0


def test_a_header_alone_is_no_shard_of_other_options(world, build):
    assert build(BUILD)[0] == 0
    path = shard_file(SHARDS, 0)
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert build(f"{BUILD} --num-arch 2")[0] == 0
    assert len(records()[0]["archs"]) == 2


def test_copies_of_shards_and_of_lines_are_refused(world, build, refuses):
    assert build(BUILD)[0] == 0
    path, copy = shard_file(SHARDS, 0), shard_file(SHARDS, 9)
    shutil.copy(path, copy)
    assert "shard_0009.jsonl holds shard 0" in refuses("--model_name predictor --collect")
    copy.rename(SHARDS / "shard_x.jsonl")  # no shard
    lines, number = path.read_text().splitlines(keepends=True), read_shard(path)[1][0]["number"]
    path.write_text("".join([*lines, lines[1]]))
    assert f"holds task {number} twice" in refuses("--model_name predictor --collect")
    path.write_text("".join(lines))
    assert build("--model_name predictor --collect")[0] == 0


@pytest.mark.parametrize("text", ["3-1", "1-2-4", "x", "1-", "-1", "", "0-999999999"])
def test_shard_numbers_that_are_none(build, text):
    code, err = build(f"--model_name predictor --imgnet images --index={text}")
    assert code == 2
    assert "--index" in err
    assert "Traceback" not in err
    assert not SHARDS.exists()


def test_a_ray_cluster_that_does_not_answer(world, refuses):
    pytest.importorskip("ray")
    assert "--ray-address 127.0.0.1:1" in refuses(f"{BUILD} --ray-address 127.0.0.1:1")


def test_sizes_of_the_predictor_are_checked(world, build, command, refuses):
    assert build(f"{BUILD} --num-arch 2")[0] == 0
    assert build("--model_name predictor --collect")[0] == 0
    small = "--search-space ofa_mbv3 --nz 8 --num-sample 2 --gpu cpu"
    assert command(f"--model predictor --hs 12 --max-epoch 1 {small}")[0] == 0
    assert "has --hs 12, not 512" in refuses("--model_name generator --hs 512 --nz 8 --num-tasks 4")


def test_shards_of_other_options_do_not_mix(world, build, refuses):
    assert build(BUILD)[0] == 0
    assert "num_archs 1, this command has 2" in refuses(f"{BUILD} --num-arch 2")
    assert build(f"{BUILD} --index 1 --num-calibration 9")[0] == 0
    assert "differ in num_calibration" in refuses("--model_name predictor --collect")


def test_nothing_to_collect_and_nothing_overwritten(world, build, refuses):
    assert "There are no shards" in refuses("--model_name predictor --collect")
    assert build(BUILD)[0] == 0
    assert build("--model_name predictor --collect")[0] == 0
    assert "--overwrite" in refuses("--model_name predictor --collect")
    assert "--imgnet is missing" in refuses("--model_name predictor")


def test_architectures_that_are_trained_from_scratch(world, build, space, monkeypatch):
    """The same engine measures NAS-Bench-201: its networks learn the task's own images."""
    monkeypatch.setattr("metad2a.spaces.nasbench201.network.CELLS_PER_STAGE", 1)
    line = f"{BUILD} --search-space nasbench201 --epochs 1".replace("--num-tasks 3", "--num-tasks 2")
    code, err = build(line)
    assert code == 0, err
    assert build("--model_name predictor --search-space nasbench201 --collect")[0] == 0
    tuples = load_tuples("predictor", space, "data", 12)
    assert len(tuples.archs) == 2
    assert ((tuples.accuracy >= 0) & (tuples.accuracy <= 100)).all()


def test_the_split_keeps_tasks_together():
    task = torch.tensor([0] * 5 + [1] * 3 + [2] * 7 + [3] * 5)
    split, num_validation = split_by_task(task)
    assert sorted(split.tolist()) == list(range(20))
    assert 1 <= num_validation <= 7
    assert not set(task[split[:num_validation]].tolist()) & set(task[split[num_validation:]].tolist())
