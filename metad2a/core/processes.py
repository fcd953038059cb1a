"""Several processes that train one network together, one a GPU, as `torchrun` starts them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from metad2a.core.errors import UserError

MAX_WAIT = timedelta(days=7)  # for the first process to fetch and decode images


@dataclass(frozen=True)
class Processes:
    """This process among its peers: `rank` of `count`, and its GPU's number on this machine.

    Attributes:
        waiting: the group in which they wait for each other; it has no GPU and a limit of its own.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    waiting: Any = field(default=None, compare=False)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            dist.barrier(group=self.waiting)

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch that all of them draw alike."""
        return rows.tensor_split(self.count)[self.rank]


def from_environment() -> Processes:
    """This process as `torchrun` describes it in the environment; alone where it does not.

    Raises:
        UserError: the variables are there in part, or are not numbers that fit together.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name) for name in names]
    if all(value is None for value in values) or values[1:2] == ["1"]:
        return Processes()
    if not all(value is not None and re.fullmatch(r"\d{1,6}", value) for value in values):
        given = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True) if value is not None)
        raise UserError(
            f"The environment has {given}, which is not what torchrun sets: unset these variables, or start with "
            "torchrun --nproc-per-node N main.py ..."
        )
    rank, count, local_rank = (int(value or 0) for value in values)
    if rank >= count:
        raise UserError(f"The environment has RANK={rank} and WORLD_SIZE={count}: start with torchrun, or unset both.")
    return Processes(rank, count, local_rank)


def check_alone() -> None:
    """Raise a UserError where `torchrun` started several processes for a mode that uses one."""
    if from_environment().count > 1:
        raise UserError("torchrun is for --model train_arch alone: search without it, then train what was found.")


@contextmanager
def process_group(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that `torchrun` started, if it did; yields this one and its device.

    Training steps keep PyTorch's limit of minutes, after which a peer counts as lost. Waiting for the first process
    is another matter: it may have a dataset to fetch.

    Raises:
        UserError: the environment is not as `torchrun` sets it.
    """
    processes = from_environment()
    if processes.count == 1:
        yield processes, device
        return
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UserError(
            f"The environment has WORLD_SIZE={processes.count} but no {missing[0]}: start with torchrun "
            "--nproc-per-node N main.py ..., or unset RANK, WORLD_SIZE and LOCAL_RANK."
        )
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    waiting = dist.new_group(backend="gloo", timeout=MAX_WAIT)
    try:
        yield replace(processes, waiting=waiting), device
    finally:
        dist.destroy_process_group()
