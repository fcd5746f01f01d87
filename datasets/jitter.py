"""Colour jitter of a tile: torchvision's adjustments of a float image, in place and several times
as fast.

Values are grey values from 0 to 255. They are clipped after each adjustment, as in torchvision, and
rounded once, at the end.

The hue turns without being computed. Let M, m and C = M - m be the largest, the least and the span
of a pixel's channels, and d_r the hue's distance from red in sixths of the colour circle. For a
turn of t sixths, torchvision's conversion there and back is

    r' = m + C clamp(2 - |d_r + t|, 0, 1)
    |d_r| = 1 + (g + b - r - m) / C,    sign of d_r = sign of g - b

and the same for green and blue, each with the other two in the order of the circle. Multiplied by
C it needs no division, so a grey pixel is no special case. Up to |t| = 1 the far side of the circle
matters to no channel, because the clamp is 0 there.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # torchvision's
WHITE = 255


def adjust_colours(image: Tensor, adjustments: Sequence[tuple[str, float]]) -> Tensor:
    """Apply colour adjustments, one after the other.

    Args:
        image: uint8 [3, H, W]; it is not changed.
        adjustments: (name, strength); strengths of "brightness", "contrast" and "saturation" are
            factors >= 0, that of "hue" is a turn of the colour circle from -1/6 to 1/6.

    Returns:
        uint8 [3, H, W].
    """
    pixels = image.flatten(1).float()  # [3, N]
    for name, strength in adjustments:
        _ADJUST[name](pixels, strength)
    return pixels.round_().to(torch.uint8).view_as(image)


def _brightness(pixels: Tensor, factor: float) -> None:
    pixels.mul_(factor).clamp_(max=WHITE)


def _contrast(pixels: Tensor, factor: float) -> None:
    """Scale the distance from the image's mean grey."""
    mean = (pixels.mean(1) @ pixels.new_tensor(LUMA)).item()
    pixels.mul_(factor).add_(mean * (1 - factor)).clamp_(0, WHITE)


def _saturation(pixels: Tensor, factor: float) -> None:
    """Scale the distance from each pixel's grey."""
    grey = pixels.new_tensor(LUMA) @ pixels  # [N]
    pixels.mul_(factor).add_(grey, alpha=1 - factor).clamp_(0, WHITE)


def _hue(pixels: Tensor, turn: float) -> None:
    """Turn the colour circle, by the formula on top of this file."""
    red, green, blue = pixels
    top = torch.maximum(red, green).clamp_(min=blue)                # [N]
    low = torch.minimum(red, green).clamp_(max=blue)                # [N]
    span = top - low                                                # [N]
    side = torch.stack([green - blue, blue - red, red - green])     # [3, N]
    way = (red + green).add_(blue).add_(top).sub_(low, alpha=2)     # [N]
    way = torch.sub(way, pixels, alpha=2).copysign_(side)           # [3, N] d C of each channel
    way.add_(span, alpha=6 * turn).abs_()
    torch.sub(span, way, alpha=1, out=pixels)
    pixels.add_(span).clamp_(min=0).clamp_(max=span).add_(low)


_ADJUST: dict[str, Callable[[Tensor, float], None]] = {
    "brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue,
}
