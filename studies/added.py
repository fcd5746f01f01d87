"""What the fusions add to the patches of the image: how long it is, and whether it differs between
patches. In the method's global fusion a tile's patches all receive the same.

Each part is measured where it is added (models/fusion.py): in the global fusion the message of
A_k2q to what LN1 returns, and with placement=coverage the objects that cover a patch to the token
projection, before LN1; in the fine fusion the message of A_q2k to the token projection.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from datasets import TileDataset, collate
from models.fusion import NodePadding, node_mean
from models.rose import Rose

QUANTILES = (0.05, 0.95)


@torch.inference_mode()
def added(rose: Rose, tiles: TileDataset, indices: Sequence[int],
          batch_size: int) -> dict[str, dict]:
    """Return figures of all that is added, over the tiles `indices` that have objects: "message"
    and, with placement=coverage, "placed" of the global fusion; "fine" of the fine one.

    Each has "norm_ratio", the mean length of what is added over that of what it is added to, and
    "varies", the share of its square that differs between the patches of a tile,
    sum |m_t - mean m|^2 / sum |m_t|^2. The fine one has "weights", the 5 and 95 % quantiles of
    objects' weights in a patch, in units of the patch's mean. All are nan without objects.
    """
    device = next(rose.parameters()).device
    parts = ("message", *["placed"] * (rose.placement == "coverage"), "fine")
    sums = {part: torch.zeros(4, dtype=torch.float64) for part in parts}
    weights = [torch.empty(0)]
    filled = [index for index in indices if len(tiles.read(index)[1].x)]
    for first in range(0, len(filled), batch_size):
        images, graphs = collate([tiles.read(i) for i in filled[first:first + batch_size]])
        images, graphs = rose.normalise(images.to(device)), graphs.to(device)
        for part, pair in _of_global(rose, images, graphs).items():
            sums[part] += _sums(*pair)
        tokens, messages, relative = _of_fine(rose, images, graphs)
        sums["fine"] += _sums(tokens, messages)
        weights.append(relative.flatten().cpu())
    figures = {part: {"norm_ratio": float(added / tokens), "varies": float(varying / whole)}
               for part, (added, tokens, varying, whole) in sums.items()}
    known = torch.cat(weights).double().numpy()
    if len(known):
        figures["fine"]["weights"] = np.quantile(known, QUANTILES).tolist()
    return figures


def _sums(tokens: Tensor, messages: Tensor) -> Tensor:
    """Return sums over tiles and patches of [B, L, D] tokens and messages: of lengths of both, and
    of squares of the messages' deviations from their tile's mean, and of the messages."""
    deviation = messages - messages.mean(1, keepdim=True)
    return torch.stack([messages.norm(dim=-1).sum(), tokens.norm(dim=-1).sum(),
                        deviation.square().sum(), messages.square().sum()]).double().cpu()


def _of_global(rose: Rose, images: Tensor, graphs: Batch) -> dict[str, tuple[Tensor, Tensor]]:
    """Return for each part [B, L, D] twice: what it is added to, and the part."""
    block = rose.image_block
    with (_kept(block.k2q_attn) as outputs, _kept(block.norm1) as keys,
          _kept(rose.token_proj) as tokens):
        rose.fuse(images, graphs, "global")
    parts = {"message": (keys[0][:, 1:], outputs[0].expand_as(keys[0])[:, 1:])}
    placed = rose.placed_message(graphs, rose.image_encoder.grid(images))
    return parts if placed is None else {**parts, "placed": (tokens[0][:, 1:], placed)}


def _of_fine(rose: Rose, images: Tensor, graphs: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return [B, L, D] tokens, their weighted mean messages of A_q2k, and weights [N, L] over each
    patch's mean."""
    with _kept(rose.osm_block.q2k_attn) as outputs, _kept(rose.token_proj) as tokens:
        rose.fuse(images, graphs, "fine")
    weights = rose.nearness(graphs, rose.image_encoder.grid(images))                     # [N, L]
    pad = NodePadding(graphs.batch, len(images))
    padded = pad(weights)                                               # [B, S, L], 0 where padded
    mean = padded.sum(1) / graphs.ptr.diff()[:, None]                                    # [B, L]
    return (tokens[-1][:, -weights.shape[1]:], node_mean(outputs[0], weights, pad),
            pad.back(padded / mean[:, None]))


@contextmanager
def _kept(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns in each of its calls."""
    values: list[Tensor] = []
    hook = module.register_forward_hook(lambda _, given, returned: values.append(returned))
    try:
        yield values
    finally:
        hook.remove()
