"""A small ViT of each kind that an image encoder can be, for models/registry.py."""

from functools import partial
from typing import Any

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import timm
from torch import nn


def small(name: str, pretrained: bool, **sizes: Any) -> nn.Module:
    """timm's model in width 64 with two blocks, for tiles of 64 pixels."""
    return timm.create_model(name, num_classes=0, **{"embed_dim": 64, "depth": 2, "num_heads": 4,
                                                     "img_size": 64, **sizes})


plain = partial(small, "vit_small_patch16_224")
patch8 = partial(small, "vit_small_patch8_224")
patch15 = partial(small, "vit_small_patch16_224", patch_size=15, img_size=60)
clip = partial(small, "vit_base_patch16_clip_224")
distilled = partial(small, "deit_tiny_distilled_patch16_224")
siglip = partial(small, "vit_base_patch16_siglip_224")
pooled_register = partial(small, "vit_little_patch16_reg1_gap_256")
registers = partial(small, "vit_small_patch14_reg4_dinov2", patch_size=16)
rms_swiglu = partial(small, "aimv2_large_patch14_224", img_size=70)
dinov3 = partial(small, "vit_small_patch16_dinov3", rope_rescale_coords=2.0)  # as LingBot
eva02 = partial(small, "eva02_tiny_patch14_224", img_size=70)
eva_post_norm = partial(small, "eva02_enormous_patch14_clip_224", img_size=70)
mixed_rope = partial(small, "vit_small_patch16_rope_mixed_ape_224")
perception = partial(small, "vit_pe_core_tiny_patch16_384")
rope_registers = partial(small, "vit_betwixt_patch16_rope_reg4_gap_256")
sapiens = partial(small, "vit_base_patch16_sapiens2", num_kv_heads=2)

FAMILIES = ("plain", "patch8", "clip", "distilled", "siglip", "pooled_register", "registers",
            "rms_swiglu", "dinov3", "eva02", "eva_post_norm", "mixed_rope", "perception",
            "rope_registers", "sapiens")
LINES = {name: f"tests.small_vits:{name}" for name in FAMILIES}  # of the registry
