"""The share of an OSM object's attention that falls on its own box in the image (attention study,
Rose section 5.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from datasets import TileDataset, collate
from datasets.stores.tile import CORNERS, LABEL
from models.rose import Rose
from training.attention import attention_mass, patch_attention, patch_coverage
from utils.progress import progress_bar

SIZE_BOUNDS = (1, 4, 16, 64)  # of the classes of object sizes, in patches


@dataclass(frozen=True)
class ObjectAttention:
    """The attention of n OSM objects and their rotated boxes, cut at the tile's edge.

    Attributes:
        box_share: [n] share of the tile that the box covers, and of uniform attention inside it.
        head_share: [n, heads] share of each head's attention on patches that falls inside the box.
        others_share: [n] the same, mean of heads, of the attention of the tile's other objects;
            nan if there are none.
    """

    tile: np.ndarray  # [n] index of the tile in its dataset
    node: np.ndarray  # [n] row of the object in the tile's node table
    code: np.ndarray  # [n] label code
    box_share: np.ndarray
    head_share: np.ndarray
    others_share: np.ndarray

    def __len__(self) -> int:
        return len(self.node)

    @property
    def share(self) -> np.ndarray:
        """[n] mean of the heads."""
        return self.head_share.mean(1)

    @property
    def lift(self) -> np.ndarray:
        """[n] attention on the own box as a multiple of uniform attention; nan for a box without
        area in the tile."""
        return np.divide(self.share, self.box_share, out=np.full(len(self), np.nan),
                         where=self.box_share > 0)

    def where(self, chosen: np.ndarray) -> "ObjectAttention":
        """Return the objects that are True in `chosen` [n]."""
        return ObjectAttention(*(getattr(self, item.name)[chosen] for item in fields(self)))

    @classmethod
    def joined(cls, tables: Sequence["ObjectAttention"]) -> "ObjectAttention":
        return cls(*(np.concatenate([getattr(table, item.name) for table in tables])
                     for item in fields(cls)))


def others_mass(patches: Tensor, coverage: Tensor) -> Tensor:
    """Return [n], the mean attention of the other objects of one tile on each object's box: the
    share that is due to the box, not to the object.

    Args:
        patches: [n, L] attention of the tile's objects, mean of the heads.
        coverage: [n, L] of their boxes.
    """
    others = (patches.sum(0) - patches) / (len(patches) - 1)      # [n, L]; nan for an object alone
    return (others * coverage).sum(-1)


@torch.inference_mode()
def tile_attention(rose: Rose, tiles: TileDataset, indices: Sequence[int], batch_size: int,
                   progress: bool = True) -> ObjectAttention:
    """Return the attention of all objects of the tiles `indices`; raise RoseError if a tile cannot
    be read, or does not fit the network."""
    heads, device = rose.osm_block.k2q_attn.heads, next(rose.parameters()).device
    codes, shares = np.empty(0, np.int64), np.empty(0)
    tables = [ObjectAttention(codes, codes, codes, shares, np.empty((0, heads)), shares)]
    remaining = iter(indices)
    with progress_bar(len(indices), 0, "tile", progress) as bar:
        for first in range(0, len(indices), batch_size):
            images, graphs = collate([tiles.read(i) for i in indices[first:first + batch_size]])
            x, slices, grid = graphs.x, graphs.ptr.tolist(), rose.image_encoder.grid(images)
            attention = rose.osm_attention(rose.normalise(images.to(device)), graphs.to(device),
                                           torch.arange(len(x), device=device)).cpu()
            coverage = patch_coverage(x[:, CORNERS], grid)                               # [N, L]
            for start, end in pairwise(slices):
                tables.append(_of_tile(next(remaining), x[start:end, LABEL], attention[start:end],
                                       coverage[start:end]))
            bar.update(len(images))
    return ObjectAttention.joined(tables)


def _of_tile(index: int, codes: Tensor, attention: Tensor, coverage: Tensor) -> ObjectAttention:
    patches, count = patch_attention(attention), len(codes)
    own, others = attention_mass(patches, coverage), others_mass(patches.mean(1), coverage)
    return ObjectAttention(np.full(count, index), np.arange(count), codes.long().numpy(),
                           coverage.mean(1).numpy(), own.numpy(), others.numpy())


def summarise(objects: ObjectAttention, patches: int) -> dict:
    """Return means over the objects whose box has an area: of all, by head and by size in patches.

    They are the figures of `_figures`, "objects", "without_box" (left out), "lift_standard_error"
    (over tiles), "median_lift", "objects_above_uniform" (share with a lift above 1), and the lists
    "heads" and "sizes"; nan for no objects. A tile has `patches` of them.
    """
    boxed = objects.where(objects.box_share > 0)
    sizes = boxed.box_share * patches
    heads = [{"head": head + 1, "attention_share": _mean(share),
              "lift": _mean(share) / _mean(boxed.box_share)}
             for head, share in enumerate(boxed.head_share.T)]
    by_size = [{"patches": name, "objects": int(inside.sum()), **_figures(boxed.where(inside))}
               for name, inside in _size_classes(sizes).items() if inside.any()]
    lift = boxed.lift
    return {
        "objects": len(boxed), "without_box": len(objects) - len(boxed), **_figures(boxed),
        "lift_standard_error": _standard_error(boxed),
        "median_lift": float(np.median(lift)) if len(lift) else np.nan,
        "objects_above_uniform": _mean(lift > 1), "heads": heads, "sizes": by_size,
    }


def _figures(objects: ObjectAttention) -> dict[str, float]:
    """Return mean shares, and lift and lift_of_others, the mean attention over the box's share."""
    box, share = _mean(objects.box_share), _mean(objects.share)
    shared = objects.where(~np.isnan(objects.others_share))
    others, shared_box = _mean(shared.others_share), _mean(shared.box_share)
    return {"box_share": box, "attention_share": share, "lift": share / box,
            "attention_share_of_others": others, "lift_of_others": others / shared_box}


def _standard_error(objects: ObjectAttention) -> float:
    """Return that of the lift sum_n share_n / sum_n box_n, with tiles, not objects, as the
    independent draws; nan for fewer than two tiles."""
    _, tile = np.unique(objects.tile, return_inverse=True)
    count = tile.max(initial=-1) + 1
    if count < 2:
        return np.nan
    lift = objects.share.sum() / objects.box_share.sum()
    residuals = np.bincount(tile, objects.share - lift * objects.box_share)              # [tiles]
    error = np.sqrt(count / (count - 1) * np.square(residuals).sum())
    return float(error / objects.box_share.sum())


def _size_classes(sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return name -> [n] bool, for boxes of `sizes` [n] patches."""
    bounds = (0, *SIZE_BOUNDS, np.inf)
    between = [f"{low} to {high}" for low, high in pairwise(SIZE_BOUNDS)]
    names = [f"under {SIZE_BOUNDS[0]}", *between, f"{SIZE_BOUNDS[-1]} or more"]
    return {name: (sizes >= low) & (sizes < high)
            for name, (low, high) in zip(names, pairwise(bounds), strict=True)}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else np.nan
