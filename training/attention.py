"""The attention of OSM objects on the patches of their tile: what of it falls inside a box
(attention study, Rose section 5.4)."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from PIL import Image
from torch import Tensor

from datasets import TileDataset, collate
from datasets.stores.tile import CORNERS, LABEL
from models.rose import Rose
from reports.record import ATTENTION, ATTENTION_FORMAT
from utils.outputs import write_json


def patch_coverage(corners: Tensor, grid: tuple[int, int]) -> Tensor:
    """Share of each patch's area that a rotated box covers.

    Args:
        corners: [n, 8] x1 y1 .. x4 y4 in tile units, in any order; parts outside the tile cover no
            patch.
        grid: (rows, columns) of patches.

    Returns:
        [n, L] float64 in [0, 1]; its mean over the patches is the share of the tile that the box
        covers.
    """
    rows, cols = grid
    boxes = shapely.convex_hull(shapely.multipoints(corners.double().numpy().reshape(-1, 4, 2)))
    row, col = np.divmod(np.arange(rows * cols), cols)
    patches = shapely.box(col / cols, row / rows, (col + 1) / cols, (row + 1) / rows)
    node, patch = shapely.STRtree(patches).query(boxes, predicate="intersects")
    coverage = torch.zeros(len(boxes), rows * cols, dtype=torch.float64)
    coverage[node,
             patch] = torch.from_numpy(
                 shapely.area(shapely.intersection(boxes[node], patches[patch]))) * rows * cols
    return coverage.clamp(max=1)


def patch_attention(attention: Tensor) -> Tensor:
    """[n, heads, L] attention [n, heads, 1 + L] without the CLS token, each head's summing to 1
    again; float64."""
    patches = attention[..., 1:].double()
    return patches / patches.sum(-1, keepdim=True)


def attention_mass(patches: Tensor, coverage: Tensor) -> Tensor:
    """Share of each head's attention inside the own box: mass_nh = sum_t coverage_nt A_nht;
    uniform attention has the box's share.

    Args:
        patches: [n, heads, L] of `patch_attention`.
        coverage: [n, L] of `patch_coverage`.

    Returns:
        [n, heads].
    """
    return torch.einsum("nhl,nl->nh", patches, coverage)


MOST_OBJECTS = 250   # of a tile; the largest
JPEG_QUALITY = 88
DIGITS = 4           # of shares and of corners


def write_attention(rose: Rose, tiles: TileDataset, indices: Sequence[int], folder: Path) -> None:
    """attention.json in `folder`: of the tiles `indices`, those with objects, the image and where
    each object looks."""
    records = [_of_tile(rose, tiles, index) for index in indices if len(tiles.read(index)[1].x)]
    write_json(folder / ATTENTION, {"format": ATTENTION_FORMAT, "tiles": records})


@torch.inference_mode()
def _of_tile(rose: Rose, tiles: TileDataset, index: int) -> dict[str, Any]:
    images, graphs = collate([tiles[index]])
    device, grid = next(rose.parameters()).device, rose.image_encoder.grid(images)
    was_training = rose.training
    rose.eval()
    attention = rose.osm_attention(images.to(device), graphs.clone().to(device),
                                   torch.arange(len(graphs.x), device=device)).cpu()
    rose.train(was_training)
    # [N, heads, L], [N, L]
    patches, coverage = patch_attention(attention), patch_coverage(graphs.x[:, CORNERS], grid)
    # [N, L], [N], [N]
    looks, own, box = patches.mean(1), attention_mass(patches, coverage).mean(1), coverage.mean(1)
    largest = box.argsort(descending=True, stable=True)[:MOST_OBJECTS].tolist()
    return {
        "name": tiles.names[index], "grid": list(grid), "image": _jpeg(tiles.read(index)[0]),
        "left_out": len(box) - len(largest),
        "mean": _quantised(looks.mean(0)),
        "objects": [{
            "node": node, "tag": tiles.tag(index, int(graphs.x[node, LABEL])),
            "box_share": round(box[node].item(), DIGITS),
            "attention_share": round(own[node].item(), DIGITS), **_quantised(looks[node]),
            "corners": [round(value, DIGITS) for value in graphs.x[node, CORNERS].tolist()],
        } for node in largest],
    }


def _quantised(looks: Tensor) -> dict[str, Any]:
    """Attention [L] in 255ths of its peak, and the peak as a multiple of attention spread evenly
    over the patches."""
    peak = looks.max()
    levels = (looks / peak * 255).round().to(torch.uint8)                                # [L]
    return {"peak": round(peak.item() * len(looks), DIGITS),
            "levels": base64.b64encode(levels.numpy().tobytes()).decode()}


def _jpeg(image: Tensor) -> str:
    """uint8 [3, H, W] as the base64 of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image.movedim(0, -1).numpy()).save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
