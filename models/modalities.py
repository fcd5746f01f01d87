"""Modalities: what a decoder reads of a tile, made of its image and its graph.

Each is one value, registered by one line in models/registry.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

from torch import Tensor
from torch_geometric.data import Batch

from models.pyramid import layer_indices
from models.rose import Encoded, Rose

Added = Tensor | None  # [B, L, D], to the embedded patches
# of a Rose, images [B, 3, H, W], graphs; and of what is added, if there is something
_Function = Callable[..., Any]


@dataclass(frozen=True)
class Representation:
    """A modality of a Rose.

    All parameters of the Rose are frozen except those with the prefixes `parameters`, on which it
    depends, so that every trainable parameter receives a gradient.
    """

    parameters: tuple[str, ...]
    tokens: _Function | None = None  # gives [B, L, D], a token a patch
    vector: _Function | None = None  # gives [B, D], a vector a tile
    layers: _Function | None = None  # gives four [B, L, D], the last of them `tokens`
    width: Callable[[Rose], int] = attrgetter("width")  # returns D for a Rose
    vector_width: Callable[[Rose], int] | None = None  # of vectors, if it is another
    vector_parameters: tuple[str, ...] = ()  # further ones, on which vectors alone depend
    placed_parameters: tuple[str, ...] = ()  # further ones, if objects are placed by coverage

    def width_of(self, gives: str, rose: Rose) -> int:
        """Return D of "tokens" or "vector"."""
        of_vector = self.vector_width if gives == "vector" else None
        return (of_vector or self.width)(rose)

    def trained(self, gives: str, rose: Rose) -> tuple[str, ...]:
        """Return the prefixes of the Rose's parameters that "tokens" or "vector" depend on."""
        return (*self.parameters, *(self.vector_parameters if gives == "vector" else ()),
                *(self.placed_parameters if rose.placement == "coverage" else ()))


def osm_tokens(rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
    """Return [B, L, graph_out_dim] of `Rose.osm_patches`; 0 where a tile has no objects."""
    grid = rose.check(images, graphs)
    nodes, _ = rose.encode_osm(graphs, grid)
    empty = graphs.ptr.diff() == 0                                                             # [B]
    return rose.osm_patches(nodes, graphs, grid).masked_fill(empty[:, None, None], 0)


def image_layers(rose: Rose, images: Tensor, graphs: Batch, added: Added = None) -> list[Tensor]:
    """Return four evenly spaced layers [B, L, D] of the image encoder, the last one its output."""
    encoder = rose.image_encoder
    return encoder.layers(images, layer_indices(len(encoder.blocks)), added=added)


def fused_layers(mode: str) -> _Function:
    """Return a function like `image_layers` whose last layer is the fusion `mode` of the tokens:
    what the objects add is of the last layer's kind, and details of the image are in the others."""
    def layers(rose: Rose, images: Tensor, graphs: Batch, added: Added = None) -> list[Tensor]:
        encoder = rose.image_encoder
        *inner, last = encoder.layers(images, layer_indices(len(encoder.blocks)), cls=True,
                                      added=added)
        encoded = Encoded(last, *rose.encode_osm(graphs, rose.check(images, graphs)))
        fused = rose.fuse_encoded(encoded, images, graphs, mode)
        return [tokens[:, 1 - last.shape[1]:] for tokens in (*inner, fused)]  # without CLS
    return layers


def _encoded(rose: Rose, images: Tensor, graphs: Batch, added: Added = None) -> Tensor:
    return rose.encode_image(images, added)


def _fused(rose: Rose, images: Tensor, graphs: Batch, added: Added = None,
           mode: str = "global") -> Tensor:
    return rose.fuse(images, graphs, mode, added)


def _unseen(function: _Function) -> _Function:
    """Return a function of the drawn objects alone: they are in the place of the pixels."""
    def of_objects(rose: Rose, images: Tensor, *rest: Any) -> Any:
        return function(rose, images.new_zeros(1, *images.shape[1:]), *rest)
    return of_objects


_IMAGE = ("image_encoder.",)
_NODES = ("osm_encoder.conv", "osm_encoder.norm")  # of one layer or two
_READOUT = ("osm_encoder.readout.",)

IMAGE = Representation(
    _IMAGE, tokens=lambda *batch: _encoded(*batch)[:, 1:],
    vector=lambda *batch: _encoded(*batch)[:, 0], layers=image_layers)
OSM = Representation(
    _NODES, tokens=osm_tokens, width=lambda rose: rose.osm_encoder.out_dim,
    vector=lambda rose, images, graphs: rose.encode_osm(graphs, rose.check(images, graphs))[1],
    vector_width=lambda rose: 2 * rose.osm_encoder.out_dim, vector_parameters=_READOUT)
GLOBAL_FUSION = Representation(
    (*_IMAGE, *_NODES, *_READOUT, "graph_token_proj.", "token_proj.", "image_block."),
    tokens=lambda *batch: _fused(*batch)[:, 1:], vector=lambda *batch: _fused(*batch)[:, 0],
    placed_parameters=("node_proj.",), layers=fused_layers("global"))
FINE_FUSION = Representation(
    (*_IMAGE, *_NODES, "token_proj.", "node_proj.", "osm_block.self_attn.",
     "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2."),
    tokens=partial(_fused, mode="fine"),
    layers=fused_layers("fine"))
OSM_RASTER = replace(IMAGE, tokens=_unseen(IMAGE.tokens), vector=_unseen(IMAGE.vector),
                     layers=_unseen(IMAGE.layers))
