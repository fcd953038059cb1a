"""Train a supernet by the sandwich rule: at every step the largest subnet learns the labels, and the smallest and
random subnets learn the outputs of the largest (Yu and Huang, ICCV 2019). As in Once-for-All's progressive shrinking,
the first epochs can train only the largest subnet.

Dimensions: B images of a batch, C classes.
"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from typing_extensions import TypedDict

from metad2a.core.environment import TextLog, cosine, peak_memory, provenance, random_generator, send
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.core.progress import progress
from metad2a.core.schema import Text, check
from metad2a.core.tensors import check_progress
from metad2a.core.training_run import TrainingRun
from metad2a.data.imagenet import ImagesByClass, open_imagenet
from metad2a.spaces.ofa_mbv3 import supernet
from metad2a.spaces.ofa_mbv3.evaluator import calibrate, centered
from metad2a.spaces.ofa_mbv3.layers import LARGEST, SMALLEST
from metad2a.spaces.ofa_mbv3.options import SupernetOptions
from metad2a.spaces.ofa_mbv3.space import OFAMobileNetV3
from metad2a.training.classifier import accuracy

FILE = "supernet.pt"
# Options that may differ when a run is resumed; the images' digest covers the classes
FREE = ("gpu", "imgnet", "class_names", "class_order", "save_path", "num_workers", "resume", "overwrite")
WARM_UP = 0.05  # share of the steps in which the learning rate rises
LABEL_SMOOTHING = 0.1
MAX_NORM = 5.0
NUM_CHECKED = 2000  # held-out images in the check after every epoch, and training images to calibrate it


class _Training(TypedDict):
    optimizer: dict[Text, Any]
    scheduler: dict[Text, Any]
    rng: Any
    identity: dict[Text, Any]


class _Run:
    """The supernet and everything else that changes during training."""

    def __init__(self, options: SupernetOptions, num_steps: int):
        torch.manual_seed(options.seed)
        names = options.class_names
        self.config = supernet.SupernetConfig(len(names), options.width_mult, options.image_size, names)
        self.net = supernet.build_supernet(self.config).to(options.device, memory_format=torch.channels_last)
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        rest = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr)
        rise = max(1, round(WARM_UP * num_steps))

        def factor(step: int) -> float:
            return (step + 1) / rise if step < rise else cosine((step - rise) / max(1, num_steps - rise))

        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.rng = random_generator(options.seed)
        self.epoch = 0

    def save(self, path: Path, training_run: TrainingRun) -> None:
        training = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": self.rng.get_state(),
            "identity": training_run.identity,
        }
        more = {"epoch": self.epoch, "training": training, "history": training_run.history}
        supernet.save_supernet(path, self.net, self.config, **more)

    def restore(self, path: Path, training_run: TrainingRun) -> None:
        value = supernet.read_supernet(path)
        hint = "Start anew with --overwrite."
        training = value.get("training") or {}
        training_run.check(training.get("identity"), path)
        training = check(path, training, _Training, "a supernet to resume from", hint)
        check_progress(path, training, self.optimizer, self.scheduler, self.rng, hint)
        self.net.load_state_dict(value["state_dict"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.scheduler.load_state_dict(training["scheduler"])
        self.rng.set_state(training["rng"])
        self.epoch = value["epoch"]


def train_supernet(options: SupernetOptions) -> Path:
    """Train, and save the state after every epoch to `save_path`/supernet.pt; returns that file. Raises a UserError if
    images are missing, an earlier run is in the way, or the loss is not finite."""
    folder = Path(options.save_path)
    with TrainingRun(folder, (FILE,), options.resume, options.overwrite) as training_run:
        training, held_out = open_imagenet(options.imgnet, options.class_names, options.image_size)
        classes = list(range(len(options.class_names)))
        numbers, labels = training.numbers(classes), training.labels(classes)
        supernet.check_batches(options.batch_size, len(numbers))
        fixed = {name: value for name, value in asdict(options).items() if name not in FREE}
        identity = fixed | {"images": training.source.digest(numbers.numpy())}
        training_run.begin(identity, provenance(options.seed, imgnet=options.imgnet))
        steps = len(_batches(numbers, options.batch_size))
        run = _Run(options, steps * options.epochs)
        record = TextLog(folder / "log.txt")
        if options.resume:
            run.restore(folder / FILE, training_run)
        log.info(f"{len(numbers)} training images of {len(classes)} classes, {steps} steps an epoch")
        while run.epoch < options.epochs:
            loss = _epoch(run, training, numbers, labels, options)
            run.epoch += 1
            run.save(folder / FILE, training_run)
            figures = _check(run, training, held_out)
            record(f"epoch {run.epoch} loss {loss:.4f} " + " ".join(f"{k} {v:.2f}" for k, v in figures.items()))
    log.info(f"peak memory {peak_memory()}")
    return folder / FILE


def _epoch(
    run: _Run, images: ImagesByClass, numbers: torch.Tensor, labels: torch.Tensor, options: SupernetOptions
) -> float:
    """One pass over the training images; returns the largest subnet's mean loss."""
    space = OFAMobileNetV3()
    run.net.train()
    order = torch.randperm(len(numbers), generator=run.rng)
    batches, total = _batches(order, options.batch_size), torch.zeros((), device=options.device)
    pixels = images.read([numbers[rows] for rows in batches], options.num_workers)
    bar = progress(batches, desc=f"epoch {run.epoch + 1}/{options.epochs}", leave=False, unit="batch")
    for rows, part in zip(bar, pixels, strict=True):
        x = send(images.augmented(part, run.rng), options.device)
        smaller = []
        if run.epoch >= options.largest_epochs:
            smaller = [SMALLEST, *space.sample(options.num_random, run.rng)]
        run.optimizer.zero_grad()
        loss = sandwich(run.net, x, send(labels[rows], options.device), smaller)
        nn.utils.clip_grad_norm_(run.net.parameters(), MAX_NORM)
        run.optimizer.step()
        run.scheduler.step()
        total += loss
    mean = total.item() / len(batches)
    if not math.isfinite(mean):
        raise UserError(f"The loss became {mean} in epoch {run.epoch + 1}: try a smaller --lr.")
    return mean


