"""The pyramid decoder: four layers of a ViT become maps of four scales, whose sum gives classes."""

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

LEVELS = 4
MOST_CHANNELS = 256  # of each scale, as in ViTDet; a narrower encoder has its own width


class PyramidDecoder(nn.Module):
    """The simple feature pyramid of ViTDet (Li et al., ECCV 2022), read by the semantic head of
    Panoptic FPN (Kirillov et al., CVPR 2019).

    Four layers of the encoder, from shallow to deep, are brought to 4, 2, 1 and 1/2 times the grid
    of patches by deconvolutions or pooling; ViTDet makes all four of the last layer. Each passes a
    1x1 and a 3x3 convolution with LayerNorm and a GELU, and is upsampled to the finest grid. A 1x1
    convolution makes classes of their sum.
    """

    reads = "layers"

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        channels = min(width, MOST_CHANNELS)
        self.scales = nn.ModuleList([
            nn.Sequential(_twice(width, width // 2), LayerNorm2d(width // 2), nn.GELU(),
                          _twice(width // 2, width // 4), _smooth(width // 4, channels)),
            nn.Sequential(_twice(width, width // 2), _smooth(width // 2, channels)),
            _smooth(width, channels),
            nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), _smooth(width, channels))])
        self.head = nn.Conv2d(channels, num_classes, 1)

    def forward(self, layers: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, 4, L, D] on a grid (rows, columns) of patches -> [B, classes, 4 rows, 4 columns]."""
        finest, *coarser = (scale(tokens.transpose(1, 2).unflatten(2, grid))
                            for scale, tokens in zip(self.scales, layers.unbind(1), strict=True))
        total = finest                                            # [B, channels, 4 rows, 4 columns]
        for scores in coarser:
            total = total + F.interpolate(scores, finest.shape[2:], mode="bilinear",
                                          align_corners=False)
        return self.head(total)


def layer_indices(depth: int) -> list[int]:
    """Return the blocks, evenly spaced to the last of `depth`, whose output the decoder reads."""
    return [max(depth * (level + 1) // LEVELS, 1) - 1 for level in range(LEVELS)]


def _twice(width: int, channels: int) -> nn.Module:
    """[B, width, h, w] -> [B, channels, 2 h, 2 w], at first by repetition: independent weights for
    the four new pixels draw a checkerboard over the map (Aitken et al., 2017)."""
    layer = nn.ConvTranspose2d(width, channels, 2, stride=2)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[..., :1, :1].expand_as(layer.weight))
    return layer


def _smooth(width: int, channels: int) -> nn.Module:
    """[B, width, h, w] -> [B, channels, h, w]."""
    return nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), LayerNorm2d(channels),
                         nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                         LayerNorm2d(channels), nn.GELU())
