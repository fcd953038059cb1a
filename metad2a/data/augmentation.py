"""Batches of B images (H x W pixels, H = W) to a network's input: cropped, mirrored and normalised on their device."""

import torch
import torch.nn.functional as F

from metad2a.data.options import IMAGE_SIZE

PADDING = 1 / 8  # padding of the random crop, relative to the images' side: 4 of 32 pixels


def normalize(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Pixels (B, H, W, 3) uint8 to a network's input (B, 3, H, W), which keeps the channels last in memory."""
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def draw_augmentation(n: int, rng: torch.Generator, side: int = IMAGE_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Corners (n, 2) of random crops of padded images, and which images are mirrored (n,) bool."""
    corners = torch.randint(2 * round(PADDING * side) + 1, (n, 2), generator=rng)
    return corners, torch.rand(n, generator=rng) < 0.5


def crop_and_flip(pixels: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """Pad (B, H, W, 3) with black pixels, crop H x W at each image's corner, and mirror some, all at once."""
    side = pixels.shape[1]
    padded = F.pad(pixels, (0, 0, *[round(PADDING * side)] * 4))  # (B, H+8, W+8, 3) if H is 32
    return crop(padded, corners, mirrored, side)


def crop(pixels: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor, side: int) -> torch.Tensor:
    """Crop (B, H, W, 3) to (B, side, side, 3) at each image's corner, and mirror some."""
    steps = torch.arange(side, device=pixels.device)
    rows = corners[:, :1] + steps  # (B, side)
    columns = corners[:, 1:] + torch.where(mirrored[:, None], steps.flip(0), steps)  # (B, side)
    images = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[images, rows[:, :, None], columns[:, None, :]]
