"""How good a trained network is on the test part, class by class, and what a linear classifier reaches there.

Dimensions: N test images, K classes, M training images, D feature width.
"""

import warnings
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
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
DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of its weights; the validation part chooses
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


def judge(network: nn.Module, data: ImageData) -> dict[str, Any]:
    """Accuracy (%) on `x-test` with its 95 % interval, of all and of each class, and the confusion matrix."""
    device = next(network.parameters()).device
    counts = confusion(network, normalized(data.test, data, device), len(data.class_names))
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
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes a second to import
    from sklearn.linear_model import LogisticRegression

    train = data.train[_sample(data.train.labels, len(data.class_names), seed)]
    test = data.test[torch.arange(0, len(data.test), max(1, len(data.test) // MOST_TESTED))]
    features = [_features(part, data.name, device).numpy() for part in (train, data.valid, test)]
    mean, std = features[0].mean(axis=0), features[0].std(axis=0, ddof=1).clip(1e-6)
    x, valid, tested = ((part - mean) / std for part in features)  # (M, D), (N, D), (N, D)
    scale = (2 if len(data.class_names) == 2 else 1) / len(x)  # two classes share one weight vector
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # validation judges unfinished fits as well
        fits = [LogisticRegression(C=scale / decay).fit(x, train.labels.numpy()) for decay in DECAYS]
    best = max(fits, key=lambda fit: np.equal(fit.predict(valid), data.valid.labels.numpy()).sum())
    hits = int(np.equal(best.predict(tested), test.labels.numpy()).sum())
    return {"features": SPECS[EXTRACTOR].identity, "train": len(train), "test": len(test), **_share(hits, len(test))}


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
