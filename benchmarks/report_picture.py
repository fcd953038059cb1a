"""Make docs/report.png, the README's picture of a search report: python benchmarks/report_picture.py

It draws a small dataset of shapes, searches for it with a budget, and has Chromium photograph the report.
"""

import argparse
import math
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image, ImageDraw

from metad2a.core.cli import run
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT, display_path

CORNERS = {"circle": 40, "square": 4, "triangle": 3}  # classes, and the corners of their polygons
IMAGES, SIZE = 12, 48  # images of each class, pixels
WINDOW = 1040, 1290
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def draw_images(folder: Path) -> None:
    """Write images of polygons with random place, size, angle and colours, one sub-folder for each class."""
    rng = random.Random(0)
    for name, corners in CORNERS.items():
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES):
            light, dark = (tuple(rng.randrange(low, low + 100) for _ in range(3)) for low in (155, 10))
            image = Image.new("RGB", (SIZE, SIZE), light)
            x, y, radius, turn = rng.uniform(18, 30), rng.uniform(18, 30), rng.uniform(7, 15), rng.uniform(0, math.tau)
            angles = [turn + math.tau * i / corners for i in range(corners)]
            ImageDraw.Draw(image).polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], dark)
            image.save(folder / name / f"{number:02}.png")


def make(args: argparse.Namespace) -> None:
    """Search and photograph. Raises a UserError if there is no Chromium."""
    browser = args.browser or next(filter(shutil.which, BROWSERS), None)
    if browser is None:
        raise UserError("Chromium was not found: install it, or name another browser of its family with --browser.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder / "shapes")
        search = [sys.executable, str(ROOT / "main.py"), "search", "--data-name", "shapes", "--gpu", "cpu"]
        search += ["--image-folder", "shapes", "--budget", args.budget]
        subprocess.run(search, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [report] = folder.glob("results/search/shapes/*/report.html")
        picture = folder / "report.png"
        photograph = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", f"--screenshot={picture}"]
        photograph += ["--window-size={},{}".format(*WINDOW), report.as_uri()]
        subprocess.run(photograph, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        Image.open(picture).quantize(256, dither=Image.Dither.NONE).save(args.output, optimize=True)
    print(f"{display_path(Path(args.output))} is made")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", help=f"program (default: the first of {', '.join(BROWSERS)})")
    parser.add_argument("--budget", default="1m", help="of the search (default 1m)")
    parser.add_argument("--output", default=str(ROOT / "docs" / "report.png"))
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), make))
