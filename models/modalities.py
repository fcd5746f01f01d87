"""Modalities: what a decoder reads of a tile, made of its image and its graph.

Each is one value, registered by one line in models/registry.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Batch

from models.image_positions import Patches
from models.osm_raster import OsmRaster
from models.pyramid import layer_indices
from models.rose import Encoded, Rose

# with `extra`, this module is the last argument
_Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Representation:
    """A modality of a Rose.

    All parameters of the Rose are frozen except those with the prefixes `parameters`, on which it
    depends, so that every trainable parameter receives a gradient.
    """

    parameters: tuple[str, ...]
    # Rose, images [B, 3, H, W] and graphs -> [B, L, D], a token a patch
    tokens: _Function | None = None
    vector: _Function | None = None  # Rose, images and graphs -> [B, D], a vector a tile
    # the same -> four [B, L, D], the last of them `tokens`, for a decoder that reads them
    layers: Callable[..., list[Tensor]] | None = None
    width: Callable[[Rose], int] = attrgetter("width")  # returns D for a Rose
    vector_width: Callable[[Rose], int] | None = None  # of vectors, if it is another
    vector_parameters: tuple[str, ...] = ()  # further ones, on which vectors alone depend
    placed_parameters: tuple[str, ...] = ()  # further ones, if objects are placed by coverage
    # makes a trained module that the modality needs beside the Rose, of the channels of `OsmRaster`
    extra: Callable[[Rose, Sequence[str]], nn.Module] | None = None

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


def drawn_patches(rose: Rose, images: Tensor, graphs: Batch, raster: OsmRaster,
                  image: bool) -> Patches:
    """Return the embedded patches [B, L, D] of the drawn objects, with or without the image:
    without it, the drawing is in the place of the patches' pixels."""
    grid = rose.check(images, graphs)
    seen = images if image else images.new_zeros(1, *images.shape[1:])
    patches = rose.image_encoder.embed(seen)
    return patches._replace(tokens=patches.tokens + raster(graphs, grid))


def _rasterised(image: bool) -> Representation:
    """Return the modality of drawn objects; beside an image they add nothing before training."""
    def encoded(rose: Rose, *batch: Any) -> Tensor:
        return rose.image_encoder.encode(drawn_patches(rose, *batch, image))[0]

    def layers(rose: Rose, *batch: Any) -> list[Tensor]:
        encoder = rose.image_encoder
        return encoder.layers_of(drawn_patches(rose, *batch, image),
                                 layer_indices(len(encoder.blocks)))

    return Representation(_IMAGE, tokens=lambda *batch: encoded(*batch)[:, 1:],
                          vector=lambda *batch: encoded(*batch)[:, 0], layers=layers,
                          extra=partial(OsmRaster, silent=image))


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
_NODES = ("osm_encoder.conv", "osm_encoder.norm")  # of one layer or two
_READOUT = ("osm_encoder.readout.",)

IMAGE = Representation(_IMAGE,
                       tokens=lambda rose, images, graphs: rose.encode_image(images)[:, 1:],
                       vector=lambda rose, images, graphs: rose.encode_image(images)[:, 0],
                       layers=image_layers)
OSM = Representation(
    _NODES, tokens=osm_tokens, width=lambda rose: rose.osm_encoder.out_dim,
    vector=lambda rose, images, graphs: rose.encode_osm(graphs, rose.check(images, graphs))[1],
    vector_width=lambda rose: 2 * rose.osm_encoder.out_dim, vector_parameters=_READOUT)
GLOBAL_FUSION = Representation(
    (*_IMAGE, *_NODES, *_READOUT, "graph_token_proj.", "token_proj.", "image_block."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 1:],
    vector=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 0],
    placed_parameters=("node_proj.",), layers=fused_layers("global"))
FINE_FUSION = Representation(
    (*_IMAGE, *_NODES, "token_proj.", "node_proj.", "osm_block.self_attn.",
     "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "fine"),
    layers=fused_layers("fine"))
OSM_RASTER = _rasterised(image=False)
IMAGE_OSM_RASTER = _rasterised(image=True)
