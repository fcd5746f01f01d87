"""What a fusion adds to the patches of the image: how long it is, and whether it differs between
patches. In the method's global fusion a tile's patches all receive the same."""

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
    """Return figures of both fusions over the tiles `indices` that have objects.

    Each fusion has "norm_ratio", the mean length of what is added over that of the tokens it is
    added to, and "varies", the share of its square that differs between the patches of a tile,
    sum |m_t - mean m|^2 / sum |m_t|^2. The fine one has "weights", the 5 and 95 % quantiles of
    objects' weights in a patch, in units of the patch's mean. All are nan without objects.
    """
    device = next(rose.parameters()).device
    sums = {fusion: torch.zeros(4, dtype=torch.float64) for fusion in ("global", "fine")}
    weights = [torch.empty(0)]
    filled = [index for index in indices if len(tiles.read(index)[1].x)]
    for first in range(0, len(filled), batch_size):
        images, graphs = collate([tiles.read(i) for i in filled[first:first + batch_size]])
        images, graphs = rose.normalise(images.to(device)), graphs.to(device)
        sums["global"] += _sums(*_of_global(rose, images, graphs))
        tokens, messages, relative = _of_fine(rose, images, graphs)
        sums["fine"] += _sums(tokens, messages)
        weights.append(relative.flatten().cpu())
    figures = {fusion: {"norm_ratio": float(added / tokens), "varies": float(varying / whole)}
               for fusion, (added, tokens, varying, whole) in sums.items()}
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


def _of_global(rose: Rose, images: Tensor, graphs: Batch) -> tuple[Tensor, Tensor]:
    """Return [B, L, D] image tokens, and the messages of A_k2q with what is placed on them."""
    with _kept(rose.image_block.k2q_attn) as outputs, _kept(rose.token_proj) as tokens:
        rose.fuse(images, graphs, "global")
    placed = rose.placed_message(graphs, rose.image_encoder.grid(images))
    messages = outputs[0].expand_as(tokens[0])[:, 1:] + (0 if placed is None else placed)
    return tokens[0][:, 1:], messages


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
