"""Command lines that train an architecture, and their results."""

from pathlib import Path

from helpers.networks import SMALL


def line(tail="", arch=SMALL, name="toy", epochs=2, runs=1, batch=16):
    return (
        f"--gpu cpu --model train_arch --arch {arch} --data-name {name} --image-folder images --epochs {epochs} "
        f"--num-runs {runs} --batch-size {batch} {tail}"
    )


def results(name="toy"):
    return sorted(path.parent for path in Path("results/train_arch").glob(f"{name}/*/result.json"))