def _batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Parts of `size`. A single image that is left over joins the last part, because batch norm needs two."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def sandwich(
    net: nn.Module, x: torch.Tensor, labels: torch.Tensor, smaller: list[dict[str, list[int]]]
) -> torch.Tensor:
    """Add up the gradients of the largest subnet on labels (B,) and of smaller subnets on its outputs (B, C). Returns
    the largest subnet's loss, a scalar."""
    net.set_active_subnet(LARGEST["ks"], LARGEST["e"], LARGEST["d"])
    logits = net(x)  # (B, C)
    loss = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
    loss.backward()
    target = logits.detach().softmax(dim=1)
    for arch in smaller:
        net.set_active_subnet(arch["ks"], arch["e"], arch["d"])
        F.cross_entropy(net(x), target).backward()
    return loss.detach()  # no .item(): the host must not wait for the device inside an epoch


def _check(run: _Run, training: ImagesByClass, held_out: ImagesByClass) -> dict[str, float]:
    """Held-out accuracy (%) of the largest and the smallest subnet on all classes."""
    classes, rng, figures = list(range(len(training.by_class))), random_generator(0), {}
    numbers, labels = held_out.numbers(classes), held_out.labels(classes)
    rows = torch.randperm(len(numbers), generator=rng)[:NUM_CHECKED]
    calibration = training.numbers(classes)
    calibration = calibration[torch.randperm(len(calibration), generator=rng)[:NUM_CHECKED]]
    for name, arch in (("largest", LARGEST), ("smallest", SMALLEST)):
        network = supernet.subnet(run.net, arch)
        calibrate(network, training, calibration)
        figures[name] = accuracy(network, centered(held_out, numbers[rows], labels[rows]))
    return figures
