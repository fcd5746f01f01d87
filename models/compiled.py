"""torch.compile for the parts of a network that are worth it, each a graph of its own without
breaks."""

from typing import Any

import torch
from torch import nn

from models.block import Block
from models.fusion import ImageFromOsmBlock, OsmFromImageBlock
from models.osm_encoder import OsmEncoder, Readout

# Parts that see as many rows as a batch has nodes: compiled once for any number of them, and anew
# for 0 or 1 of something (nodes, edges, masked nodes, tiles), which torch.compile treats apart.
# The limit is above all such cases together, in training and in use.
_OF_NODES = (OsmEncoder, Readout, OsmFromImageBlock)
_GRAPHS = 64


def compile_network(network: nn.Module, **options: Any) -> None:
    """Compile, in place, the ViT blocks, the OSM encoder and the cross-attention blocks in
    `network`, when they are first called.

    All blocks of a ViT share one compiled graph. Names and numbers of the parameters stay, so
    checkpoints are as without.

    Args:
        options: of `torch.compile`, such as mode or backend.
    """
    options = {"fullgraph": True, "recompile_limit": _GRAPHS, **options}
    for module in network.modules():
        if isinstance(module, _OF_NODES):
            module.compile(dynamic=True, **options)
        elif isinstance(module, (Block, ImageFromOsmBlock)):
            module.compile(**options)
        if isinstance(module, OsmFromImageBlock):
            module.fuse = torch.compile(module.fuse, dynamic=True, **options)
