"""Images as a network reads them: each channel less its mean, divided by its deviation."""

from collections.abc import Sequence

import torch
from torch import Tensor

# of the colours of ImageNet, from 0 to 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(image: Tensor, mean: Sequence[float] = IMAGENET_MEAN,
              std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Return float32 (c / 255 - mean) / std of channels c in 0..255, [..., 3, H, W]."""
    scaled = image.to(torch.float32, copy=True).div_(255)
    return scaled.sub_(_channels(mean, image)).div_(_channels(std, image))


def denormalise(image: Tensor, mean: Sequence[float] = IMAGENET_MEAN,
                std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Invert `normalise`, for pictures: float [..., 3, H, W] to uint8 [..., H, W, 3], clipped."""
    pixels = (image.float() * _channels(std, image) + _channels(mean, image)) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).movedim(-3, -1)


def _channels(values: Sequence[float], image: Tensor) -> Tensor:
    return torch.tensor(values, device=image.device)[:, None, None]  # [3, 1, 1]
