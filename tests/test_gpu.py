"""What a GPU does: python -m pytest -m gpu. Skipped where CUDA has none."""

from contextlib import contextmanager

import pytest
import torch
from helpers.meta_train import EQUAL, RAGGED, line, objective_of, toy_draws, weights
from helpers.networks import SMALL, toy_data
from tqdm import tqdm

from metad2a import spaces
from metad2a.core.environment import choose_device
from metad2a.metatrain.train import compile_costly
from metad2a.spaces.nasbench201.network import NASBench201Network
from metad2a.training.classifier import Protocol, Run, train_epoch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA has no GPU"),
    pytest.mark.usefixtures("authors_data"),
]
CUDA = torch.device("cuda", 0)
KINDS = pytest.mark.parametrize("kind", ["generator", "predictor"])
SIZES = pytest.mark.parametrize("tasks", [EQUAL, RAGGED], ids=["equal", "ragged"])


def toy_objective(kind, tasks, device):
    space = spaces.get("ofa_mbv3")
    draws, tuples = toy_draws(space, tasks, [0, 0, 1, 1, 2, 2, 3, 3], device)
    return objective_of(kind, space, draws, tuples)


def gradients(objective, batch):
    """Of the loss of a batch that is drawn, without noise, by name."""
    model, (rows, position, index) = objective.model, batch
    model.zero_grad()
    images = objective.draws.images(index)
    if hasattr(model, "set_encode"):
        mu, logvar = (vector[position] for vector in model.eval().set_encode(images))
        loss = model.loss(mu, logvar, objective.graphs[rows])[0]
    else:
        loss = (objective.scores(images, rows, position) - objective.scaled[rows]).square().sum()
    loss.backward()
    return {"loss": loss.detach()} | {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def moved(batch, device):
    rows, position, index = batch
    index = index.to(device) if torch.is_tensor(index) else type(index)(*(part.to(device) for part in index))
    return rows.to(device), position.to(device), index


def assert_near(found, wanted):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        scale = tensor.abs().max().item()
        torch.testing.assert_close(found[name].cpu(), tensor.cpu(), rtol=1e-3, atol=1e-4 * scale + 1e-7, msg=name)


@KINDS
@SIZES
def test_a_step_equals_that_of_a_cpu(kind, tasks):
    here, there = (toy_objective(kind, tasks, device) for device in (torch.device("cpu"), CUDA))
    there.model.load_state_dict(here.model.state_dict())
    batch = here.draws.batch(torch.arange(8), torch.Generator().manual_seed(0))
    assert_near(gradients(there, moved(batch, CUDA)), gradients(here, batch))


@contextmanager
def waits_are_errors():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@KINDS
@SIZES
def test_a_step_does_not_wait(kind, tasks):
    objective = toy_objective(kind, tasks, CUDA)
    optimizer = torch.optim.Adam(objective.model.parameters(), fused=True)
    rng = torch.Generator(CUDA).manual_seed(0)
    for step in range(2):  # the first allocates
        with waits_are_errors() if step else torch.enable_grad():
            loss = objective.loss(objective.training, rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert torch.isfinite(loss)


@KINDS
@SIZES
@pytest.mark.parametrize("how", [{}, {"mode": "reduce-overhead"}], ids=["compiled", "graphs"])
def test_a_compiled_step_equals_the_eager_one(kind, tasks, how):
    eager, compiled = (toy_objective(kind, tasks, CUDA) for _ in range(2))
    compiled.model.load_state_dict(eager.model.state_dict())
    compile_costly(compiled.model, how)
    for seed in range(4):  # the first ones record the graphs
        batch = eager.draws.batch(torch.arange(8), torch.Generator(CUDA).manual_seed(seed))
        assert_near(gradients(compiled, batch), gradients(eager, batch))


@KINDS
@pytest.mark.parametrize("more", ["", "--compile"])
def test_resuming_gives_the_weights_of_an_uninterrupted_run(command, kind, more):
    gpu = line(kind, f"--gpu 0 {more} --save-epoch 1")  # the last --gpu counts
    assert command(f"{gpu} --max-epoch 2 --save-path whole")[0] == 0
    assert command(f"{gpu} --max-epoch 1 --save-path parts")[0] == 0
    code, _, err = command(f"{gpu} --max-epoch 2 --save-path parts --resume")
    assert code == 0, err
    assert_near(weights(kind, "parts"), weights(kind, "whole"))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_another_gpu_than_the_first(command):
    before = torch.cuda.memory_allocated(0)
    torch.cuda.reset_peak_memory_stats(0)
    try:
        assert choose_device("1").index == 1
        assert torch.empty(1, device="cuda").device.index == 1
        assert command(line("predictor", "--gpu 1 --max-epoch 1"))[0] == 0
        assert torch.cuda.max_memory_allocated(0) == before
        assert torch.cuda.max_memory_allocated(1) > 0
    finally:
        torch.cuda.set_device(0)


def one_epoch(folder, precision="float32"):
    """Losses of two epochs of a small network."""
    data, protocol = toy_data(), Protocol(2, True, 16, precision=precision)
    torch.manual_seed(1)
    run = Run(NASBench201Network(SMALL, 3).to(CUDA), protocol, {"arch": SMALL}, 7, folder / "ckpt_last.pt")
    images = data.train.to(CUDA)
    losses = [train_epoch(run, images, data, epoch, tqdm(disable=True)) for epoch in range(2)]
    return losses


def test_epochs_in_bfloat16(tmp_path):
    exact, rough = (one_epoch(tmp_path, precision) for precision in ("float32", "bfloat16"))
    assert exact != rough
    assert rough == pytest.approx(exact, rel=0.1)
    assert rough[1] < rough[0]
