"""Simple statistics of a tile's patches: colours of its pixels, and tags of the objects on it."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from datasets.stores.tile import LABEL
from datasets.targets import UNKNOWN
from models.coverage import patch_shares

SIDE = 16            # pixels of a patch
AROUND = 5           # patches along the neighbourhood whose mean is a statistic, too
LEAST_KNOWN = 0.25   # share of a patch's pixels with a class, for the patch to have one
QUANTILES = (0.1, 0.9)


def colour_statistics(image: Tensor) -> Tensor:
    """Return float32 [L, 24] of an image uint8 [3, H, W]: mean, deviation, 10 % and 90 % quantile
    of each channel in a patch, and the means of these over AROUND x AROUND patches."""
    pixels = image.float().div(255).unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    rows, columns = pixels.shape[1:3]
    pixels = pixels.flatten(3).permute(1, 2, 0, 3).flatten(0, 1)                  # [L, 3, pixels]
    ordered = pixels.sort(-1).values
    last = pixels.shape[-1] - 1
    values = torch.cat([pixels.mean(-1), pixels.std(-1),
                        *(ordered[..., round(share * last)] for share in QUANTILES)], 1)
    return torch.cat([values, _around(values, rows, columns)], 1)


def object_statistics(graph: Data, tags: int, rows: int, columns: int) -> Tensor:
    """Return float32 [L, 3 * tags]: the share of a patch that objects of each tag cover, by
    outline where the tile knows it, its mean over AROUND x AROUND patches, and over the tile.

    Args:
        tags: label codes that objects may have; others count nowhere.
        rows, columns: of patches.
    """
    code = graph.x[:, LABEL].long()
    known = (code >= 0) & (code < tags)
    shares = patch_shares(graph, (rows, columns))[known]                              # [N, L]
    values = shares.new_zeros(tags, rows * columns).index_add_(0, code[known], shares)
    values = values.clamp_(max=1).T                                                   # [L, tags]
    return torch.cat([values, _around(values, rows, columns),
                      values.mean(0, keepdim=True).expand_as(values)], 1)


def patch_counts(target: Tensor, classes: int) -> Tensor:
    """Return float32 [L, classes], the pixels of each class in each patch of labels [H, W]."""
    patches = target.unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE).flatten(2).flatten(0, 1)
    return torch.stack([(patches == number).sum(1) for number in range(classes)], 1).float()


def patch_classes(counts: Tensor) -> Tensor:
    """Return the commonest class of each patch, int64 [...], of counts [..., classes]; UNKNOWN
    where less than LEAST_KNOWN of its pixels have one."""
    known = counts.sum(-1) >= LEAST_KNOWN * SIDE**2
    return counts.argmax(-1).where(known, UNKNOWN)


def stacked(parts: Iterable[Tensor]) -> Tensor:
    """Return tensors of equal shape stacked, in half precision, which holds shares well enough."""
    return torch.stack([part.half() for part in parts])


def _around(values: Tensor, rows: int, columns: int) -> Tensor:
    """Return means [L, C] of values [L, C] over the patches around each, fewer at the edge."""
    image = values.T.unflatten(1, (rows, columns))[None]
    return F.avg_pool2d(image, AROUND, 1, AROUND // 2, count_include_pad=False)[0].flatten(1).T
