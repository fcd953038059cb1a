"""Every file that MetaD2A can fetch: where it is published, where it goes, and which command needs it.

A file without a published checksum is verified by its Content-Length and by opening it.
"""

from dataclasses import dataclass, replace

from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN, OxfordIIITPet

TRAINING = "main.py --model generator | predictor"
DROPBOX = "https://www.dropbox.com/s/{}?dl=1"
AIRCRAFT = "http://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"


@dataclass(frozen=True)
class PublishedFile:
    """A file on a server.

    Attributes:
        name: short, unique.
        address: where it is published.
        target: its path below the project; a mirror has it under the same path.
        needed_by: the command that reads it.
        md5: hexadecimal, or only the last digits, None if unknown.
        extract_to: folder to extract an archive into.
        note: shown by --list.
    """

    name: str
    address: str
    target: str
    needed_by: str
    md5: str | None = None
    extract_to: str | None = None
    note: str = ""


def _dropbox(name: str, key: str, target: str, needed_by: str, note: str = "") -> PublishedFile:
    return PublishedFile(name, DROPBOX.format(f"{key}/{target.rsplit('/', 1)[1]}"), target, needed_by, note=note)


def _features(name: str, key: str, note: str = "") -> PublishedFile:
    needed_by = TRAINING if name == "imgnet32" else f"main.py --data-name {name}"
    return _dropbox(name, key, f"data/{name}bylabel.pt", needed_by, note)


def _checkpoint(kind: str, space: str, key: str, path: str) -> PublishedFile:
    return _dropbox(f"{kind}_{space}", key, f"results/{path}", f"main.py --model {kind} --test")


def _raw(dataset: str, address: str, md5: str | None = None, folder: str = "") -> PublishedFile:
    """An official file, extracted where it lies: in `folder`, or the dataset's folder, below data/raw-data."""
    name, place = address.rsplit("/", 1)[1], f"data/raw-data/{folder or dataset}"
    needed_by = f"process_dataset.py --dataset {dataset}"
    return PublishedFile(name, address, f"{place}/{name}", needed_by, md5=md5, extract_to=place)


FEATURES = [
    _features("aircraft", "mb66kitv20ykctp", "30 manufacturers"),
    _features("cifar100", "y0xahxgzj29kffk"),
    _features("cifar10", "wt1pcwi991xyhwr"),
    _features("imgnet32", "7r3hpugql8qgi9d", "about 2.6 GB"),
    _features("pets", "mxh6qz3grhy7wcn"),
    _features("mnist", "86rbuic7a7y34e4"),
    _features("svhn", "yywaelhrsl6egvd"),
]
AIRCRAFT100 = _features("aircraft100", "nn6mlrk1jijg108", "100 variants")
META_TRAIN = [
    _dropbox(name, key, f"data/{name}.pt", TRAINING)
    for name, key in (
        ("meta_train_task_lst", "0eu01gig3gnxvk4"),
        ("meta_train_tasks_generator_idx", "reqtqut3eiyeut4"),
        ("meta_train_tasks_generator", "2qjjtfldw99sqx0"),
        ("meta_train_tasks_predictor_idx", "ziwckbuqdokmgo7"),
        ("meta_train_tasks_predictor", "wc6kylzo5ehqlem"),
    )
]
BENCHMARK_TABLE = "the authors' code; here the benchmark's table is shipped"
NASBENCH201_TABLE = _dropbox("nasbench201", "qhyhdfc9l5nborq", "data/nasbench201.pt", BENCHMARK_TABLE)
PREPROCESSED = {
    "nasbench201": [*FEATURES, *META_TRAIN, NASBENCH201_TABLE],
    "ofa_mbv3": [*(file for file in FEATURES if file.name != "aircraft"), AIRCRAFT100],
}
GENERATOR_CHECKPOINT = {
    "nasbench201": _checkpoint("generator", "nasbench201", "8sh04wxk1t43xtg", "generator/model/ckpt_400.pt"),
    "ofa_mbv3": _checkpoint("generator", "ofa_mbv3", "zss9yt034hen45h", "ofa_mbv3/generator/model/ckpt_120.pt"),
}
PREDICTOR_CHECKPOINT = {
    "nasbench201": _checkpoint("predictor", "nasbench201", "1l73vq2orv0chso", "predictor/model/ckpt_max_corr.pt"),
    "ofa_mbv3": _checkpoint("predictor", "ofa_mbv3", "ycm4jaojgswp0zm", "ofa_mbv3/predictor/model/ckpt_max_corr.pt"),
}
GENERATOR_DATABASE = PublishedFile(
    "generator_database",
    DROPBOX.format("zgip4aq0w2pkj49/generator_collected_database.pt"),
    "data/generator/processed/collected_database.pt",
    "main.py --model generator --search-space ofa_mbv3",
)
AIRCRAFT_RAW = _raw("aircraft", AIRCRAFT)
MNIST_RAW = [_raw("mnist", MNIST.mirrors[0] + file, md5, "mnist/MNIST/raw") for file, md5 in MNIST.resources]
PETS_RAW = [_raw("pets", address, md5, "pets/oxford-iiit-pet") for address, md5 in OxfordIIITPet._RESOURCES]
SVHN_FILES = [_raw("svhn", *SVHN.split_list[split][::2]) for split in ("train", "test")]
RAW_DATA = {
    "cifar10": [_raw("cifar10", CIFAR10.url, CIFAR10.tgz_md5)],
    "cifar100": [_raw("cifar100", CIFAR100.url, CIFAR100.tgz_md5)],
    "mnist": MNIST_RAW,
    "svhn": [replace(file, extract_to=None) for file in SVHN_FILES],  # no archives
    "aircraft": [AIRCRAFT_RAW],
    "aircraft100": [AIRCRAFT_RAW],
    "pets": PETS_RAW,
}
OFA_SUPERNET = PublishedFile(
    "ofa_mbv3_d234_e346_k357_w1.0",
    "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0",
    ".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0",
    "building a database for --search-space ofa_mbv3",
)
NASBENCH201_BENCHMARK = PublishedFile(
    "NAS-Bench-201-v1_1-096897.pth",
    "https://drive.usercontent.google.com/download?id=16Y0UwGisiouVRxW-W5hEtbxmcHw_0hF_&export=download&confirm=t",
    "data/NAS-Bench-201-v1_1-096897.pth",
    "python -m metad2a.spaces.nasbench201.make_tables --benchmark FILE (the table is shipped already)",
    md5="096897",
    note="4.7 GB",
)
FETCHED = {
    "mnist": MNIST_RAW,
    "aircraft": [AIRCRAFT_RAW],
    "pets": PETS_RAW,
    "generator-database": [GENERATOR_DATABASE],
    "nasbench201": [NASBENCH201_BENCHMARK],
    "ofa-supernet": [OFA_SUPERNET],
}
OF_SPACE = {
    "preprocessed-data": PREPROCESSED,
    "generator-checkpoint": {space: [file] for space, file in GENERATOR_CHECKPOINT.items()},
    "predictor-checkpoint": {space: [file] for space, file in PREDICTOR_CHECKPOINT.items()},
}


def files_of(name: str, space: str) -> list[PublishedFile]:
    """The files that `get-files NAME` fetches; some names mean other files for another search space."""
    return OF_SPACE[name][space] if name in OF_SPACE else FETCHED[name]
