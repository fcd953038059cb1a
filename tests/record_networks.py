"""Numbers of the benchmark authors' own networks: python tests/record_networks.py [meta_train_tasks_predictor.pt]

Recorded with xautodl 1.0.0 (PyPI, the implementation of NAS-Bench-201's authors): `TinyNetwork` with C = 16, N = 5 and
10 classes, its FLOPs and parameters by `get_model_infos` at (1, 3, 32, 32), and its logits in training and evaluation
mode, on the CPU in float64 (in float32 a batch of 3 differs by 1e-4 between processors), with the weights and images
that `fill` and `images` make without a random generator. The 20 architectures are evenly spaced among all 15,625 sorted
by FLOPs. `published` are FLOPs and parameters as the copy of the authors' database in `CownowAn/DiffusionNAG` has them:
1e-5 + (1 - 1e-5) * (x - min) / (max - min) over the space.
"""

import json
import sys
from pathlib import Path

import torch

FILE = Path(__file__).parent / "golden" / "nasbench201_networks.json"
NUM_CLASSES = 10


def wave(shape, phase):
    """Values in -1..1 that look random: decimals of a large sine, in double precision."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (2 * (1000 * torch.sin(12.9898 * numbers + phase)).remainder(1) - 1).float().view(shape)


def fill(network):
    """A network in float64, each parameter and statistic with a value that depends on its place in the state dict."""
    network = network.double()
    with torch.no_grad():
        for number, (name, tensor) in enumerate(network.state_dict().items()):
            if tensor.ndim > 1:
                tensor.copy_(wave(tensor.shape, number) * (3 / tensor[0].numel()) ** 0.5)
            elif tensor.ndim == 1:
                positive = name.endswith(("running_var", "weight"))
                tensor.copy_((1 if positive else 0) + 0.3 * wave(tensor.shape, number))
    return network


def images(n=3):
    return wave((n, 3, 32, 32), 0.5).double()


def logits(network, images):
    """Logits in training mode, then in evaluation mode, whose statistics the former has moved."""
    with torch.no_grad():
        return [network.train(mode)(images) for mode in (True, False)]


def their_network(arch):
    from xautodl.models import CellStructure
    from xautodl.models.cell_infers import TinyNetwork

    return TinyNetwork(16, 5, CellStructure.str2structure(arch), NUM_CLASSES)


def their_counts(network):
    """FLOPs and parameters, which their function gives in millions."""
    from xautodl.utils import get_model_infos

    return [round(1e6 * float(count)) for count in get_model_infos(network, (1, 3, 32, 32))]


class TheirLogits(torch.nn.Module):
    """Their network without the features that it returns beside its logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)[1]


def spread(space, n=20):
    """n architectures over the whole range of FLOPs."""
    archs = sorted(space.architectures, key=lambda arch: (space.cost(arch, NUM_CLASSES)["flops"], arch))
    return [archs[round(i * (len(archs) - 1) / (n - 1))] for i in range(n)]


def record(database=None):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from metad2a import spaces

    rows = []
    for arch in spread(spaces.get("nasbench201")):
        network = their_network(arch)
        flops, params = their_counts(network)
        both = [
            [[round(x, 7) for x in row] for row in part.tolist()]
            for part in logits(TheirLogits(fill(network)), images())
        ]
        rows.append({"arch": arch, "flops": flops, "params": params, "training": both[0], "evaluation": both[1]})
    published = json.loads(FILE.read_text())["published"] if database is None else None
    if published is None:
        tuples = torch.load(database, weights_only=False)
        published = [[tuples[key][i] for key in ("str", "flops", "params")] for i in range(0, len(tuples["str"]), 150)]
    FILE.write_text(json.dumps({"networks": rows, "published": published}, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    record(*sys.argv[1:])
