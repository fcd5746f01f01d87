"""The image encoder: a timm ViT's patches and blocks, with CLS, positions and norm of Rose's."""

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import timm
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models import registry
from models.block import adopt, through
from models.linear import linear
from models.position import token_code
from utils.errors import ModelError, one_line
from utils.normalisation import IMAGENET_MEAN, IMAGENET_STD


class ImageEncoder(nn.Module):
    """ViT over 16 x 16 (or other) patches with fixed sine-cosine positions (Rose section 3.2.1).

    The timm model's own cls_token, pos_embed and final norm are dropped.

    Args:
        name: of models/registry.py, or a timm VisionTransformer.
        pretrained: load timm's weights, the patch projection included.

    Attributes:
        mean, std: of each channel, from 0 to 1, by which images are normalised.
        checkpoint_activations: recompute each block in the backward pass, which takes a third
            more time in the encoder and a fraction of its memory.

    Raises:
        ModelError: `name` is unknown, is no plain ViT, or its weights cannot be loaded.
    """

    def __init__(self, name: str = "vit_base_patch16_224", pretrained: bool = False):
        super().__init__()
        vit = _create_vit(name, pretrained)
        self.patch_embed = vit.patch_embed
        self.norm_pre = vit.norm_pre  # identity, except in ViTs of the CLIP family
        self.blocks = nn.Sequential(*map(adopt, vit.blocks))
        self.width: int = vit.embed_dim
        self.patch: int = vit.patch_embed.patch_size[0]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.norm = nn.LayerNorm(self.width)
        self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        self.checkpoint_activations = False

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

    def embed(self, images: Tensor) -> Tensor:
        """Return [B, L, D], projected patches plus position codes, of images [B, 3, H, W]."""
        return self.embed_patches(self.patchify(images), self.grid(images))

    def embed_patches(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return `embed` of pixels [B, L, p * p * 3] on a grid (rows, columns) of patches."""
        projection = self.patch_embed.proj
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)  # [D, p * p * 3], channel last
        patches = linear(pixels, weight, projection.bias)
        return self.patch_embed.norm(patches) + token_code(self.width, grid, pixels.device)[1:]

    def encode(self, *patch_sets: Tensor) -> list[Tensor]:
        """Return [B, 1 + V, D], CLS first, of each set of embedded patches [B, V, D]."""
        sets = tuple(self.norm_pre(self._prepend_cls(patches)) for patches in patch_sets)
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for block in self.blocks:
            sets = (checkpoint(through, block, sets, use_reentrant=False) if recompute
                    else through(block, sets))
        return [self.norm(tokens) for tokens in sets]

    def _prepend_cls(self, patches: Tensor) -> Tensor:
        """Return [B, 1 + V, D] of patches [B, V, D]."""
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)


def _create_vit(name: str, pretrained: bool) -> VisionTransformer:
    registered = registry.IMAGE_ENCODERS.get(name)
    try:
        # timm and the hub raise many kinds of error; each becomes one line
        if registered:
            vit = registry.load(registered)(pretrained)
        else:
            vit = timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="")
    except Exception as error:
        if not registered and not timm.is_model(name.split(".")[0]):
            raise ModelError(f"image_encoder={name}: timm knows no such model; for example "
                             "vit_base_patch16_224, vit_small_patch16_224, "
                             "vit_tiny_patch16_224") from error
        if not pretrained:
            raise ModelError(f"image_encoder={name}: timm cannot build it ({one_line(error)}); "
                             "choose another ViT") from error
        raise ModelError(f"image_encoder={name}: its pretrained weights could not be loaded "
                         f"({one_line(error)}); fetch them on a machine with a network (timm "
                         "keeps them in the Hugging Face cache), or set "
                         "pretrained=false") from error
    if not isinstance(vit, VisionTransformer) or not isinstance(vit.patch_embed, PatchEmbed):
        raise ModelError(f"image_encoder={name}: {type(vit).__name__} is no plain ViT; choose a "
                         "timm VisionTransformer such as vit_base_patch16_224")
    if vit.num_reg_tokens:
        raise ModelError(f"image_encoder={name}: has {vit.num_reg_tokens} register tokens, which "
                         "Rose has no place for; choose a ViT without, such as "
                         "vit_base_patch16_224")
    return vit
