"""Where an OSM object changes the fused image: the fusion with it less the fusion without it.

Attention says where an object looks. This says where the image hears of it, and is defined alike
for every fusion: the change of patch t's fused token, |F_t(graph) - F_t(graph without n)|. In the
global fusion of the method every patch receives one and the same message, so its share on the own
box is about chance.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from datasets import TileDataset, collate
from datasets.osm_degrader import remove_nodes
from datasets.stores.tile import CORNERS, LABEL
from models.rose import Encoded, Rose
from studies.attention_mass import ObjectAttention
from training.attention import patch_coverage
from utils.progress import progress_bar

FUSIONS = ("global", "fine")  # modes of `Rose.fuse`
OBJECTS = 4  # of a tile; the change of each takes fusions


def tile_influence(rose: Rose, tiles: TileDataset, indices: Sequence[int],
                   progress: bool = True) -> dict[str, ObjectAttention]:
    """Return for each of FUSIONS the influence of up to OBJECTS objects of each of the tiles
    `indices`, evenly over the tile's table; of one head, without that of others.

    Raises:
        RoseError: a tile cannot be read, or does not fit the network.
    """
    none = np.empty(0, np.int64)
    empty = ObjectAttention(none, none, none, np.empty(0), np.empty((0, 1)), np.empty(0))
    tables = {mode: [empty] for mode in FUSIONS}
    with progress_bar(len(indices), 0, "tile", progress) as bar:
        for index in indices:
            image, graph = tiles.read(index)
            if count := len(graph.x):
                nodes = np.unique(np.linspace(0, count - 1, OBJECTS).round().astype(np.int64))
                coverage = patch_coverage(graph.x[nodes][:, CORNERS],
                                          rose.image_encoder.grid(image[None]))          # [n, L]
                for mode, change in object_influence(rose, image, graph, nodes).items():
                    share = change_on_box(change, coverage)[:, None]                     # [n, 1]
                    tables[mode].append(ObjectAttention(
                        np.full(len(nodes), index), nodes, graph.x[nodes, LABEL].long().numpy(),
                        coverage.mean(1).numpy(), share.numpy(), np.full(len(nodes), np.nan)))
            bar.update(1)
    return {mode: ObjectAttention.joined(own) for mode, own in tables.items()}


def change_on_box(change: Tensor, coverage: Tensor) -> Tensor:
    """Return [n], the share of changes [n, L] that falls on boxes of coverage [n, L]; that of an
    even change where there is none."""
    change = change.double()
    whole = change.sum(1)
    return ((change * coverage).sum(1) / whole).where(whole > 0, coverage.mean(1))


@torch.inference_mode()
def object_influence(rose: Rose, image: Tensor, graph: Data,
                     nodes: Sequence[int]) -> dict[str, Tensor]:
    """Return for each of FUSIONS [len(nodes), L], how far each patch's fused token moves without
    the object.

    Args:
        image: uint8 [3, H, W] of one tile.
        graph: of the tile; `nodes` count its objects.
    """
    device = next(rose.parameters()).device
    without = [remove_nodes(graph, torch.tensor([node]), 1.0) for node in nodes]
    images, graphs = collate([(image, each) for each in (graph, *without)])
    images, graphs = rose.normalise(images.to(device)), graphs.to(device)
    grid = rose.image_encoder.grid(images)
    tokens = rose.encode_image(images[:1]).expand(len(images), -1, -1)   # all see the same image
    encoded = Encoded(tokens, *rose.encode_osm(graphs, grid))
    changes = {}
    for mode in FUSIONS:
        fused = rose.fuse_encoded(encoded, images, graphs, mode)[:, -math.prod(grid):]  # no CLS
        changes[mode] = (fused[1:] - fused[:1]).norm(dim=-1).cpu()
    return changes
