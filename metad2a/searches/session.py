"""What a meta-test loads: search space, the dataset's classes, and for models their checkpoints and features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.core.files import display_path
from metad2a.core.messages import log
from metad2a.core.values import check_writable
from metad2a.data.feature_files import find_features, own_features, shipped_classes, shipped_features
from metad2a.data.options import DATASETS, ProcessOptions
from metad2a.metatrain.options import Kind
from metad2a.rankings import universal
from metad2a.searches.limits import Limits
from metad2a.searches.options import PREDICTOR, UNIVERSAL, SessionOptions
from metad2a.spaces.base import SearchSpace

if TYPE_CHECKING:  # a search that only reads tables starts without PyTorch
    from metad2a.data.features import Features
    from metad2a.metatrain.checkpoints import Checkpoint

IMAGES_PER_CLASS = 100  # of a dataset that a search processes first


@dataclass(frozen=True)
class Classes:
    """The classes of the dataset that a search is for."""

    number: int
    names: list[str]  # empty if nobody has looked at the images
    counts: list[int]  # images of each of the names
    source: str  # the images, or the file of their features
    own: bool  # whether the images are the user's: then no benchmark knows accuracies on them

    @staticmethod
    def of_features(features: "Features", own: bool) -> "Classes":
        names, counts = features.class_names, features.counts.tolist()
        return Classes(len(names), names, counts, features.source, own or bool(features.listing))


def find_classes(options: SessionOptions) -> Classes:
    """The classes of a dataset, for a ranking that does not look at images: from its folder, features or name. Raises a
    UserError if the folder has no classes, or nothing is known of the name."""
    name = options.data_name
    if options.image_folder:
        from metad2a.data.user_folder import open_checked_parts
        from metad2a.reports.dataset import say_what_is_there

        images, test = open_checked_parts(name, options.image_folder, options.data_path)
        counts = np.bincount(images.labels[images.select()]).tolist()
        say_what_is_there(images, test)
        return Classes(len(images.class_names), images.class_names, counts, images.origin, own=True)
    own, shipped = own_features(name, options.data_path), shipped_features(name)
    if own is None and shipped is not None:
        names, counts = shipped_classes(shipped, name)
        return Classes(len(names), names, counts, display_path(shipped), own=False)
    if own is None and name in DATASETS:
        return Classes(DATASETS[name], [], [], f"the official images of {name}, unread", own=False)
    path = find_features(name, options.data_path)
    from metad2a.data.features import load_features  # imports PyTorch

    return Classes.of_features(load_features(path, name), own=False)


def features_file(options: SessionOptions, extractor: str) -> Path:
    """The features of the dataset: the user's file, a file made here from images by the `extractor` of the checkpoints,
    or the shipped features. Raises a UserError if the dataset has neither features nor images."""
    name, data_path, folder = options.data_name, options.data_path, options.image_folder
    own = Path(data_path) / f"{name}bylabel.pt"
    if own.is_file():
        log.info(f"Using {own}, made earlier.")
        return own
    shipped = shipped_features(name)
    if shipped is not None and not folder and not _official_files(name, data_path):
        log.info(f"No {name}bylabel.pt in {data_path}: using the shipped features.")
        return shipped

    if not folder and name not in DATASETS:
        return find_features(name, data_path)  # raises, naming what is missing
    from metad2a.data.make_features import make_features  # torchvision takes seconds to import

    check_writable(data_path, f"--data-path {data_path}")  # before the features are made
    device = options.device
    how = ProcessOptions(
        name,
        folder,
        data_path=data_path,
        extractor=extractor,
        gpu=str(device.index) if device.type == "cuda" else "cpu",
        max_per_class=IMAGES_PER_CLASS,
        seed=options.seed,
        mirror=options.mirror,
    )
    return make_features(how)


def _official_files(name: str, data_path: str) -> bool:
    if not (Path(data_path) / "raw-data" / name).is_dir():
        return False
    from metad2a.data.datasets import official_files_are_there  # torchvision takes seconds to import

    return official_files_are_there(name, data_path)


class Session:
    """The search space, the dataset and the models that a meta-test needs, loaded once.

    Features are made and loaded only for models: `features` is missing without them, but `classes` is always there.
    """

    features: "Features"

    def __init__(self, options: SessionOptions, kinds: Sequence[Kind]):
        self.options = options
        self.space: SearchSpace = spaces.get(options.search_space)
        if options.device_latency:
            self.space.device_latency(options.device_latency)  # refuses an unknown device before anything takes time
        self.models: dict[str, Any] = {}
        self.checkpoints: dict[str, Checkpoint] = {}
        self.sources: dict[str, Any] = {}
        for kind in kinds:  # --load-epoch means the first of them
            self._load(kind, options.load_epoch if kind == kinds[0] else None)
        if kinds:
            from metad2a.metatrain.models import supernet_sizes  # imports PyTorch

            self.space = self.space.sized(**supernet_sizes(*self.checkpoints.values()))
        self.space = self.space.sized(options.image_size)
        if not self.space.fixed_size:
            self.sources |= {"image_size": self.space.image_size, "width_mult": self.space.width_mult}
        if options.ranking == UNIVERSAL:
            self._check_universal()
        if (options.ranking == UNIVERSAL or "predictor" in kinds) and not self.space.fixed_size:
            log.info(f"Costs and latency are those of {self.space.size_text}.")
        self.classes = self._load_features() if kinds else find_classes(options)
        self.sources["features" if kinds else "dataset"] = self.classes.source
        self.limits = Limits(options, self.space, self.classes.number)

    def _load_features(self) -> Classes:
        from metad2a.data.features import check_extractor, check_images, load_features

        options, checkpoints = self.options, self.checkpoints
        extractor = next(iter(checkpoints.values())).extractor.split("-")[0]
        made_earlier = (Path(options.data_path) / f"{options.data_name}bylabel.pt").is_file()
        features = load_features(features_file(options, extractor), options.data_name)
        if options.image_folder and made_earlier:
            check_images(features, options.image_folder)
        for name, checkpoint in checkpoints.items():
            check_extractor(features, checkpoint.extractor, self.models[name].config.feature_dim, name)
        self.features = features.to(options.device)
        return Classes.of_features(features, own=bool(options.image_folder))

    def _check_universal(self) -> None:
        """Note the universal ranking among the sources. Raises a UserError if the ranking does not know the generator's
        supernet, or the image size."""
        if self.space.architectures is not None:
            self.sources["ranking"] = display_path(universal.SHIPPED)
            return
        from metad2a.rankings import subnets  # imports PyTorch

        self.sources["ranking"] = display_path(subnets.SHIPPED)
        subnets.check_image_size(self.space.image_size)
        if self.space.width_mult != 1:
            raise UserError(
                f"{self.sources['generator']} uses width {self.space.width_mult:g}; the shipped ranking covers only "
                f"width 1. Give --ranking {PREDICTOR} and a predictor of that supernet."
            )

    def _load(self, kind: Kind, epoch: int | None) -> None:
        from metad2a.metatrain.models import find_checkpoint, load_model

        options = self.options
        given = options.generator_checkpoint if kind == "generator" else options.predictor_checkpoint
        path = find_checkpoint(kind, self.space, options.save_path, epoch, given)
        model, checkpoint = load_model(kind, self.space, path, options.device, options.hs, options.nz)
        self.models[kind], self.checkpoints[kind] = model, checkpoint
        self.sources[kind] = display_path(path)
