"""Which layer and input size of EfficientNet-Lite0 suit the predictor: python benchmarks/features.py --image-folder DIR

Features of the 600 ImageNet classes are taken at each layer and size, and a small predictor (H = 128, learning rate
3e-4) is trained on each for a few epochs. Only the validation tuples decide; figures are their Pearson correlation.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metad2a.data.extraction import ExtractOptions, extract

from metad2a.core.cli import gpu_option, positive_int, run
from metad2a.core.environment import choose_device
from metad2a.data.extractors import ExtractorSpec
from metad2a.data.image_source import image_folder
from metad2a.metatrain.checkpoints import read_checkpoint
from metad2a.metatrain.fit import BEST
from metad2a.metatrain.options import MetaTrainOptions
from metad2a.metatrain.train import train_model
from metad2a.metatrain.tuples import FEATURES_NAME

WIDTHS = {"block10": 112, "block14": 192, "block15": 320, "head": 1280}


def study(args: argparse.Namespace) -> None:
    device = choose_device(args.gpu)
    source = image_folder(FEATURES_NAME, args.image_folder, args.class_order)
    for variant in args.variants.split(","):
        layer, size = variant.split("@")
        spec = ExtractorSpec("efficientnet_lite0", layer, int(size), WIDTHS[layer])
        with tempfile.TemporaryDirectory() as folder:
            how = ExtractOptions("efficientnet_lite0", device, 32, 0, spec)
            extract(source, source.select(None, 0), how).save(Path(folder) / f"{FEATURES_NAME}bylabel.pt")
            for path in Path(args.data_path).glob("meta_train_*.pt"):
                shutil.copy(path, folder)
            where = {
                "data_path": folder,
                "save_path": folder,
                "device": device,
                "max_epoch": args.max_epoch,
                "lr": 3e-4,
            }
            train_model(MetaTrainOptions(model="predictor", hs=128, allow_pickle=args.allow_pickle, **where))
            best = read_checkpoint(Path(folder) / "predictor" / "model" / BEST, "predictor", "").metrics["correlation"]
        print(f"{layer:<8} {WIDTHS[layer]:>5} features  {size:>4} px  {best:.3f}", flush=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-folder", required=True, help="one sub-folder of images a class")
    parser.add_argument("--class-order", help="text file whose lines start with a sub-folder's name, in class order")
    parser.add_argument("--variants", default="block10@96,block14@96,block15@64,block15@96,block15@128,head@96")
    parser.add_argument("--max-epoch", type=positive_int, default=8)
    parser.add_argument("--data-path", default="data", help="of the meta-training database (default data, or shipped)")
    parser.add_argument("--allow-pickle", action="store_true", help="read the authors' database")
    gpu_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(build_parser(), study))
