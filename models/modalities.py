"""Modalities: what a decoder reads of a tile, made of its image and its graph.

Each is one value, registered by one line in models/registry.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from torch import Tensor
from torch_geometric.data import Batch

from models.rose import Rose

_Function = Callable[[Rose, Tensor, Batch], Tensor]


@dataclass(frozen=True)
class Representation:
    """A modality of a Rose.

    All parameters of the Rose are frozen except those with the prefixes `parameters`, on which it
    depends, so that every trainable parameter receives a gradient.
    """

    parameters: tuple[str, ...]
    tokens: _Function | None = None  # images [B, 3, H, W] and graphs -> [B, L, D], a token a patch
    vector: _Function | None = None  # images and graphs -> [B, D], a vector a tile
    width: Callable[[Rose], int] = attrgetter("width")  # returns D for a Rose


_IMAGE = ("image_encoder.",)
_NODES = ("osm_encoder.conv.", "osm_encoder.norm.")
_READOUT = (*_NODES, "osm_encoder.readout.")

IMAGE = Representation(_IMAGE,
                       tokens=lambda rose, images, graphs: rose.encode_image(images)[:, 1:],
                       vector=lambda rose, images, graphs: rose.encode_image(images)[:, 0])
OSM = Representation(
    _READOUT,
    vector=lambda rose, images, graphs: rose.encode_osm(graphs, rose.check(images, graphs))[1],
    width=lambda rose: 2 * rose.osm_encoder.out_dim)
GLOBAL_FUSION = Representation(
    (*_IMAGE, *_READOUT, "graph_token_proj.", "token_proj.", "image_block."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 1:],
    vector=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 0])
FINE_FUSION = Representation(
    (*_IMAGE, *_NODES, "token_proj.", "node_proj.", "osm_block.self_attn.",
     "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "fine"))
