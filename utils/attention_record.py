"""Where the OSM objects of a few tiles look in the image, as a small JSON file that a report shows without the network."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from datasets import TileDataset, collate
from datasets.tiles import CORNERS, LABEL
from models.rose import Rose
from utils.attention import attention_mass, patch_attention, patch_coverage
from utils.html.files import ATTENTION, ATTENTION_FORMAT
from utils.outputs import write_json

MOST_OBJECTS = 250   # of a tile; the largest
JPEG_QUALITY = 88
DIGITS = 4           # of shares and of corners


def write_attention(rose: Rose, tiles: TileDataset, indices: Sequence[int], folder: Path) -> None:
    """attention.json in `folder`: of the tiles `indices`, those with objects, the image and where each object looks."""
    records = [_of_tile(rose, tiles, index) for index in indices if len(tiles.read(index)[1].x)]
    write_json(folder / ATTENTION, {"format": ATTENTION_FORMAT, "tiles": records})


@torch.inference_mode()
def _of_tile(rose: Rose, tiles: TileDataset, index: int) -> dict[str, Any]:
    images, graphs = collate([tiles[index]])
    device, grid = next(rose.parameters()).device, rose.image_encoder.grid(images)
    was_training = rose.training
    rose.eval()
    attention = rose.osm_attention(images.to(device), graphs.clone().to(device), torch.arange(len(graphs.x), device=device)).cpu()
    rose.train(was_training)
    patches, coverage = patch_attention(attention), patch_coverage(graphs.x[:, CORNERS], grid)  # [N, heads, L], [N, L]
    looks, own, box = patches.mean(1), attention_mass(patches, coverage).mean(1), coverage.mean(1)  # [N, L], [N], [N]
    largest = box.argsort(descending=True, stable=True)[:MOST_OBJECTS].tolist()
    return {
        "name": tiles.names[index], "grid": list(grid), "image": _jpeg(tiles.read(index)[0]), "left_out": len(box) - len(largest),
        "mean": _quantised(looks.mean(0)),
        "objects": [{
            "node": node, "tag": tiles.tag(index, int(graphs.x[node, LABEL])), "box_share": round(box[node].item(), DIGITS),
            "attention_share": round(own[node].item(), DIGITS), **_quantised(looks[node]),
            "corners": [round(value, DIGITS) for value in graphs.x[node, CORNERS].tolist()],
        } for node in largest],
    }


def _quantised(looks: Tensor) -> dict[str, Any]:
    """Attention [L] in 255ths of its peak, and the peak as a multiple of attention spread evenly over the patches."""
    peak = looks.max()
    levels = (looks / peak * 255).round().to(torch.uint8)                                # [L]
    return {"peak": round(peak.item() * len(looks), DIGITS), "levels": base64.b64encode(levels.numpy().tobytes()).decode()}


def _jpeg(image: Tensor) -> str:
    """uint8 [3, H, W] as the base64 of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image.movedim(0, -1).numpy()).save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
