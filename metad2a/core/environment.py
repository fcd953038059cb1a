"""Parts of a run: its device, random generators, log and provenance."""

import ctypes
import math
import os
import platform
import re
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.messages import log

if TYPE_CHECKING:
    import torch


def choose_device(gpu: str | None, say: bool = True) -> "torch.device":
    """The device of `--gpu`: a CUDA device number, "cpu", or None for the first GPU if there is one, else the CPU.

    A GPU becomes the current one, so that nothing is allocated on another. `say` tells whether a missing CUDA is said.
    Raises a UserError if the value is not a number, or CUDA has no such device.
    """
    import torch

    if gpu == "cpu" or (gpu is None and not torch.cuda.is_available()):
        return torch.device("cpu")
    gpu = gpu or "0"
    if not (gpu.isascii() and gpu.isdigit()):
        raise UserError(f"--gpu takes a device number or cpu, not {gpu!r}.")
    if not torch.cuda.is_available():
        if say:
            log.info(f"CUDA is not available on this machine: --gpu {gpu} is ignored, running on the CPU.")
        return torch.device("cpu")
    if int(gpu) >= torch.cuda.device_count():
        raise UserError(f"There is no GPU {gpu}: this machine has {torch.cuda.device_count()}, numbered from 0.")
    device = torch.device(f"cuda:{gpu}")
    torch.cuda.set_device(device)
    return device


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks instead of returning them to the system; other C libraries are left alone.

    Each training step allocates the same large tensors again, and mapping them anew costs a quarter of it on two cores.
    This is for whole processes of this program, commands and workers. A notebook keeps its own allocator.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def peak_gb() -> float:
    """Peak memory of this process in GB; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 ** (3 if sys.platform == "darwin" else 2)  # bytes on macOS, KB elsewhere


def memory_gb() -> float:
    """Memory of this machine, or what its container may use, in GB (10^9 bytes); 0 if it is not known."""
    sizes = []
    with suppress(AttributeError, ValueError, OSError):  # Windows
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ValueError, OSError):
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes, default=0) / 1e9


def peak_memory() -> str:
    """Peak memory of this process, and on its GPU, as text."""
    text = f"{peak:.2f} GB" if (peak := peak_gb()) else "unknown on this system"
    torch = sys.modules.get("torch")
    gpu = torch.cuda.max_memory_allocated() / 1024**3 if torch and torch.cuda.is_available() else 0
    return text + (f", {gpu:.2f} GB on the GPU" if gpu else "")


def send(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Copy a tensor from the host to a device. The host does not wait for a GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def random_generator(seed: int, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """A separate random generator, so that no other use of randomness can shift a result."""
    import torch

    return torch.Generator(device).manual_seed(seed)


def cosine(done: float) -> float:
    """Cosine decay: the share of the first learning rate, from 1 to 0, after the share `done` of all steps."""
    return 0.5 * (1 + math.cos(math.pi * done))


def command_line() -> str:
    """The command that runs, as a user would type it."""
    return shlex.join(["python", display_path(Path(sys.argv[0])), *sys.argv[1:]])


def torch_version() -> str:
    """The version of PyTorch as `torch.__version__` says it, read without the import, which takes seconds."""
    if torch := sys.modules.get("torch"):
        return str(torch.__version__)
    spec = find_spec("torch")
    for folder in (spec and spec.submodule_search_locations) or ():
        with suppress(OSError):
            text = Path(folder, "version.py").read_text(encoding="utf-8")
            if match := re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE):
                return match[1]
    from importlib.metadata import version  # takes longer to import than to use

    return version("torch")


def provenance(seed: int, **sources: Any) -> dict[str, Any]:
    """Where a result comes from: command, seed, time, versions and the given sources, as text and numbers."""
    return {
        "command": command_line(),
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch_version(),
        **{name: value if isinstance(value, int | float) else str(value) for name, value in sources.items()},
    }


class TextLog:
    """Appends dated lines to a file and repeats them on standard error."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, text: str) -> None:
        log.info(text)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
