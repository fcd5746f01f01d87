"""Segmenter's mask transformer, a decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.block import vit_block
from utils.errors import ModelError

HEAD_WIDTH = 64


class MaskTransformer(nn.Module):
    """Segmenter's mask transformer (Strudel et al., ICCV 2021): patches and learned class tokens
    attend to each other.

    scores = LayerNorm_classes(normalise(patches @ Pp) @ normalise(classes @ Pc)'), both
    L2-normalised over the width.

    Args:
        width: D, a multiple of 64.
        layers: pre-norm blocks, 2 in the paper.
        dropout: in attention, its projection and the MLP.

    Raises:
        ModelError: D is no multiple of 64.
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
