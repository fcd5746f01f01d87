"""Modalities: what a decoder reads of a tile, made of its image and its graph.

Each is one value, registered by one line in models/registry.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from torch import Tensor
from torch_geometric.data import Batch

from models.pyramid import layer_indices
from models.rose import Encoded, Rose

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
    # images and graphs -> four [B, L, D], the last of them `tokens`, for a decoder that reads them
    layers: Callable[[Rose, Tensor, Batch], list[Tensor]] | None = None
    width: Callable[[Rose], int] = attrgetter("width")  # returns D for a Rose


def image_layers(rose: Rose, images: Tensor, graphs: Batch) -> list[Tensor]:
    """Return four evenly spaced layers [B, L, D] of the image encoder, the last one its output."""
    encoder = rose.image_encoder
    return encoder.layers(images, layer_indices(len(encoder.blocks)))


def fused_layers(mode: str) -> Callable[[Rose, Tensor, Batch], list[Tensor]]:
    """Return a function like `image_layers` whose last layer is the fusion `mode` of the tokens:
    what the objects add is of the last layer's kind, and details of the image are in the others."""
    def layers(rose: Rose, images: Tensor, graphs: Batch) -> list[Tensor]:
        encoder = rose.image_encoder
        *inner, last = encoder.layers(images, layer_indices(len(encoder.blocks)), cls=True)
        encoded = Encoded(last, *rose.encode_osm(graphs, rose.check(images, graphs)))
        fused = rose.fuse_encoded(encoded, images, graphs, mode)
        return [tokens[:, 1 - last.shape[1]:] for tokens in (*inner, fused)]  # without CLS
    return layers


_IMAGE = ("image_encoder.",)
_NODES = ("osm_encoder.conv.", "osm_encoder.norm.")
_READOUT = (*_NODES, "osm_encoder.readout.")

IMAGE = Representation(_IMAGE,
                       tokens=lambda rose, images, graphs: rose.encode_image(images)[:, 1:],
                       vector=lambda rose, images, graphs: rose.encode_image(images)[:, 0],
                       layers=image_layers)
OSM = Representation(
    _READOUT,
    vector=lambda rose, images, graphs: rose.encode_osm(graphs, rose.check(images, graphs))[1],
    width=lambda rose: 2 * rose.osm_encoder.out_dim)
GLOBAL_FUSION = Representation(
    (*_IMAGE, *_READOUT, "graph_token_proj.", "token_proj.", "image_block."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 1:],
    vector=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 0],
    layers=fused_layers("global"))
FINE_FUSION = Representation(
    (*_IMAGE, *_NODES, "token_proj.", "node_proj.", "osm_block.self_attn.",
     "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "fine"),
    layers=fused_layers("fine"))
