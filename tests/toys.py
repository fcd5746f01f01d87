"""A decoder, a modality and an image encoder, written as a newcomer would write them."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import global_mean_pool

from models.modalities import Representation
from models.rose import Rose


class TwoLayers(nn.Sequential):
    """A decoder of two Linear layers: [B, L, width] -> [B, L, classes]."""

    def __init__(self, width: int, num_classes: int):
        super().__init__(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, num_classes))


def beside(rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
    """[B, 1 + L, D + out_dim] image tokens beside the mean of the tile's node embeddings."""
    tokens, nodes, _ = rose.encode(images, graphs)
    mean = global_mean_pool(nodes, graphs.batch, graphs.num_graphs)               # [B, out_dim]
    return torch.cat([tokens, mean[:, None].expand(-1, tokens.shape[1], -1)], dim=2)


BESIDE = Representation(
    ("image_encoder.", "osm_encoder.conv.", "osm_encoder.norm."),
    tokens=lambda *batch: beside(*batch)[:, 1:], vector=lambda *batch: beside(*batch)[:, 0],
    width=lambda rose: rose.width + rose.osm_encoder.out_dim)


def shallow_vit(pretrained: bool) -> VisionTransformer:
    """A ViT of one block, which timm does not know."""
    return VisionTransformer(embed_dim=64, depth=1, num_heads=2, num_classes=0, global_pool="")
