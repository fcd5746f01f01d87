"""The image encoder: a timm ViT's patches and blocks, with Rose's positions or with its own."""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.block import adopt, through
from models.image_families import create_vit, normalisation_of, trained_parts
from models.image_positions import Patches, Rotation, learned_code, rotary_table
from models.image_weights import load_image_weights
from models.linear import linear
from models.position import token_code
from utils.errors import ModelError
from utils.normalisation import IMAGENET_MEAN, IMAGENET_STD

POSITIONS = ("rose", "own")


class ImageEncoder(nn.Module):
    """ViT over 16 x 16 (or other) patches.

    With positions="rose" it is the paper's (section 3.2.1): fixed sine-cosine positions, a CLS
    token and a final norm of Rose's. The ViT's own positions (learned or rotary), CLS, registers
    and final norm are dropped. With "own" it is the ViT as it was trained: all these are kept,
    learned positions are resampled to the grid, and rotary ones follow the visible patches.

    Either way the output has one token in front of the patches: CLS, or the mean of the patches
    of a ViT that has none. Registers take part in the blocks and are left out of the output.

    Args:
        name: of models/registry.py, or a timm VisionTransformer or Eva.
        pretrained: load timm's weights, the patch projection included.
        weights: a file of trained weights (models/image_weights.py), loaded instead.

    Attributes:
        mean, std: the colours' mean and deviation (red, green, blue in 0..1) that images are
            normalised with: the ViT's own, or ImageNet's with "rose".
        checkpoint_activations: recompute each block in the backward pass, which takes a third
            more time in the encoder and a fraction of its memory.

    Raises:
        ModelError: `name` is unknown, is no plain ViT, or its weights cannot be loaded.
        CheckpointError: the file `weights` is damaged, or does not fit.
    """

    def __init__(self, name: str = "vit_base_patch16_224", pretrained: bool = False,
                 positions: str = "rose", weights: str | Path | None = None):
        super().__init__()
        if positions not in POSITIONS:
            raise ModelError(f"image_positions={positions}: choose one of {', '.join(POSITIONS)}")
        vit = create_vit(name, pretrained and weights is None)
        if weights is not None:
            load_image_weights(vit, str(weights), name)
        self.positions = positions
        self.patch_embed = vit.patch_embed
        self.norm_pre = vit.norm_pre  # identity, except in ViTs of the CLIP family
        self.blocks = nn.Sequential(*map(adopt, vit.blocks))
        self.width: int = vit.embed_dim
        self.patch: int = vit.patch_embed.patch_size[0]
        if positions == "own":
            (self.cls_token, self.reg_token, self.pos_embed, self._positioned, self.rope,
             self.norm) = trained_parts(vit)
            self.mean, self.std = normalisation_of(vit)
        else:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, self.width))
            self.reg_token = self.pos_embed = self.rope = None
            self._positioned = 0
            self.norm = nn.LayerNorm(self.width)
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        self.checkpoint_activations = False

    def initialise(self, keep_patch_projection: bool) -> None:
        """Draw what Rose adds to the ViT, and its patch projection; with own positions, nothing."""
        if self.positions == "own":
            return
        if not keep_patch_projection:
            nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """Return the names of tokens and positions, which timm's optimisers do not decay."""
        return {name for name, _ in self.named_parameters()
                if name.split(".")[0] in ("cls_token", "reg_token", "pos_embed", "rope")}

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Return (rows, columns) of patches of images [B, 3, H, W].

        Raise ModelError if they have another shape, or H or W is no multiple of the patch side.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ModelError(f"images: shape {list(images.shape)}; expected [B, 3, H, W]")
        height, width = images.shape[2:]
        if height % self.patch or width % self.patch or not height * width:
            raise ModelError(f"images: {width} x {height} px; both sides must be multiples of the "
                             f"patch side {self.patch}")
        return height // self.patch, width // self.patch

    def patchify(self, images: Tensor) -> Tensor:
        """Return pixels [B, L, p * p * 3] of images [B, 3, H, W]: row, column, channel last."""
        (rows, cols), p = self.grid(images), self.patch
        patches = images.unflatten(3, (cols, p)).unflatten(2, (rows, p))
        return patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def unpatchify(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return images [B, 3, H, W] of pixels [B, L, p * p * 3]; the inverse of `patchify`."""
        p = self.patch
        patches = pixels.unflatten(1, grid).unflatten(3, (p, p, 3))  # [B, rows, columns, p, p, 3]
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def embed(self, images: Tensor, added: Tensor | None = None) -> Patches:
        """Return the projected patches of images [B, 3, H, W], plus codes of their positions, plus
        what is `added` [B, L, D] of a downstream model."""
        patches = self.embed_patches(self.patchify(images), self.grid(images))
        return patches if added is None else patches._replace(tokens=patches.tokens + added)

    def embed_patches(self, pixels: Tensor, grid: tuple[int, int]) -> Patches:
        """Return `embed` of pixels [B, L, p * p * 3] on a grid (rows, columns) of patches."""
        projection = self.patch_embed.proj
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)  # [D, p * p * 3], channel last
        tokens = self.patch_embed.norm(linear(pixels, weight, projection.bias))         # [B, L, D]
        if self.positions == "rose":
            tokens = tokens + token_code(self.width, grid, pixels.device)[1:]
        elif self.pos_embed is not None:
            tokens = tokens + learned_code(self.pos_embed, self._positioned,
                                           self.patch_embed.grid_size, grid)
        return Patches(tokens, grid)

    def encode(self, *patch_sets: Patches) -> list[Tensor]:
        """Return [B, 1 + V, D], CLS first, of each set of embedded patches [B, V, D]."""
        last = deque(self._after_blocks(patch_sets), maxlen=1).pop()
        return [self._with_cls(self.norm(tokens)) for tokens in last]

    def layers(self, images: Tensor, indices: Sequence[int], cls: bool = False,
               added: Tensor | None = None) -> list[Tensor]:
        """Return the patch tokens [B, L, D] of images [B, 3, H, W], with what is `added` of
        `embed`, after the blocks `indices`, counted from 0, each after the final norm; with `cls`
        [B, 1 + L, D], CLS first.

        Raise ModelError for a block that there is not, or images of another shape.
        """
        count = len(self.blocks)
        if not indices or not 0 <= min(indices) <= max(indices) < count:
            raise ModelError(f"indices={list(indices)}: expected numbers of the encoder's {count} "
                             f"blocks, 0 to {count - 1}")
        taken = {}
        for number, (tokens,) in enumerate(self._after_blocks([self.embed(images, added)])):
            if number in indices:
                taken[number] = self._with_cls(self.norm(tokens))[:, not cls:]
            if number == max(indices):
                break
        return [taken[number] for number in indices]

    def tokens_by_block(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the tokens [B, prefix + L, D] of images [B, 3, H, W] after each block; `output`
        makes of them what `encode` returns."""
        for tokens, in self._after_blocks([self.embed(images)]):
            yield tokens

    def output(self, tokens: Tensor, norm: bool = True) -> Tensor:
        """Return [B, 1 + L, D], CLS first, of tokens [B, prefix + L, D] within the encoder, after
        the final norm unless `norm` is false."""
        return self._with_cls(self.norm(tokens) if norm else tokens)

    @property
    def _prefix(self) -> int:
        """Number of tokens in front of the patches, inside."""
        return sum(token.shape[1] for token in (self.cls_token, self.reg_token)
                   if token is not None)

    def _after_blocks(self, patch_sets: Sequence[Patches]) -> Iterator[tuple[Tensor, ...]]:
        """Yield all sets [B, prefix + V, D] after each block."""
        sets = tuple(self.norm_pre(self._prepend(patches.tokens)) for patches in patch_sets)
        rotations = [self._rotation(patches) for patches in patch_sets]
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for number, block in enumerate(self.blocks):
            turns = [rotation and rotation.of_block(number) for rotation in rotations]
            arguments: tuple[Any, ...] = (block, sets, turns)
            sets = (checkpoint(through, *arguments, use_reentrant=False) if recompute
                    else through(*arguments))
            yield sets

    def _rotation(self, patches: Patches) -> Rotation | None:
        if self.rope is None:
            return None
        return Rotation(rotary_table(self.rope, patches.grid), patches.shown)

    def _prepend(self, patches: Tensor) -> Tensor:
        """Return [B, prefix + V, D] of patches [B, V, D]."""
        tokens = [token for token in (self.cls_token, self.reg_token) if token is not None]
        if not tokens:
            return patches
        prefix = torch.cat(tokens, dim=1)                                              # [1, P, D]
        if self.pos_embed is not None and self._positioned:
            prefix = prefix + self.pos_embed[:, :self._positioned]
        return torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1)

    def _with_cls(self, tokens: Tensor) -> Tensor:
        """Return [B, 1 + V, D] of [B, prefix + V, D]."""
        if self.cls_token is not None and self.reg_token is None:
            return tokens
        patches = tokens[:, self._prefix:]
        cls = patches.mean(1, keepdim=True) if self.cls_token is None else tokens[:, :1]
        return torch.cat([cls, patches], dim=1)
