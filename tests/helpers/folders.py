"""Folders of images that hold noise, as `process-dataset` reads them."""

import numpy as np
from PIL import Image

from metad2a.__main__ import main


def write_images(folder, classes=("cat", "dog"), n=3, seed=0):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def process(line):
    return main(["process-dataset", *line.split()])
