"""How good a trained network is on the test part, class by class, and what a linear classifier reaches there.

Dimensions: N test images, K classes, M training images, D feature width.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from metad2a.core.environment import random_generator
from metad2a.core.statistics import share_interval
from metad2a.data.extractors import SPECS
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.training.classifier import normalized

EXTRACTOR = "efficientnet_lite0"
PER_CLASS = 100  # training images of the linear classifier, as many as a search stores features of
MOST_TESTED = 10_000
AT_ONCE = 128
DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of its weights; the validation part chooses
STEPS = 100
Confusion = Annotated[torch.Tensor, "(K, K) long: images of class i that were taken for class j"]


@torch.inference_mode()
def confusion(network: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], classes: int) -> Confusion:
    """Count what each class was taken for.

    Args:
        batches: images (B, 3, H, W), normalised, and their labels (B,).
    """
    network.eval()
    device = next(network.parameters()).device
    counts = torch.zeros(classes * classes, dtype=torch.long, device=device)
    for images, labels in batches:
        found = network(images.to(device)).argmax(dim=1)
        counts += torch.bincount(labels.to(device) * classes + found, minlength=classes * classes)
    return counts.view(classes, classes).cpu()


def judge(network: nn.Module, data: ImageData) -> dict[str, Any]:
    """Accuracy (%) on `x-test` with its 95 % interval, of all and of each class, and the confusion matrix."""
    device = next(network.parameters()).device
    counts = confusion(network, normalized(data.test, data, device), len(data.class_names))
    return {**_share(int(counts.diagonal().sum()), int(counts.sum())), "classes": per_class(counts, data.class_names),
            "confusion": counts.tolist()}  # fmt: skip


def per_class(counts: Confusion, names: list[str]) -> list[dict[str, Any]]:
    """Accuracy of each class that has test images."""
    rows = zip(names, counts.diagonal().tolist(), counts.sum(dim=1).tolist(), strict=True)
    return [{"class": name, "images": total, **_share(right, total)} for name, right, total in rows if total]


def _share(right: int, total: int) -> dict[str, float]:
    percent = 100 * right / total
    low, high = share_interval(percent, total)
    return {"accuracy": percent, "low": low, "high": high}


def linear_baseline(data: ImageData, device: torch.device, seed: int) -> dict[str, Any]:
    """What logistic regression on ImageNet features reaches on `x-test` (%), with its 95 % interval.

    It learns from up to 100 training images of each class, as many as a search stores features of; its weight decay is
    chosen on `x-valid`.
    """
    train = data.train[_some(data.train.labels, len(data.class_names), seed)]
    test = data.test[torch.arange(0, len(data.test), max(1, len(data.test) // MOST_TESTED))]
    parts = [_features(part, data.name, device) for part in (train, data.valid, test)]
    mean, std = parts[0].mean(dim=0), parts[0].std(dim=0).clamp_min(1e-6)
    x, valid, tested = ((part - mean) / std for part in parts)
    fits = [_fit(x, train.labels, len(data.class_names), decay) for decay in DECAYS]
    right = [int((model(valid).argmax(dim=1) == data.valid.labels).sum()) for model in fits]
    best = fits[right.index(max(right))]
    hits = int((best(tested).argmax(dim=1) == test.labels).sum())
    return {"features": SPECS[EXTRACTOR].identity, "train": len(train), "test": len(test), **_share(hits, len(test))}


def _some(labels: torch.Tensor, classes: int, seed: int) -> torch.Tensor:
    """Numbers of up to `PER_CLASS` images of each class, drawn with `seed`."""
    order = torch.randperm(len(labels), generator=random_generator(seed))
    return torch.cat([order[labels[order] == label][:PER_CLASS] for label in range(classes)])


@torch.inference_mode()
def _features(images: LabelledImages, name: str, device: torch.device) -> torch.Tensor:
    """(M, D) features of images, on the CPU."""
    from metad2a.data.extractors import Extractor

    network = Extractor(EXTRACTOR, name).to(device)
    return torch.cat([network.embed(part.permute(0, 3, 1, 2)).float() for part in images.pixels.split(AT_ONCE)])


def _fit(x: torch.Tensor, labels: torch.Tensor, classes: int, decay: float) -> nn.Linear:
    """Logistic regression of features (M, D), from zero weights."""
    model = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(model(x), labels) + decay * model.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return model.requires_grad_(False)


def advice(accuracy: float, baseline: dict[str, Any]) -> str:
    """What a user must be told of the linear classifier beside a network of this accuracy (%)."""
    found = (
        f"linear classifier on {baseline['features']} features of {baseline['train']} images: x-test "
        f"{baseline['accuracy']:.2f} % [{baseline['low']:.2f}, {baseline['high']:.2f}]"
    )
    if baseline["accuracy"] <= accuracy:
        return f"{found}; the network is not worse"
    return (
        f"{found}, BETTER than the network by {baseline['accuracy'] - accuracy:.2f} points: with so few images or "
        "epochs, features of a network that has seen ImageNet beat training from nothing. Use these, train longer, or "
        "collect more images"
    )
