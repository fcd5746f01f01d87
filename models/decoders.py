"""Decoders of tokens and of vectors, and the units in which a regression is trained."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.block import vit_block
from utils.errors import ModelError

HEAD_WIDTH = 64
SCALES = ("none", "standard", "log1p")
LARGEST_LOG = 50.0  # e^50, 5e21: no total is as large, and its square is finite


class LinearDecoder(nn.Module):
    """One Linear per token: [B, L, D] -> [B, L, classes]."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(tokens)


class MaskTransformer(nn.Module):
    """Segmenter's mask transformer (Strudel et al., ICCV 2021): patches and learned class tokens
    attend to each other.

    scores = LayerNorm_classes(normalise(patches @ Pp) @ normalise(classes @ Pc)'), both
    L2-normalised over the width D. Raise ModelError if D is no multiple of 64.

    Args:
        layers: pre-norm blocks, 2 in the paper.
        dropout: in attention, its projection and the MLP.
    """

    def __init__(self, width: int, num_classes: int, layers: int = 2, dropout: float = 0.1):
        super().__init__()
        if width % HEAD_WIDTH:
            raise ModelError(f"decoder=mask_transformer: token width {width} is no multiple of "
                             f"{HEAD_WIDTH}; choose decoder=linear")
        self.proj_dec = nn.Linear(width, width)
        self.cls_emb = nn.Parameter(torch.randn(1, num_classes, width) * 0.02)
        self.blocks = nn.Sequential(*(vit_block(width, width // HEAD_WIDTH, dropout)
                                      for _ in range(layers)))
        self.decoder_norm = nn.LayerNorm(width)
        self.proj_patch = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.proj_classes = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.mask_norm = nn.LayerNorm(num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, classes]."""
        length = tokens.shape[1]
        x = torch.cat([self.proj_dec(tokens), self.cls_emb.expand(len(tokens), -1, -1)], dim=1)
        x = self.decoder_norm(self.blocks(x))
        patches = F.normalize(x[:, :length] @ self.proj_patch, dim=-1)
        classes = F.normalize(x[:, length:] @ self.proj_classes, dim=-1)
        return self.mask_norm(patches @ classes.transpose(1, 2))


@dataclass(frozen=True)
class TargetScale:
    """The units of training in a regression: z = (f(y) - mean) / std, f(y) = y or log(1 + y)."""

    name: str = "none"  # "none" (the release: z = y), "standard", or "log1p"
    mean: float = 0.0   # of f(y) over the training tiles, as std
    std: float = 1.0

    @staticmethod
    def fit(name: str, totals: Tensor) -> "TargetScale":
        """Fit the scale `name` to the totals [n] of the training tiles, above -1 for "log1p".

        Raise ModelError if the name is unknown.
        """
        if name not in SCALES:
            raise ModelError(f"target_scale={name}: choose one of {', '.join(SCALES)}")
        if name == "none":
            return TargetScale()
        if name == "log1p":
            totals = totals.log1p()
        spread = totals.std(correction=0).item()
        return TargetScale(name, totals.mean().item(), spread if spread > 0 else 1.0)

    def scale(self, totals: Tensor) -> Tensor:
        """Convert original units to units of training."""
        return ((totals.log1p() if self.name == "log1p" else totals) - self.mean) / self.std

    def unscale(self, z: Tensor) -> Tensor:
        """Convert units of training to original units."""
        y = z * self.std + self.mean
        return y.clamp(max=LARGEST_LOG).expm1() if self.name == "log1p" else y


class ScalarDecoder(nn.Linear):
    """One Linear to a scalar, then ReLU: an estimate is never negative (Rose section 4).

    Without a scale, weight and bias start at 1 and 0, and gradients pass through the ReLU, as in
    the paper. With a scale, both start at 0, so that the first estimate for every tile is the mean
    of the training tiles. The ReLU is then applied after unscaling; otherwise a head whose outputs
    were all negative would get no gradient.
    """

    def __init__(self, width: int, scale: TargetScale | None = None):
        super().__init__(width, 1)
        self.scale = scale or TargetScale()
        nn.init.constant_(self.weight, 1.0 if self.scale.name == "none" else 0.0)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """[B, width] -> [B, 1] in units of training; to it comes what is estimated `beside`,
        [B, 1]."""
        z = super().forward(x)
        if beside is not None:
            z = z + beside
        return z.relu() if self.scale.name == "none" else z
