"""The positions that ViTs were trained with: learned ones and rotary ones, on any grid of patches.

Learned positions are added to the embedded patches. Rotary ones turn the queries and keys of each
block by angles that follow from a patch's place, so the places of visible patches must be known.
"""

from typing import NamedTuple

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from models.masking import take_tokens


class Patches(NamedTuple):
    """Embedded patches of B images, and where they are."""

    tokens: Tensor               # [B, V, D]
    grid: tuple[int, int]        # (rows, columns) of the whole image
    shown: Tensor | None = None  # [B, V] their indices on the grid; None: all, in order

    def take(self, shown: Tensor) -> "Patches":
        """Return those at `shown` [B, V] of all patches of the images."""
        return Patches(take_tokens(self.tokens, shown), self.grid, shown)


def learned_code(pos_embed: Tensor, prefix: int, trained_grid: tuple[int, int],
                 grid: tuple[int, int]) -> Tensor:
    """Return [1, L, D], the positions [1, prefix + L0, D] of patches, resampled to `grid` as timm
    does (bicubic, with antialiasing)."""
    return resample_abs_pos_embed(pos_embed[:, prefix:], grid, trained_grid, num_prefix_tokens=0)


class Rotation(NamedTuple):
    """Sines and cosines by which a block turns queries and keys, in timm's layout."""

    table: Tensor                # [L, 2 d]; with frequencies of each block, [blocks, heads, L, 2 d]
    shown: Tensor | None = None  # [B, V] patches to turn; None: all

    def of_block(self, number: int) -> Tensor:
        """Return what the block takes: [L, 2 d] or [heads, L, 2 d] for all patches, else [B, 1, V,
        2 d] or [B, heads, V, 2 d]."""
        table = self.table[number] if self.table.ndim == 4 else self.table
        if self.shown is None:
            return table
        if table.ndim == 2:
            return table[self.shown][:, None]
        return table[:, self.shown].transpose(0, 1)


@torch.inference_mode(False)  # what timm keeps of a grid during inference must still serve training
def rotary_table(rope: nn.Module, grid: tuple[int, int]) -> Tensor:
    """Return the table of a `Rotation` on a grid, from one of timm's rotary embeddings."""
    if getattr(rope, "feat_shape", None) is None:
        return rope.get_embed(grid)
    rope.update_feat_shape(grid)
    return rope.get_embed()
