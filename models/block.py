"""A ViT block over several sets of tokens at once, with less copying and memory than timm's."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import timm.models.eva as timm_eva
import timm.models.vision_transformer as timm_vit
import torch
import torch.nn.functional as F
from timm.layers import AttentionRope, Mlp, apply_rot_embed_cat
from timm.layers.attention import Attention
from torch import Tensor, nn

from models.linear import gelu_linear, linear, norm_linear
from models.masking import take_tokens


class Block(nn.Module):
    """A plain ViT's block: x + proj(attention(qkv(norm1(x)))), then x + fc2(gelu(fc1(norm2(x)))).

    It has the modules of a timm block under their names and computes the same; `adopt` makes one.
    """

    def __init__(self, block: timm_vit.Block):
        super().__init__()
        self.norm1, self.attn, self.ls1 = block.norm1, block.attn, block.ls1
        self.norm2, self.mlp, self.ls2 = block.norm2, block.mlp, block.ls2

    def forward(self, *sets: Tensor,
                rotations: Sequence[Tensor | None] = ()) -> Tensor | tuple[Tensor, ...]:
        """Return each set [B, T, D] after the block: one as a tensor, several as a tuple.

        `rotations` are of the sets' rotary positions, if they have such.

        B and T may differ between sets. They share a call, and with it the weights that fsdp
        fetches, but no product: packing them into one tall matrix for the MLP was no faster with
        small ViTs, and 5 to 7 % slower with a ViT-B in float32 on two CPU cores.
        """
        sets = tuple(tokens + self.ls1(self._attend(tokens, rotation))
                     for tokens, rotation in zip_longest(sets, rotations))
        sets = tuple(tokens + self._feed_forward(tokens) for tokens in sets)
        return sets if len(sets) > 1 else sets[0]

    def _attend(self, tokens: Tensor, rotation: Tensor | None) -> Tensor:
        """Return [B, T, D], what each token takes from the others of its image."""
        return self._mix(*self._project(tokens), rotation)

    def _project(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values [B, T, heads, d] of tokens [B, T, D]."""
        attn = self.attn
        qkv = norm_linear(tokens, self.norm1, self._qkv)                              # [B, T, 3 D]
        return qkv.unflatten(-1, (3, attn.num_heads, attn.head_dim)).unbind(2)

    @property
    def _qkv(self) -> "nn.Linear | Projection":
        return self.attn.qkv

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Return attention [B, Q, D] of [B, Q, heads, d] over keys, values [B, T, heads, d]."""
        attn = self.attn
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        q, k = attn.q_norm(q), attn.k_norm(k)
        if rotation is not None:
            q, k = (self._turned(x, rotation).type_as(v) for x in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v)
        mixed = attn.norm(mixed.transpose(1, 2).flatten(2))                              # [B, Q, D]
        return linear(mixed, attn.proj.weight, attn.proj.bias)

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.ls2(gelu_linear(norm_linear(tokens, self.norm2, self.mlp.fc1), self.mlp.fc2))


class Projection(NamedTuple):
    """The weights of a Linear layer."""

    weight: Tensor
    bias: Tensor | None


class EvaBlock(Block):
    """The same block under the names of timm's EvaBlock, whose positions may be rotary."""

    def __init__(self, block: timm_eva.EvaBlock):
        nn.Module.__init__(self)
        self.norm1, self.attn, self.gamma_1 = block.norm1, block.attn, block.gamma_1
        self.norm2, self.mlp, self.gamma_2 = block.norm2, block.mlp, block.gamma_2

    def ls1(self, x: Tensor) -> Tensor:
        return x if self.gamma_1 is None else self.gamma_1 * x

    def ls2(self, x: Tensor) -> Tensor:
        return x if self.gamma_2 is None else self.gamma_2 * x

    @property
    def _qkv(self) -> nn.Linear | Projection:
        attn = self.attn
        if getattr(attn, "q_bias", None) is None:
            return attn.qkv
        return Projection(attn.qkv.weight, torch.cat([attn.q_bias, attn.k_bias, attn.v_bias]))

    def _turned(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Return queries or keys [B, heads, T, d], all but those of CLS and registers turned."""
        prefix = self.attn.num_prefix_tokens
        turned = apply_rot_embed_cat(x[:, :, prefix:], rotation, half=self.attn.rotate_half)
        return torch.cat([x[:, :, :prefix], turned], dim=2)


class DecoderBlock(Block):
    """A block that computes some of its output tokens: all are keys, but only those queries."""

    def forward(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return [B, Q, D], the `rows` [B, Q] of the block's output for tokens [B, T, D]."""
        q, k, v = self._project(tokens)
        q = take_tokens(q.flatten(2), rows).unflatten(-1, q.shape[2:])
        tokens = take_tokens(tokens, rows) + self.ls1(self._mix(q, k, v))
        return tokens + self._feed_forward(tokens)


def adopt(block: nn.Module) -> nn.Module:
    """Return a `Block` of a timm `block`'s modules, or `block` itself if it does anything else."""
    kind = {timm_vit.Block: Block, timm_eva.EvaBlock: EvaBlock}.get(type(block))
    return kind(block) if kind and _is_plain(block) else block


def through(block: nn.Module, sets: tuple[Tensor, ...],
            rotations: Sequence[Tensor | None] = ()) -> tuple[Tensor, ...]:
    """Return every set [B, T, D] after a block of `adopt`; a rotation, of rotary positions, goes
    to the block with its set."""
    if isinstance(block, Block):
        after = block(*sets, rotations=rotations)
        return after if len(sets) > 1 else (after,)
    return tuple(block(tokens) if rotation is None else block(tokens, rope=rotation)
                 for tokens, rotation in zip_longest(sets, rotations))


def vit_block(width: int, heads: int, dropout: float = 0.0) -> timm_vit.Block:
    """Return a timm block whose MLP is 4 * width wide, with `dropout` in attention and MLP."""
    return timm_vit.Block(width, heads, mlp_ratio=4, qkv_bias=True, proj_drop=dropout,
                          attn_drop=dropout, norm_layer=nn.LayerNorm)


def _is_plain(block: nn.Module) -> bool:
    """Whether a block has no stochastic depth, dropout, gate, or module of another kind."""
    attn, mlp = block.attn, block.mlp
    if (type(attn) not in (Attention, AttentionRope, timm_eva.EvaAttention)
            or type(mlp) is not Mlp or attn.qkv is None):
        return False
    drops = [module for module in block.modules() if isinstance(module, nn.Dropout)]
    return (all(isinstance(norm, nn.LayerNorm) and norm.elementwise_affine
                for norm in (block.norm1, block.norm2))
            and all(isinstance(path, nn.Identity)
                    for path in (block.drop_path1, block.drop_path2, mlp.norm))
            and all(drop.p == 0 for drop in drops) and attn.gate is None
            and isinstance(mlp.act, nn.GELU) and mlp.act.approximate == "none")
