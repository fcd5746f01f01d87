"""What a patch's token is told of its pixels beside their linear projection.

A patch projection is linear: it passes a patch's mean colours on, but neither how much they vary
nor how fine they are grained, which is what tells a lawn from a wood, or roofs from a yard, on the
ground alone.
"""

import torch
from torch import Tensor, nn

from models.linear import Linear
from utils.errors import ModelError

FEATURES = 9        # three for each channel
LEAST = 1e-4        # variance of normalised colours below which a patch counts as even


def patch_statistics(pixels: Tensor, patch: int) -> Tensor:
    """Return [B, L, 9] of normalised pixels [B, L, p * p * 3] (row, column, channel last): of each
    channel the mean, the logarithm of the deviation, and that of the root mean square step from a
    pixel to the next one, across and down."""
    with torch.autocast(pixels.device.type, enabled=False):
        colours = pixels.float().unflatten(-1, (patch, patch, 3))                # [B, L, p, p, 3]
        mean = colours.mean((2, 3))                                                     # [B, L, 3]
        variance = colours.square().mean((2, 3)) - mean.square()
        steps = sum(colours.diff(dim=axis).square().mean((2, 3)) for axis in (2, 3)) / 2
        spread = torch.cat([variance, steps], -1).clamp(min=0)
        return torch.cat([mean, (spread + LEAST).log() / 2], -1).to(pixels.dtype)


class PatchStatistics(nn.Module):
    """A linear map of `patch_statistics`, which is added to the tokens of patches of p x p pixels;
    it adds nothing at first, so that trained weights begin as they are. Raise ModelError for
    patches of one pixel, which have no step to the next one."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        if patch < 2:
            raise ModelError(f"patch_input=statistics: patches of {patch} x {patch} px do not "
                             "vary, expected 2 x 2 or more; use patch_input=pixels")
        self.patch = patch
        self.proj = Linear(FEATURES, width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return [B, L, D] of normalised pixels [B, L, p * p * 3]."""
        return self.proj(patch_statistics(pixels, self.patch))
