"""Vision transformers of timm by name: which can be an image encoder, and what they are made of.

Two of timm's classes are plain ViTs, which see an image as patches that can be left out:
VisionTransformer (ViT, DeiT, MAE, CLIP, SigLIP, DINOv2 with or without registers, ...) and Eva
(EVA, EVA-02, Perception Encoder, DINOv3, ...), whose positions may be rotary.
"""

from typing import NamedTuple

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from models import registry
from utils.errors import ModelError, one_line

Vit = VisionTransformer | Eva
_CHOICES = "vit_base_patch16_224, vit_small_patch16_dinov3 or vit_small_patch14_reg4_dinov2"


class Trained(NamedTuple):
    """What a ViT has beside patch projection and blocks; None where it has no such thing."""

    cls_token: nn.Parameter | None  # [1, 1, D]
    reg_token: nn.Parameter | None  # [1, R, D], registers, or DeiT's token of distillation
    pos_embed: nn.Parameter | None  # [1, P + L, D], learned, the first P of CLS and registers
    positioned: int                 # P: 0, or all of CLS and registers
    rope: nn.Module | None          # one of timm's rotary embeddings
    norm: nn.Module                 # of each token after the blocks


def create_vit(name: str, pretrained: bool = False) -> Vit:
    """Return the ViT `name` of models/registry.py or of timm, a tag of weights (NAME.TAG) included.

    Raise ModelError if there is none of that name, it is no plain ViT, or its weights cannot be
    loaded. The kind is checked before weights are fetched.
    """
    if pretrained:
        with torch.device("meta"):
            create_vit(name)
    registered = registry.IMAGE_ENCODERS.get(name)
    try:
        # timm and the hub raise many kinds of error; each becomes one line
        vit = (registry.load(registered)(pretrained) if registered
               else timm.create_model(name, pretrained=pretrained, num_classes=0))
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
    _check_plain(name, vit)
    return vit


def trained_parts(vit: Vit) -> Trained:
    """Return what a ViT was trained with beside patch projection and blocks.

    A norm that timm applies after pooling (fc_norm) is applied to each token, as timm does where
    it does not pool.
    """
    registers = vit.reg_token if vit.reg_token is not None else getattr(vit, "dist_token", None)
    norm = vit.fc_norm if isinstance(vit.norm, nn.Identity) else vit.norm
    rope = getattr(vit, "rope", None)
    if rope is not None:
        rope.aug_active = False  # positions as in use: no random scale while training
    return Trained(vit.cls_token, registers, vit.pos_embed,
                   0 if vit.no_embed_class else vit.num_prefix_tokens, rope, norm)


def normalisation_of(vit: Vit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the colours (red, green, blue in 0..1) that a ViT was trained
    with."""
    known = getattr(vit, "pretrained_cfg", None) or {}
    return tuple(known.get("mean", IMAGENET_DEFAULT_MEAN)), tuple(known.get("std",
                                                                            IMAGENET_DEFAULT_STD))


def _check_plain(name: str, model: nn.Module) -> None:
    """Raise ModelError unless a model is a ViT whose tokens are patches of its own projection."""
    kind = type(model).__name__
    if isinstance(model, Vit):
        if isinstance(model.patch_embed, PatchEmbed):
            return
        kind += f" over {type(model.patch_embed).__name__}"
    raise ModelError(f"image_encoder={name}: {kind} is no plain ViT, whose patches can be masked; "
                     f"choose a VisionTransformer or Eva of timm, such as {_CHOICES}")
