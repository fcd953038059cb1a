"""The ways of a GPU, on a machine that pretends to have one: no operation mixes devices, and the number of the host's
waits for the device does not depend on the number of training steps."""

from pathlib import Path

import pytest
import torch
from helpers.images import write_images
from helpers.meta_train import EQUAL, RAGGED, objective_of, toy_draws
from helpers.meta_train import line as meta_train_line
from helpers.networks import SMALL, toy_data
from helpers.pretended_gpu import CUDA, pretended_gpu
from helpers.train import line as train_line

from metad2a import spaces
from metad2a.core.environment import random_generator
from metad2a.metatrain.score import encode_architectures
from metad2a.networks.judge import judge
from metad2a.rivals import fisher
from metad2a.rivals.naswot_score import NO_SCORE
from metad2a.rivals.real import ImageProblem
from metad2a.spaces.nasbench201.network import NASBench201Network
from metad2a.spaces.ofa_mbv3.layers import SMALLEST
from predictor.model import PredictorConfig, PredictorModel

COMPARE = "compare --form real --data-name toy --image-folder images --channels 4 --cells 1 --search-epochs 1,2"
KINDS = pytest.mark.parametrize("kind", ["generator", "predictor"])


@pytest.fixture
def waits(command):
    """Run a command on the pretended GPU: waits("search ...") -> line of the program -> how often it waited."""

    def run(line):
        with pretended_gpu() as gpu:
            code, _, err = command(f"{line} --gpu 0")
        assert code == 0, err
        assert gpu.operations > 0, err
        return gpu.waits

    return run


@pytest.fixture
def images():
    write_images(Path("images"), n=8)


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    numbers = torch.arange(3)
    with pretended_gpu() as gpu:
        there = numbers.to("cuda")
        refused = (
            lambda: there + numbers,
            lambda: numbers[there],
            lambda: there.numpy(),
            lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
            lambda: torch.nn.Linear(3, 3).to(CUDA)(numbers.float()),
        )
        for work in refused:
            with pytest.raises((RuntimeError, TypeError), match=r"device|cuda"):
                work()
        assert not gpu.waits  # only lines of the program are counted
        assert (there + 1).device == CUDA
        assert (there * torch.tensor(2)).cpu().tolist() == [0, 2, 4]


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_search(waits):
    few, many = (waits(f"search pets --ranking predictor --num-sample 3 --num-gen-arch {n}") for n in (5, 15))
    assert few == many
    waits("search pets --num-gen-arch 10 --report")


@KINDS
@pytest.mark.usefixtures("authors_data")
def test_meta_training_and_its_resumption(waits, kind):
    few, many = (waits(meta_train_line(kind, f"--max-epoch 1 --batch-size {n}", f"out{n}")) for n in (9, 3))
    assert few == many
    waits(meta_train_line(kind, "--max-epoch 2 --batch-size 9 --resume", "out9"))


@KINDS
@pytest.mark.parametrize("tasks", [EQUAL, RAGGED], ids=["equal", "ragged"])
@pytest.mark.parametrize("task_of_tuple", [[0, 1, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3]], ids=["alone", "grouped"])
def test_a_step_of_meta_training_does_not_wait(kind, tasks, task_of_tuple):
    with pretended_gpu() as gpu:
        draws, tuples = toy_draws(spaces.get("ofa_mbv3"), tasks, task_of_tuple, CUDA)
        losses = {"within_task_loss": float(draws.grouped)} if kind == "predictor" else {}
        objective = objective_of(kind, spaces.get("ofa_mbv3"), draws, tuples, **losses)
        rows, rng = objective.training, random_generator(0, CUDA)
        gpu.waits.clear()
        loss = objective.loss(rows, rng)
        loss.backward()
        assert not gpu.waits
        assert loss.device == CUDA
        assert all(p.grad.device == CUDA for p in objective.model.parameters() if p.grad is not None)


def test_scoring_does_not_wait(space):
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "nz": 8, "feature_dim": 6}
    with pretended_gpu() as gpu:
        model = PredictorModel(PredictorConfig(hs=12, **sizes)).to(CUDA)
        gpu.waits.clear()
        assert encode_architectures(model, space, space.sample(5, torch.Generator().manual_seed(0))).device == CUDA
        assert not gpu.waits


def test_training_prediction_and_export(waits, images):
    few, many = (waits(train_line(f"--export pt2 --save-path out{n}", epochs=1, batch=n)) for n in (10, 5))
    assert few == many
    [run] = Path("out10").rglob("network.pt")
    assert run.with_suffix(".pt2").is_file()
    waits(f"predict --network {run} --images images")
    waits(train_line("--precision bfloat16 --save-path rough", epochs=1))


def test_judging():
    data = toy_data(20)
    with pretended_gpu() as gpu:
        network = NASBench201Network(SMALL, 3).to(CUDA)
        assert 0 <= judge(network, data)["accuracy"] <= 100
        assert gpu.operations > 100


def test_features(waits, images):
    waits("process-dataset --dataset toy --image-folder images --split all --batch-size 8")


@pytest.mark.parametrize("more", ["", "--from-scratch --max-flops 30"], ids=["all ways", "new networks"])
def test_a_search_on_a_budget(waits, images, more):
    waits(f"search images --data-name toy --budget 2e {more}")


@pytest.mark.parametrize("methods", ["random", "darts", "gdas", "pc-darts", "mdenas-supernet", "lpt"])
def test_methods_that_train(waits, images, methods):
    start = f"{COMPARE} --methods {methods} --budget 1epochs --epochs 1"
    few, many = (waits(f"{start} --batch-size {n} --save-path out{n}") for n in (8, 4))
    assert few == many


def test_naswot(waits, images, monkeypatch):
    whole = ImageProblem.training_free
    few = lambda problem, archs: whole(problem, archs[:3]) + [NO_SCORE] * (len(archs) - 3)  # noqa: E731
    monkeypatch.setattr(ImageProblem, "training_free", few)
    waits(f"{COMPARE} --methods naswot --budget 1epochs --epochs 1")


def test_task_similarity_reads_no_value():
    """The pretended GPU knows no `vmap`, so the device is "meta": a tensor without values cannot be read."""
    network = fisher.small_network(3).to("meta")
    state = {name: value.detach() for name, value in network.named_parameters()}
    images, labels = torch.empty(5, 3, 32, 32, device="meta"), torch.empty(5, dtype=torch.long, device="meta")
    found = fisher.fisher(network, state, images, labels)
    assert found.is_meta
    assert len(found) == sum(value.numel() for value in state.values())


def test_the_supernet_and_fine_tuning(waits, images):
    write_images(Path("few"), n=5)
    line = "train-supernet --imgnet few --width-mult 0.1 --image-size 16 --epochs 1"
    few, many = (waits(f"{line} --batch-size {n} --save-path out{n}") for n in (8, 4))
    assert few == many
    arch = spaces.get("ofa_mbv3").to_text(SMALLEST).replace(" ", "")
    line = f"finetune --data-name toy --image-folder images --supernet out8/supernet.pt --arch {arch} --valid-share 0.2"
    few, many = (waits(f"{line} --epochs 1 --batch-size {n} --save-path out{n}") for n in (16, 4))
    assert few == many
