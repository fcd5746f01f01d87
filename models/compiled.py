"""torch.compile for the modules where it pays, each a graph of its own without breaks."""

from inspect import signature
from typing import Any

import torch
from torch import nn

from models.block import Block
from models.fusion import ImageFromOsmBlock, OsmFromImageBlock
from models.osm_encoder import OsmEncoder, Readout

# Modules whose number of rows varies: compiled once for any number, and again for 0 or 1 nodes,
# edges, masked nodes or tiles, which torch.compile specialises on. _GRAPHS exceeds the number of
# such cases, in training and in use.
_OF_NODES = (Readout, OsmFromImageBlock)
_GRAPHS = 64
_METHODS_OF_NODES = {OsmEncoder: "embed", OsmFromImageBlock: "fuse"}


def compile_network(network: nn.Module, **options: Any) -> None:
    """Let ViT blocks, OSM encoder and cross-attention blocks compile themselves when first called.

    All blocks of a ViT share one compiled graph. Parameters keep their names, so checkpoints do
    not change. `options` are those of `torch.compile`, such as mode or backend.
    """
    options = {"fullgraph": True, **_many_graphs(), **options}
    for module in network.modules():
        if isinstance(module, _OF_NODES):
            module.compile(dynamic=True, **options)
        elif isinstance(module, (Block, ImageFromOsmBlock)):
            module.compile(**options)
        for kind, method in _METHODS_OF_NODES.items():
            if isinstance(module, kind):
                setattr(module, method, torch.compile(getattr(module, method), dynamic=True,
                                                      **options))


def _many_graphs() -> dict[str, int]:
    """Return the option that allows _GRAPHS graphs a module.

    Versions of torch before 2.12 know a limit for the whole process alone, which is set instead.
    """
    if "recompile_limit" in signature(torch.compile).parameters:
        return {"recompile_limit": _GRAPHS}
    torch._dynamo.config.recompile_limit = _GRAPHS
    return {}
