"""Modalities: what a decoder reads of a tile, made from its image and its graph.

Each is a class, registered by one line in models/registry.py.
"""

from torch import Tensor
from torch_geometric.data import Batch

from models.rose import Rose

_IMAGE = ("image_encoder.",)
_NODES = ("osm_encoder.conv.", "osm_encoder.norm.")
_READOUT = (*_NODES, "osm_encoder.readout.")


class Representation:
    """A modality of a Rose; a subclass overrides `tokens`, `vector` or both.

    Attributes:
        parameters: prefixes of the names of those parameters of the Rose that its output depends
            on. All others are frozen, so that every trainable parameter receives a gradient.
    """

    parameters: tuple[str, ...]

    def width(self, rose: Rose) -> int:
        """Return D of its tokens and vectors."""
        return rose.width

    def tokens(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        """Return [B, L, D], a token a patch, of images [B, 3, H, W] and their graphs."""
        raise NotImplementedError

    def vector(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        """Return [B, D], a vector a tile, of images [B, 3, H, W] and their graphs."""
        raise NotImplementedError


class Image(Representation):
    """The image alone: its patches' tokens, or the CLS token."""

    parameters = _IMAGE

    def tokens(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        return rose.encode_image(images)[:, 1:]

    def vector(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        return rose.encode_image(images)[:, 0]


class Osm(Representation):
    """The OSM objects alone: the readout."""

    parameters = _READOUT

    def width(self, rose: Rose) -> int:
        return 2 * rose.osm_encoder.out_dim

    def vector(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        return rose.encode_osm(graphs, rose.check(images, graphs))[1]


class GlobalFusion(Representation):
    """The image after the global fusion: its patches' tokens, or the CLS token."""

    parameters = (*_IMAGE, *_READOUT, "graph_token_proj.", "token_proj.", "image_block.")

    def tokens(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        return rose.fuse(images, graphs, "global")[:, 1:]

    def vector(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        return rose.fuse(images, graphs, "global")[:, 0]


class FineFusion(Representation):
    """The patches' tokens after the fine fusion."""

    parameters = (*_IMAGE, *_NODES, "token_proj.", "node_proj.", "osm_block.self_attn.",
                  "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2.")

    def tokens(self, rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
        return rose.fuse(images, graphs, "fine")
