"""The spatially guided cross-attention block (Rose section 3.2.3), in two exact forms for its two
uses.

The block, post-norm, from queries Q and keys K with position codes q_pe and k_pe:

    K <- LN1(K + A_self(K + k_pe, K + k_pe, K))
    Q <- LN2(Q + A_q2k(Q + q_pe, K + k_pe, K))
    K <- LN3(K + A_k2q(K + k_pe, Q + q_pe, Q))
    K <- LN4(Linear(K))

Each A is multi-head attention with its own projections, A_self in width D, the other two in width
D / 2. Rose calls the block with a single query (the graph token: `ImageFromOsmBlock`) or with a
single key per query set (one OSM node: `OsmFromImageBlock`). Attention to a single key does not
depend on query and key projections, so they do not exist here. The rest is reordered so that
nothing is computed, or kept for the backward pass, twice. Both classes compute the function above.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.linear import Linear, linear
from utils.errors import ModelError

HEADS = 8
MOST_NEAR = 4.0  # bias of the score of a covered patch, in the head that has most of it at first
TINY = 1e-6      # share of a patch below all that an object covers


class Attention(nn.Module):
    """Projections of multi-head attention from width `dim` to `inner` and back."""

    def __init__(self, dim: int, inner: int, heads: int = HEADS):
        super().__init__()
        if inner % heads:
            raise ModelError(f"width {dim}: {heads} attention heads do not divide {inner}; choose "
                             "an image encoder of another width")
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (Linear(dim, inner) for _ in range(3))
        self.out_proj = Linear(inner, dim)

    def split(self, x: Tensor) -> Tensor:
        """Return [..., heads, T, inner / heads] of [..., T, inner]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def join(self, x: Tensor) -> Tensor:
        """Return [..., T, dim], the output projection of [..., heads, T, inner / heads]."""
        return self.out_proj(x.transpose(-2, -3).flatten(-2))

    def guide(self, q: Tensor) -> Tensor:
        """Return [B, heads, S, dim], which scores unprojected keys as `q` [B, heads, S, d] scores
        projected ones: q . (Wk k) = (Wk' q) . k, without the key bias; cheap for few queries.
        """
        return torch.einsum("bhsd,hdc->bhsc", q, self.k_proj.weight.unflatten(0, (self.heads, -1)))

    def finish(self, mixed: Tensor) -> Tensor:
        """Return [B, S, dim] from each head's weighted mean of unprojected values
        [B, heads, S, dim]: sum_t p_t (Wv v_t) = Wv (sum_t p_t v_t)."""
        weight = self.v_proj.weight.unflatten(0, (self.heads, -1))                       # [h, d, D]
        out = torch.einsum("bhsc,hdc->bshd", mixed, weight)
        return self.out_proj(out.flatten(-2) + self.v_proj.bias)

    def from_few_queries(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return [B, S, dim]: queries [B, S, dim] attend to unprojected keys, values [B, T, dim].

        PyTorch's fused attention needs them projected: S = 1 query would pay for 2 T projections.
        The softmax is in float32 at least.
        """
        q = self.split(self.q_proj(queries))                                         # [B, h, S, d]
        bias = torch.einsum("bhsd,hd->bhs", q, self.k_proj.bias.unflatten(0, (self.heads, -1)))
        scores = heads_times(self.guide(q), keys.transpose(1, 2)) + bias[..., None]  # [B, h, S, T]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights = (scores / math.sqrt(q.shape[-1])).softmax(-1)
        return self.finish(heads_times(weights, values))


def heads_times(a: Tensor, b: Tensor) -> Tensor:
    """Return `a` [B, heads, S, X] times `b` [B, X, Y], without a copy of `b` for each head."""
    return (a.flatten(1, 2) @ b).unflatten(1, a.shape[1:3])


class SingleKeyAttention(nn.Module):
    """Multi-head attention to one key, which gets all weight: out(v(value))."""

    def __init__(self, dim: int, inner: int):
        super().__init__()
        self.v_proj, self.out_proj = Linear(dim, inner), Linear(inner, dim)

    def forward(self, value: Tensor) -> Tensor:
        return self.out_proj(self.v_proj(value))


class FeedForward(nn.Module):
    """What a transformer has in the place of the block's last Linear: x + W2 GELU(W1 x), without
    which the decoder behind a fusion adds up what image and objects say, but cannot combine it."""

    def __init__(self, dim: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(dim, 2 * dim), Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(F.gelu(self.fc1(x)))


class _Norms(nn.Module):
    """The modules that both forms of the block have: LN 1 to 4 and the last Linear."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(dim) for _ in range(4))
        self.mlp = Linear(dim, dim)


class ImageFromOsmBlock(_Norms):
    """The block with one query per tile, the graph token, and the image tokens as keys.

    Its last Linear is a `FeedForward` if `feed_forward`.
    """

    def __init__(self, dim: int, feed_forward: bool = False):
        super().__init__(dim)
        if feed_forward:
            self.mlp = FeedForward(dim)
        self.self_attn = Attention(dim, dim)
        self.q2k_attn = Attention(dim, dim // 2)
        self.k2q_attn = SingleKeyAttention(dim, dim // 2)

    def forward(self, query: Tensor, tokens: Tensor, query_pe: Tensor, key_pe: Tensor,
                fill: Callable | None = None,
                placed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the block to a batch of tiles; return Q [B, 1, D] and K [B, T, D].

        Args:
            query: [B, 1, D] graph token, with position code query_pe [B, 1, D].
            tokens: [B, V, D] image tokens.
            key_pe: [T, D] position codes of all T tokens.
            fill: a `MaskFill` that makes all T tokens from the V given; None if V = T.
            placed: [B, T, D] of `place`, added to the keys (placement=coverage); None: nothing.
        """
        fill = fill or _apply
        keys = fill(tokens) if placed is None else fill(tokens) + placed                # [B, T, D]
        keys = self.norm1(keys + self._attend_self(tokens, key_pe, fill, placed))
        query = self.norm2(query + self.q2k_attn.from_few_queries(query + query_pe, keys + key_pe,
                                                                  keys))
        keys = self.norm3(keys + self.k2q_attn(query))
        return query, self.norm4(self.mlp(keys))

    def _attend_self(self, tokens: Tensor, key_pe: Tensor, fill: Callable,
                     placed: Tensor | None) -> Tensor:
        attn = self.self_attn
        # every image has the same position codes: project them once                  [B, T, D]
        added = key_pe if placed is None else key_pe + placed
        q = fill(tokens, lambda x: linear(x, attn.q_proj.weight)) + attn.q_proj(added)
        k = fill(tokens, lambda x: linear(x, attn.k_proj.weight)) + attn.k_proj(added)
        v = fill(tokens, attn.v_proj)
        if placed is not None:
            v = v + linear(placed, attn.v_proj.weight)
        q, k, v = map(attn.split, (q, k, v))
        return attn.join(F.scaled_dot_product_attention(q, k, v))


def _apply(tokens: Tensor, linear: Callable | None = None) -> Tensor:
    return tokens if linear is None else linear(tokens)


class OsmFromImageBlock(_Norms):
    """The block with a tile's image tokens as queries and one OSM node as the only key, batched.

    After A_q2k, query t of node m is LN2(x_t + a_m), a_m = out(v(K_m)), literally a tensor
    [nodes, T, D]. With xc = x - mean(x), ac = a - mean(a) and LN2's gain g and bias b it equals
    g * (xc_t + ac_m) / s_mt + b, s_mt^2 = (|xc_t|^2 + |ac_m|^2 + 2 xc_t . ac_m) / D + eps.
    Linear maps thus split into a term per patch, a term per node, and the scalars s.
    """

    def __init__(self, dim: int, near: bool = False):
        super().__init__(dim)
        # of each head, from heads that look anywhere to heads that look at the object
        self.near = nn.Parameter(torch.linspace(0, MOST_NEAR, HEADS)) if near else None
        self.self_attn = SingleKeyAttention(dim, dim)
        self.q2k_attn = SingleKeyAttention(dim, dim // 2)
        self.k2q_attn = Attention(dim, dim // 2)

    def forward(self, tokens: Tensor, nodes: Tensor, token_pe: Tensor, node_pe: Tensor,
                pad: "NodePadding", shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the block to tiles' nodes; return K [M, D] and A_k2q's weights [M, heads, T].

        Args:
            tokens: [B, T, D] image tokens, with position codes token_pe [T, D].
            nodes: [M, D] OSM nodes, with position codes node_pe [M, D].
            pad: made of the nodes' tiles.
            shares: [M, T - 1] of each patch that a node covers, of which the scores of A_k2q learn
                the bias near_h * c_nt / max_t c_nt (as ALiBi's of distances; Press et al., ICLR
                2022); needed if `near`.
        """
        keys, message = self._message(nodes)                                         # [M, D] twice
        attn = self.k2q_attn
        patch, node, scale = self._factors(tokens, pad(message))  # [B, T, D], [B, S, D], [B, S, T]
        gain, bias = self.norm2.weight, self.norm2.bias
        node, scale = node[:, None], scale[:, None]                                   # a head axis
        q = attn.split(pad(attn.q_proj(keys + node_pe)))                             # [B, h, S, d]
        guide = attn.guide(q) * gain                                                 # [B, h, S, D]
        constant = attn.split(attn.k_proj(bias + token_pe))                             # [h, T, d]
        scores = (heads_times(guide, patch.transpose(1, 2))
                  + (guide * node).sum(-1, keepdim=True)) * scale + q @ constant.transpose(-1, -2)
        scores = scores / math.sqrt(q.shape[-1])                                     # [B, h, S, T]
        if self.near is not None:
            covered = shares / shares.amax(1, keepdim=True).clamp(min=TINY)           # [M, T - 1]
            scores = scores + self.near[:, None, None] * pad(F.pad(covered, (1, 0)))[:, None]
        weights = scores.softmax(-1)
        scaled = weights * scale
        mixed = heads_times(scaled, patch) + scaled.sum(-1, keepdim=True) * node     # [B, h, S, D]
        mixed = mixed * gain + bias
        keys = self.norm3(keys + pad.back(attn.finish(mixed)))
        return self.norm4(self.mlp(keys)), pad.back(weights.transpose(1, 2))

    def fuse(self, tokens: Tensor, nodes: Tensor, weights: Tensor, pad: "NodePadding") -> Tensor:
        """Return [B, T, D], Q's weighted mean over each tile's nodes (fine fusion): sum_m w_mt
        LN2(x_t + a_m) / sum_m w_mt; in a tile without nodes LN2(x_t), that is, no message.

        Args:
            tokens: [B, T, D] image tokens.
            nodes: [M, D] OSM nodes.
            weights: [M, T] positive.
            pad: made of the nodes' tiles.
        """
        _, message = self._message(nodes)
        patch, node, scale = self._factors(tokens, pad(message))
        weights = pad(weights) + pad.alone[..., None]                   # [B, S, T], 0 where padded
        share = weights / weights.sum(1, keepdim=True) * scale                          # [B, S, T]
        mixed = patch * share.sum(1)[..., None] + share.transpose(1, 2) @ node          # [B, T, D]
        return mixed * self.norm2.weight + self.norm2.bias

    def _message(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return K after LN1, and what each node adds to every query of its tile; [M, D] both."""
        keys = self.norm1(nodes + self.self_attn(nodes))
        return keys, self.q2k_attn(keys)

    def _factors(self, tokens: Tensor, message: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return centred x [B, T, D] and a [B, S, D], and 1 / s [B, S, T].

        s is computed in float32 whatever the autocast: if a is close to -x, half-precision
        statistics are an order of magnitude less exact.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            x, a = (rows.to(torch.promote_types(rows.dtype, torch.float32))
                    for rows in (tokens, message))
            patch, node = x - x.mean(-1, keepdim=True), a - a.mean(-1, keepdim=True)
            square = (patch.square().sum(-1)[:, None] + node.square().sum(-1)[..., None]
                      + 2 * node @ patch.transpose(1, 2))
            variance = (square / x.shape[-1]).clamp(min=0)                              # [B, S, T]
            return patch, node, (variance + self.norm2.eps).rsqrt()


def node_mean(nodes: Tensor, weights: Tensor, pad: "NodePadding") -> Tensor:
    """Return [B, T, F], each tile's weighted mean of nodes, sum_m w_mt n_m / sum_m w_mt, or nan.

    Args:
        nodes: [M, F] OSM nodes.
        weights: [M, T] positive, those of the fine fusion.
        pad: made of the nodes' tiles.
    """
    weights = pad(weights)                                              # [B, S, T], 0 where padded
    return weights.transpose(1, 2) @ pad(nodes) / weights.sum(1)[..., None]


def place(nodes: Tensor, shares: Tensor, pad: "NodePadding") -> Tensor:
    """Return [B, 1 + T, F], the sum of each tile's nodes [M, F] at each patch, weighted by the
    shares [M, T] of it that they cover; 0 for CLS and where no node is."""
    return F.pad(pad(shares).transpose(1, 2).to(nodes.dtype) @ pad(nodes), (0, 0, 1, 0))


class NodePadding:
    """Moves rows of nodes [M, ...] into per-tile slots [B, S, ...] and back; S is the largest node
    count of a tile, at least 1.

    It is made outside the block because S must be known on the CPU: it waits for the GPU here,
    and torch.compile could not trace it. `batch` [M] is each node's tile, ascending; `tiles` is B.
    """

    def __init__(self, batch: Tensor, tiles: int):
        counts = torch.bincount(batch, minlength=tiles)                                       # [B]
        self.tiles, self.slots = tiles, max(int(counts.max()), 1) if tiles else 1
        slot = torch.arange(len(batch), device=batch.device) - (counts.cumsum(0) - counts)[batch]
        self.index = batch * self.slots + slot                                                # [M]
        first = torch.arange(self.slots, device=batch.device) == 0
        self.alone = (counts == 0)[:, None] & first           # [B, S] an empty tile's message is 0

    def __call__(self, rows: Tensor) -> Tensor:
        """Return [B, S, ...] of [M, ...], zero where padded."""
        padded = rows.new_zeros(self.tiles * self.slots, *rows.shape[1:])
        return padded.index_copy(0, self.index, rows).unflatten(0, (self.tiles, self.slots))

    def back(self, padded: Tensor) -> Tensor:
        """Return [M, ...] of [B, S, ...]."""
        return padded.flatten(0, 1)[self.index]
