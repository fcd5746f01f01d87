"""Land-use segmentation and regression (population, CO2) on the representations of a Rose."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.heads import RegressionHead, build_decoder
from models.rose import Rose
from utils.errors import ModelError

# The parts of a Rose that each modality passes through, as prefixes of parameter names.
_IMAGE = ("image_encoder.",)
_OSM = ("osm_encoder.conv.", "osm_encoder.norm.")
_READOUT = (*_OSM, "osm_encoder.readout.")
_GLOBAL = (*_IMAGE, *_READOUT, "graph_token_proj.", "token_proj.", "image_block.")
_FINE = (*_IMAGE, *_OSM, "token_proj.", "node_proj.", "osm_block.self_attn.", "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2.")

# modality -> (parts, [B, L, D] tokens without CLS)
_TOKENS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "image": (_IMAGE, lambda rose, images, graphs: rose.encode_image(images)[:, 1:]),
    "fusion": (_GLOBAL, lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 1:]),
    "fine": (_FINE, lambda rose, images, graphs: rose.fuse(images, graphs, "fine")),
}

# modality -> (parts, [B, width] summary of a tile)
_SUMMARY: dict[str, tuple[tuple[str, ...], Callable]] = {
    "image": (_IMAGE, lambda rose, images, graphs: rose.encode_image(images)[:, 0]),
    "fusion": (_GLOBAL, lambda rose, images, graphs: rose.fuse(images, graphs, "global")[:, 0]),
    "osm": (_READOUT, lambda rose, images, graphs: rose.encode_osm(graphs, rose.check(images, graphs))[1]),
}


class Downstream(nn.Module):
    """A Rose and a decoder on one of its representations.

    The parameters of `rose` off this modality's path are frozen, in the Rose itself, so that every trainable one receives a gradient.
    """

    def __init__(self, rose: Rose, parts: tuple[str, ...], represent: Callable[[Rose, Tensor, Batch], Tensor], decoder: nn.Module):
        super().__init__()
        self.rose, self.decoder, self._represent = rose, decoder, represent
        for name, parameter in rose.named_parameters():
            parameter.requires_grad_(name.startswith(parts))

    def represent(self, images: Tensor, graphs: Batch) -> Tensor:
        """What the decoder is given for images [B, 3, H, W] and their graphs."""
        return self._represent(self.rose, images, graphs)


class Segmenter(Downstream):
    """Tokens -> class scores per token -> bilinear to the image's size (Rose section 4.1)."""

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """[B, classes, H, W] logits of images [B, 3, H, W] and the PyG Batch of their graphs."""
        scores = self.decoder(self.represent(images, graphs))                            # [B, L, classes]
        maps = scores.transpose(1, 2).unflatten(2, self.rose.image_encoder.grid(images))  # [B, classes, rows, columns]
        return F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)


class Regressor(Downstream):
    """A tile's summary -> a number that is never negative (Rose sections 4.2, 4.3)."""

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """[B, 1] estimates for images [B, 3, H, W] and the PyG Batch of their graphs."""
        return self.decoder(self.represent(images, graphs))


def build_segmenter(rose: Rose, modality: str = "fusion", decoder: str = "linear", num_classes: int = 9) -> Segmenter:
    """A segmenter on `rose`, whose parameters it shares.

    Args:
        modality: "image" (RS alone), "fusion" (global fusion) or "fine" (fine fusion).
        decoder: "linear" or "mask_transformer".

    Raises:
        ModelError: unknown modality or decoder.
    """
    parts, represent = _choose(_TOKENS, modality)
    return Segmenter(rose, parts, represent, build_decoder(decoder, rose.width, num_classes))


def build_regressor(rose: Rose, modality: str = "fusion") -> Regressor:
    """A regressor on `rose`, whose parameters it shares.

    Args:
        modality: "image" (CLS), "fusion" (CLS of the global fusion) or "osm" (readout).

    Raises:
        ModelError: unknown modality.
    """
    parts, represent = _choose(_SUMMARY, modality)
    width = 2 * rose.osm_encoder.out_dim if modality == "osm" else rose.width
    return Regressor(rose, parts, represent, RegressionHead(width))


def _choose(table: dict, modality: str) -> tuple:
    if modality not in table:
        raise ModelError(f"modality={modality}: choose one of {', '.join(table)}")
    return table[modality]
