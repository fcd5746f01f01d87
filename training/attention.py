"""The attention of OSM objects on their tile's patches (attention study, Rose section 5.4)."""

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
from torch_geometric.data import Batch

from datasets import TileDataset, collate
from datasets.stores.tile import CORNERS, LABEL
from models.rose import Rose
from reports.record import ATTENTION, ATTENTION_FORMAT
from training.modes import in_evaluation_mode
from utils.outputs import write_json

MOST_OBJECTS = 250   # of a tile; the largest
JPEG_QUALITY = 88
DIGITS = 4           # of shares and of corners


def patch_coverage(corners: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the share of each patch's area that a rotated box covers.

    Args:
        corners: [n, 8] x1 y1 .. x4 y4 in tile units, in any order, also beyond the tile.
        grid: (rows, columns) of patches.

    Returns:
        [n, L] float64 in [0, 1]; its mean over the patches is the covered share of the tile.
    """
    rows, cols = grid
    boxes = shapely.convex_hull(shapely.multipoints(corners.double().numpy().reshape(-1, 4, 2)))
    row, col = np.divmod(np.arange(rows * cols), cols)
    patches = shapely.box(col / cols, row / rows, (col + 1) / cols, (row + 1) / rows)
    node, patch = shapely.STRtree(patches).query(boxes, predicate="intersects")
    overlap = shapely.area(shapely.intersection(boxes[node], patches[patch]))
    coverage = torch.zeros(len(boxes), rows * cols, dtype=torch.float64)
    coverage[node, patch] = torch.from_numpy(overlap) * rows * cols
    return coverage.clamp(max=1)


def patch_attention(attention: Tensor) -> Tensor:
    """Return [n, heads, L] float64: attention [n, heads, 1 + L] without CLS, of sum 1 a head."""
    patches = attention[..., 1:].double()
    return patches / patches.sum(-1, keepdim=True)


def attention_mass(patches: Tensor, coverage: Tensor) -> Tensor:
    """Return [n, heads], the share of attention inside the object's box: sum_t coverage_nt A_nht.

    Uniform attention has the box's share of the tile.

    Args:
        patches: [n, heads, L] of `patch_attention`.
        coverage: [n, L] of `patch_coverage`.
    """
    return torch.einsum("nhl,nl->nh", patches, coverage)


@torch.inference_mode()
def placed_length(rose: Rose, images: Tensor, graphs: Batch) -> Tensor | None:
    """Return [B, L], the length of what the objects that cover a patch add to its token in the
    global fusion; None with placement=tile."""
    device, grid = next(rose.parameters()).device, rose.image_encoder.grid(images)
    graphs = graphs.clone().to(device)
    message = rose.placed_message(graphs, grid)                                       # [B, L, D]
    return None if message is None else message.norm(dim=-1).cpu()


def write_attention(rose: Rose, tiles: TileDataset, indices: Sequence[int], folder: Path) -> None:
    """Write attention.json: image and objects' attention of the tiles that have objects."""
    records = [_of_tile(rose, tiles, index) for index in indices if len(tiles.read(index)[1].x)]
    write_json(folder / ATTENTION, {"format": ATTENTION_FORMAT, "tiles": records})


@torch.inference_mode()
def _of_tile(rose: Rose, tiles: TileDataset, index: int) -> dict[str, Any]:
    images, graphs = collate([tiles.read(index)])
    device, grid = next(rose.parameters()).device, rose.image_encoder.grid(images)
    with in_evaluation_mode(rose):
        attention = rose.osm_attention(rose.normalise(images.to(device)), graphs.clone().to(device),
                                       torch.arange(len(graphs.x), device=device)).cpu()
    patches = patch_attention(attention)                                         # [N, heads, L]
    coverage = patch_coverage(graphs.x[:, CORNERS], grid)                        # [N, L]
    looks, box = patches.mean(1), coverage.mean(1)                               # [N, L], [N]
    own = attention_mass(patches, coverage).mean(1)                              # [N]
    largest = box.argsort(descending=True, stable=True)[:MOST_OBJECTS].tolist()
    adds = placed_length(rose, images, graphs)
    return {
        "name": tiles.names[index], "grid": list(grid), "image": _jpeg(images[0]),
        **({} if adds is None else {"adds": _quantised(adds[0] / adds[0].sum())}),
        "left_out": len(box) - len(largest), "mean": _quantised(looks.mean(0)),
        "objects": [{
            "node": node, "tag": tiles.tag(index, int(graphs.x[node, LABEL])),
            "box_share": round(box[node].item(), DIGITS),
            "attention_share": round(own[node].item(), DIGITS), **_quantised(looks[node]),
            "corners": [round(value, DIGITS) for value in graphs.x[node, CORNERS].tolist()],
        } for node in largest],
    }


def _quantised(looks: Tensor) -> dict[str, Any]:
    """Return shares [L] of sum 1 in 255ths of their peak, and the peak in units of even ones; of
    no share at all, zeros."""
    looks = looks.nan_to_num()
    peak = looks.max().clamp(min=torch.finfo(looks.dtype).tiny)
    levels = (looks / peak * 255).round().to(torch.uint8)                                # [L]
    return {"peak": round(peak.item() * len(looks), DIGITS),
            "levels": base64.b64encode(levels.numpy().tobytes()).decode()}


def _jpeg(image: Tensor) -> str:
    """Return an image, uint8 [3, H, W], as the base64 of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image.movedim(0, -1).numpy()).save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
