"""Several processes that train one network together, one a GPU, as `torchrun` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """This process among its peers: `rank` of `count`, and its GPU's number on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch that all of them draw alike."""
        return rows.tensor_split(self.count)[self.rank]


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that `torchrun` started, if it did; yields this one and its device."""
    values = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    processes = Processes(*map(int, values)) if None not in values else Processes()
    if processes.count == 1:
        yield processes, device
        return
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield processes, device
    finally:
        dist.destroy_process_group()
