"""How good a trained network is on the test part, class by class, and what a linear classifier reaches there.

Dimensions: N test images, K classes, M training images, D feature width.
"""

import math
import time
import warnings
from collections.abc import Iterable
from typing import Annotated, Any

import torch
import torch.nn as nn

from metad2a.core.environment import random_generator
from metad2a.core.statistics import share_interval
from metad2a.data.extractors import SPECS
from metad2a.data.image_data import ImageData, LabelledImages
from metad2a.training.classifier import normalized

EXTRACTOR = "efficientnet_lite0"
PER_CLASS = 100  # training images of a class for the linear classifier; a search stores features of as many
MOST_TESTED, AT_ONCE = 10_000, 128  # test images for the linear classifier, and images whose features are made at once
DECAYS = (1e-1, 1.0, 1e-2, 1e-3)  # of its weights; the validation part chooses, of equals the first
# In a limited time: products of images, classes and features in a second, and the fewest images
FITTED_A_SECOND, LEAST_FITTED = 2.5e7, 64
LOWEST = 10.0  # how far below the others' the bias of a class without images is
Confusion = Annotated[torch.Tensor, "(K, K) long: images of class i that were taken for class j"]


@torch.inference_mode()
def confusion(network: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], classes: int) -> Confusion:
    """Count what each class was taken for in `batches` of normalised images (B, 3, H, W) and their labels (B,)."""
    network.eval()
    device = next(network.parameters()).device
    counts = torch.zeros(classes * classes, dtype=torch.long, device=device)
    for images, labels in batches:
        predicted = network(images.to(device)).argmax(dim=1)
        counts += torch.bincount(labels.to(device) * classes + predicted, minlength=classes * classes)
    return counts.view(classes, classes).cpu()


def judge(network: nn.Module, data: ImageData, side: int | None = None) -> dict[str, Any]:
    """Accuracy (%) on `x-test` with its 95 % interval, of all and of each class, and the confusion matrix."""
    device = next(network.parameters()).device
    counts = confusion(network, normalized(data.test, data, device, side), len(data.class_names))
    overall = _share(int(counts.diagonal().sum()), int(counts.sum()))
    return {**overall, "classes": per_class(counts, data.class_names), "confusion": counts.tolist()}


def per_class(counts: Confusion, names: list[str]) -> list[dict[str, Any]]:
    """Accuracy of each class that has test images."""
    rows = zip(names, counts.diagonal().tolist(), counts.sum(dim=1).tolist(), strict=True)
    return [{"class": name, "images": total, **_share(right, total)} for name, right, total in rows if total]


def _share(right: int, total: int) -> dict[str, float]:
    low, high = share_interval(100 * right / total, total)
    return {"accuracy": 100 * right / total, "low": low, "high": high}


def linear_baseline(data: ImageData, device: torch.device, seed: int) -> dict[str, Any]:
    """What logistic regression on ImageNet features of a part of the images reaches on `x-test` (%), with its 95 %
    interval. `x-valid` chooses its weight decay."""
    train = data.train[_sample(data.train.labels, len(data.class_names), seed)]
    test = data.test[torch.arange(0, len(data.test), max(1, len(data.test) // MOST_TESTED))]
    x, valid, tested = (_features(part, data.name, device) for part in (train, data.valid, test))
    head = fit_linear(x, train.labels, valid, data.valid.labels, len(data.class_names))[0]
    logits = tested @ head["weight"].T + head["bias"]
    hits = int((logits.argmax(1) == test.labels).sum())
    return {"features": SPECS[EXTRACTOR].identity, "train": len(train), "test": len(test), **_share(hits, len(test))}


def fit_linear(
    x: torch.Tensor,
    labels: torch.Tensor,
    valid: torch.Tensor,
    valid_labels: torch.Tensor,
    classes: int,
    until: float = math.inf,
) -> tuple[dict[str, torch.Tensor], float]:
    """Logistic regression (`weight` (K, D), `bias` (K,)) on features (M, D) and labels (M,), and its accuracy (%) on
    the validation part, (N, D) and (N,), which chooses the weight decay. No other weight decay is tried that would end
    after the time `until`, as `time.monotonic` counts it. A class without images gets the lowest logits."""
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes a second to import
    from sklearn.linear_model import LogisticRegression

    if math.isfinite(until):
        most = max(LEAST_FITTED, int((until - time.monotonic()) * FITTED_A_SECOND / (classes * x.shape[1])))
        x, labels = x[:most], labels[:most]
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6) if len(x) > 1 else torch.ones(x.shape[1])
    known, answers = labels.unique(), labels.numpy()
    scale = (2 if len(known) == 2 else 1) / len(x)  # two classes share one weight vector
    best: tuple[dict[str, torch.Tensor], float] | None = None
    took = 0.0
    for decay in DECAYS:
        begun = time.monotonic()
        if best is not None and begun + took > until:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # validation judges unfinished fits as well
            fit = LogisticRegression(C=scale / decay).fit(((x - mean) / std).numpy(), answers)
        rows = torch.from_numpy(fit.coef_).float() / std
        bias = torch.from_numpy(fit.intercept_).float() - rows @ mean
        if len(known) == 2:
            rows, bias = torch.cat([-rows, rows]) / 2, torch.cat([-bias, bias]) / 2
        head = {"weight": torch.zeros(classes, x.shape[1]), "bias": torch.full((classes,), float(bias.min()) - LOWEST)}
        head["weight"][known], head["bias"][known] = rows, bias
        hits = ((valid @ head["weight"].T + head["bias"]).argmax(1) == valid_labels).sum()
        percent = 100 * int(hits) / len(valid_labels)
        if best is None or percent > best[1]:
            best = head, percent
        took = time.monotonic() - begun
    assert best is not None
    return best


def _sample(labels: torch.Tensor, classes: int, seed: int) -> torch.Tensor:
    """Numbers of up to `PER_CLASS` random images of each class."""
    order = torch.randperm(len(labels), generator=random_generator(seed))
    return torch.cat([order[labels[order] == label][:PER_CLASS] for label in range(classes)])


@torch.inference_mode()
def _features(images: LabelledImages, name: str, device: torch.device) -> torch.Tensor:
    """(M, D) features of images, on the CPU."""
    from metad2a.data.extractors import Extractor

    network = Extractor(EXTRACTOR, name).to(device)
    return torch.cat([network.embed(part.permute(0, 3, 1, 2)).float() for part in images.pixels.split(AT_ONCE)])
