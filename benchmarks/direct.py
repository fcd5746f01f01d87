"""Compute Rose as the method is written down, batched but without any of our shortcuts, as a
straightforward implementation would.

The image passes through timm's blocks twice. The mask token is copied to its 147 positions before
the cross-attention block. That block's four lines have all their projections, attention by a
softmax over explicit scores, and one copy of the tile's image tokens for each masked node.
`tests/models/direct.py` writes the same in loops, for its outputs; this one is for its speed, also
on a GPU.
"""

import math
from typing import Any

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from models.fusion import HEADS, Attention, SingleKeyAttention
from models.position import node_code, token_code
from models.rose import Rose


class DirectRose(nn.Module):
    """The losses of a `Rose`, computed the direct way with its parameters.

    Args:
        rose: the network; the parameters of its ViT blocks are copied into timm's own blocks.
        encoder: the timm name that it was built with.
    """

    def __init__(self, rose: Rose, encoder: str):
        super().__init__()
        self.rose = rose
        self.blocks = timm.create_model(encoder, num_classes=0, global_pool="").blocks
        self.blocks.load_state_dict(rose.image_encoder.blocks.state_dict())
        self.decoder = Block(rose.width, HEADS, mlp_ratio=4, qkv_bias=True,
                             norm_layer=nn.LayerNorm)
        self.decoder.load_state_dict(rose.image_decoder.state_dict())
        # a single key gets all the weight whatever these give, but they are computed
        self.image_k2q, self.osm_self, self.osm_q2k = (
            nn.ModuleList(nn.Linear(rose.width, attn.v_proj.out_features) for _ in range(2))
            for attn in (rose.image_block.k2q_attn, rose.osm_block.self_attn,
                         rose.osm_block.q2k_attn))

    def forward(self, images: Tensor, graphs: Any, image_mask: Tensor,
                node_mask: Tensor) -> Tensor:
        """Return the sum of both losses, for the arguments of `Rose.forward` with both masks."""
        rose, grid = self.rose, self.rose.image_encoder.grid(images)
        codes = token_code(rose.width, grid, images.device)                            # [1 + L, D]
        image_pred = self._image_from_osm(images, graphs, image_mask, grid, codes)
        osm_pred = self._osm_from_image(images, graphs, node_mask, grid, codes)
        truth = rose.osm_encoder.features(graphs)[node_mask]
        osm_loss = F.mse_loss(osm_pred.float(), truth) if len(truth) else osm_pred.sum()
        return F.mse_loss(image_pred[image_mask].float(),
                          rose.patchify(images)[image_mask]) + osm_loss

    def _image_from_osm(self, images: Tensor, graphs: Any, mask: Tensor, grid: tuple[int, int],
                        codes: Tensor) -> Tensor:
        """Return [B, L, p * p * 3]."""
        rose = self.rose
        visible = plain(rose.token_proj, self._encode(images, mask))                # [B, 1 + V, D]
        shown = torch.cat([mask.new_ones(len(mask), 1), ~mask], dim=1)                 # [B, 1 + L]
        tokens = rose.image_mask_token.to(visible.dtype).expand(*shown.shape, -1).clone()
        tokens[shown] = visible.flatten(0, 1)
        _, readout = rose.encode_osm(graphs, grid)
        token = plain(rose.graph_token_proj, readout)[:, None]                          # [B, 1, D]
        keys = cross(rose.image_block, token, tokens, token, codes, k2q=self.image_k2q)[1]
        return plain(rose.image_pred, rose.image_decoder_norm(self.decoder(keys + codes)[:, 1:]))

    def _osm_from_image(self, images: Tensor, graphs: Any, mask: Tensor, grid: tuple[int, int],
                        codes: Tensor) -> Tensor:
        """Return [M, F]."""
        rose, nodes = self.rose, mask.nonzero()[:, 0]
        embeddings, = rose.osm_encoder(graphs, grid, mask)
        positions = node_code(rose.width, rose.osm_encoder.centroids(graphs)[nodes], grid)
        # [M, 1 + L, D]
        queries = plain(rose.token_proj, self._encode(images))[graphs.batch[nodes]]
        keys = plain(rose.node_proj, embeddings[nodes])[:, None]                        # [M, 1, D]
        keys = cross(rose.osm_block, queries, keys, codes, positions[:, None], own=self.osm_self,
                     q2k=self.osm_q2k)[1]
        return plain(rose.osm_pred, rose.osm_decoder_norm(keys[:, 0]))

    def _encode(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return [B, 1 + V, D] tokens of the visible patches; of all patches without a mask."""
        encoder = self.rose.image_encoder
        patches = encoder.embed(images).tokens                                          # [B, L, D]
        if mask is not None:
            patches = patches[~mask].unflatten(0, (len(images), -1))
        tokens = torch.cat([encoder.cls_token.expand(len(images), -1, -1), patches], dim=1)
        return encoder.norm(self.blocks(encoder.norm_pre(tokens)))


def cross(block: nn.Module, query: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor,
          own: nn.ModuleList | None = None, q2k: nn.ModuleList | None = None,
          k2q: nn.ModuleList | None = None) -> tuple[Tensor, Tensor]:
    """Compute the four lines of the method and return Q [B, Tq, D] and K [B, Tk, D].

    `own`, `q2k`, `k2q`: projections of queries and keys where an attention of `block` has none.
    """
    keys = block.norm1(keys + attend(block.self_attn, keys + key_pe, keys + key_pe, keys, own))
    query = block.norm2(query + attend(block.q2k_attn, query + query_pe, keys + key_pe, keys, q2k))
    keys = block.norm3(keys + attend(block.k2q_attn, keys + key_pe, query + query_pe, query, k2q))
    return query, block.norm4(plain(block.mlp, keys))


def attend(attn: Attention | SingleKeyAttention, q: Tensor, k: Tensor, v: Tensor,
           projections: nn.ModuleList | None) -> Tensor:
    """Return [B, Tq, D], multi-head attention of q [B, Tq, D] over k and v [B, Tk, D]."""
    q_proj, k_proj = projections or (attn.q_proj, attn.k_proj)
    q, k, v = (plain(layer, x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
               for layer, x in ((q_proj, q), (k_proj, k), (attn.v_proj, v)))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)   # [B, heads, Tq, Tk]
    return plain(attn.out_proj, (weights @ v).transpose(1, 2).flatten(2))


def plain(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply PyTorch's own Linear."""
    return F.linear(x, layer.weight, layer.bias)
