"""Commands on a GPU: python -m pytest -m gpu. Their results are those of the CPU, or what the CPU can read and use."""

import csv
import json
from pathlib import Path

import pytest
import torch
from helpers.images import write_images
from helpers.train import line as train_line

from metad2a import spaces
from metad2a.networks import load_network
from metad2a.spaces.ofa_mbv3.layers import SMALLEST

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA has no GPU"),
    pytest.mark.usefixtures("authors_data"),
]


@pytest.fixture
def on_gpu(command):
    """Run a command that must use the GPU; returns its standard output."""

    def run(line):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        code, out, err = command(f"{line} --gpu 0")
        assert code == 0, err
        assert torch.cuda.max_memory_allocated() > before
        return out

    return run


@pytest.fixture
def images():
    write_images(Path("images"), n=20)


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def only(pattern, folder="results"):
    [path] = Path(folder).rglob(pattern)
    return path


@pytest.mark.usefixtures("toy_checkpoints")
def test_search(on_gpu, space):
    on_gpu("search pets --ranking predictor --num-gen-arch 20")
    rows = rows_of(only("ranking_run_1.csv"))
    scores = [float(row["predicted_accuracy"]) for row in rows]
    assert len(rows) == 20
    assert scores == sorted(scores, reverse=True)
    assert all(space.from_text(row["architecture"]) == row["architecture"] for row in rows)


def test_a_network_trained_on_a_gpu_predicts_the_same_on_a_cpu(command, on_gpu, images):
    on_gpu(train_line("--export pt2", epochs=4))
    path = only("network.pt")
    assert path.with_suffix(".pt2").is_file()
    on_gpu(f"predict --network {path} --images images --output gpu.csv")
    assert command(f"predict --network {path} --images images --output cpu.csv --gpu cpu")[0] == 0
    for there, here in zip(rows_of("gpu.csv"), rows_of("cpu.csv"), strict=True):
        assert there["image"] == here["image"]
        assert float(there["confidence"]) == pytest.approx(float(here["confidence"]), abs=0.01)
    right = [row["class"] == Path(row["image"]).parent.name for row in rows_of("gpu.csv")]
    assert sum(right) / len(right) > 0.6


@pytest.mark.parametrize("more", ["", "--from-scratch --max-flops 30"], ids=["all ways", "new networks"])
def test_a_search_on_a_budget(on_gpu, images, more):
    out = on_gpu(f"search images --data-name toy --budget 6e --export pt2 {more}")
    value = json.loads(only("result.json").read_text())
    assert f"chosen: {value['choice']['title']}" in out
    assert value["spent"]["epochs"] <= 6.01
    assert load_network(only("network.pt")).architecture == value["choice"]["architecture"]


def test_fine_tuning_and_evaluation(command, on_gpu, images):
    on_gpu("train-supernet --imgnet images --width-mult 0.1 --image-size 16 --epochs 2 --batch-size 8 --save-path net")
    arch = spaces.get("ofa_mbv3").to_text(SMALLEST).replace(" ", "")
    line = f"finetune --data-name toy --image-folder images --supernet net/supernet.pt --arch {arch} --valid-share 0.2"
    on_gpu(f"{line} --epochs 0 --num-calibration 20 --save-path there")
    assert command(f"{line} --epochs 0 --num-calibration 20 --save-path here --gpu cpu")[0] == 0
    there, here = (json.loads(only("result.json", place).read_text())["test"] for place in ("there", "here"))
    assert there == pytest.approx(here, abs=10)  # a close image may fall on the other side
    on_gpu(f"{line} --epochs 1 --batch-size 16 --save-path trained")
    on_gpu(f"{line} --epochs 2 --batch-size 16 --save-path trained --resume")


def test_rivals(on_gpu, images):
    methods = "random,naswot,darts,gdas,pc-darts,mdenas-supernet,lpt,task-similarity"
    sizes = "--channels 4 --cells 1 --search-epochs 1,2 --epochs 1 --batch-size 8"
    on_gpu(f"compare --form real --data-name toy --image-folder images --methods {methods} --budget 2epochs {sizes}")
    rows = rows_of(only("comparison.csv"))
    assert [row["method"] for row in rows] == methods.split(",")
    assert all(0 <= float(row["accuracy"]) <= 100 for row in rows)
