"""Resize images as torchvision does, without its import, which takes as long as PyTorch's."""

import platform

import torch
import torch.nn.functional as F

ON_BYTES = ("AVX2", "AVX512")  # processors that resize bytes directly; others go through float32


def resize(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images (..., C, H, W) to (..., C, side, side), bilinear and antialiased: to the bit what
    `torchvision.transforms.v2.functional.resize` gives."""
    if images.shape[-2:] == (side, side):
        return images
    if not images.numel():
        return images.new_empty(*images.shape[:-2], side, side)
    x = images.reshape(-1, *images.shape[-3:])
    if len(x) == 1 and x.is_contiguous(memory_format=torch.channels_last):  # else PyTorch copies it
        x = x.as_strided(x.shape, (x.numel(), *x.stride()[1:]))
    exact = images.is_floating_point() or (images.device.type == "cpu" and _on_bytes())
    x = x if exact else x.float()
    x = F.interpolate(x, size=[side, side], mode="bilinear", align_corners=False, antialias=True)
    x = x if exact else x.round_().to(images.dtype)
    return x.reshape(*images.shape[:-2], side, side)


def _on_bytes() -> bool:
    return torch.backends.cpu.get_cpu_capability() in ON_BYTES or platform.machine() in ("aarch64", "arm64")
