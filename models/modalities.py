"""Modalities: what a decoder reads of a tile, made of its image and its graph.

Each is one value, registered by one line in models/registry.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from torch import Tensor, nn
from torch_geometric.data import Batch

from models.osm_raster import OsmRaster
from models.rose import Rose

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
    width: Callable[[Rose], int] = attrgetter("width")  # returns D for a Rose
    vector_width: Callable[[Rose], int] | None = None  # of vectors, if it is another
    vector_parameters: tuple[str, ...] = ()  # further ones, on which vectors alone depend
    # makes a trained module that the modality needs beside the Rose, of the channels of `OsmRaster`
    extra: Callable[[Rose, Sequence[str]], nn.Module] | None = None

    def width_of(self, gives: str, rose: Rose) -> int:
        """Return D of "tokens" or "vector"."""
        of_vector = self.vector_width if gives == "vector" else None
        return (of_vector or self.width)(rose)

    def trained(self, gives: str) -> tuple[str, ...]:
        """Return the prefixes of the Rose's parameters that "tokens" or "vector" depend on."""
        return (*self.parameters, *(self.vector_parameters if gives == "vector" else ()))


def osm_tokens(rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
    """Return [B, L, graph_out_dim] of `Rose.osm_patches`; 0 where a tile has no objects."""
    grid = rose.check(images, graphs)
    nodes, _ = rose.encode_osm(graphs, grid)
    empty = graphs.ptr.diff() == 0                                                             # [B]
    return rose.osm_patches(nodes, graphs, grid).masked_fill(empty[:, None, None], 0)


def raster_tokens(rose: Rose, images: Tensor, graphs: Batch, raster: OsmRaster,
                  image: bool) -> Tensor:
    """Return the image encoder's [B, 1 + L, D] for the drawn objects, with or without the image:
    without it, the drawing is in the place of the patches' pixels."""
    encoder, grid = rose.image_encoder, rose.check(images, graphs)
    patches = encoder.embed(images if image else images.new_zeros(1, *images.shape[1:]))
    return encoder.encode(patches._replace(tokens=patches.tokens + raster(graphs, grid)))[0]


def _rasterised(image: bool) -> Representation:
    """Return the modality of drawn objects; beside an image they add nothing before training."""
    whole = partial(raster_tokens, image=image)
    return Representation(_IMAGE, tokens=lambda *batch: whole(*batch)[:, 1:],
                          vector=lambda *batch: whole(*batch)[:, 0],
                          extra=partial(OsmRaster, silent=image))


_IMAGE = ("image_encoder.",)
_NODES = ("osm_encoder.conv.", "osm_encoder.norm.")
_READOUT = ("osm_encoder.readout.",)

IMAGE = Representation(_IMAGE,
                       tokens=lambda rose, images, graphs: rose.encode_image(images)[:, 1:],
                       vector=lambda rose, images, graphs: rose.encode_image(images)[:, 0])
OSM = Representation(
    _NODES, tokens=osm_tokens, width=lambda rose: rose.osm_encoder.out_dim,
    vector=lambda rose, images, graphs: rose.encode_osm(graphs, rose.check(images, graphs))[1],
    vector_width=lambda rose: 2 * rose.osm_encoder.out_dim, vector_parameters=_READOUT)
GLOBAL_FUSION = Representation(
    (*_IMAGE, *_NODES, *_READOUT, "graph_token_proj.", "token_proj.", "image_block."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 1:],
    vector=lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 0])
FINE_FUSION = Representation(
    (*_IMAGE, *_NODES, "token_proj.", "node_proj.", "osm_block.self_attn.",
     "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2."),
    tokens=lambda rose, images, graphs: rose.fuse(images, graphs, "fine"))
OSM_RASTER = _rasterised(image=False)
IMAGE_OSM_RASTER = _rasterised(image=True)
