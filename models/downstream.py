"""Land-use segmentation and regression (population, CO2) on the representations of a Rose."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.heads import RegressionHead, TargetScale, build_decoder
from models.rose import Rose
from utils.errors import ModelError

# The parts of a Rose that each modality passes through, as prefixes of parameter names.
_IMAGE = ("image_encoder.",)
_OSM = ("osm_encoder.conv.", "osm_encoder.norm.")
_READOUT = (*_OSM, "osm_encoder.readout.")
_GLOBAL = (*_IMAGE, *_READOUT, "graph_token_proj.", "token_proj.", "image_block.")
_FINE = (*_IMAGE, *_OSM, "token_proj.", "node_proj.", "osm_block.self_attn.",
         "osm_block.q2k_attn.", "osm_block.norm1.", "osm_block.norm2.")

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
    "osm": (_READOUT, lambda rose, images, graphs: rose.encode_osm(graphs,
                                                                   rose.check(images, graphs))[1]),
}


class Downstream(nn.Module):
    """A Rose and a decoder on one of its representations.

    The parameters of `rose` off this modality's path are frozen, in the Rose itself, so that every
    trainable one receives a gradient.
    """

    def __init__(self, rose: Rose, parts: tuple[str, ...],
                 represent: Callable[[Rose, Tensor, Batch], Tensor], decoder: nn.Module):
        super().__init__()
        self.rose, self.decoder, self._represent = rose, decoder, represent
        self.frozen = False
        for name, parameter in rose.named_parameters():
            parameter.requires_grad_(name.startswith(parts))

    def freeze(self) -> "Downstream":
        """Train the decoder alone from now on: a probe of what the Rose knows."""
        self.frozen = True
        self.rose.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Downstream":
        """As of any module; a frozen Rose stays as it is in use."""
        super().train(mode)
        if self.frozen:
            self.rose.eval()
        return self

    def represent(self, images: Tensor, graphs: Batch) -> Tensor:
        """What the decoder is given for images [B, 3, H, W] and their graphs: tokens [B, L, D], or
        summaries [B, width]."""
        return self._represent(self.rose, images, graphs)

    def outputs(self, images: Tensor, graphs: Batch) -> Tensor:
        """What a loss is taken of: `decode` of `represent`."""
        return self.decode(self.represent(images, graphs), images.shape[2:])


class Segmenter(Downstream):
    """Tokens -> class scores per token -> bilinear to the image's size (Rose section 4.1)."""

    def decode(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, classes, H, W] logits of tokens [B, L, D] of images of `size` H, W."""
        scores = self.decoder(tokens)                                             # [B, L, classes]
        patch = self.rose.image_encoder.patch
        # [B, classes, rows, columns]
        maps = scores.transpose(1, 2).unflatten(2, (size[0] // patch, size[1] // patch))
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """[B, classes, H, W] logits of images [B, 3, H, W] and the PyG Batch of their graphs."""
        return self.outputs(images, graphs)


class Regressor(Downstream):
    """A tile's summary -> a number that is never negative (Rose sections 4.2, 4.3)."""

    def decode(self, summaries: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, 1] estimates in units of training, of summaries [B, width]; the size of the images
        does not matter."""
        return self.decoder(summaries)

    def estimates(self, outputs: Tensor) -> Tensor:
        """[B, 1] in original units, of `outputs` in units of training."""
        return self.decoder.scale.unscale(outputs.double()).clamp(min=0)

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """[B, 1] estimates for images [B, 3, H, W] and the PyG Batch of their graphs, in original
        units."""
        outputs = self.outputs(images, graphs)
        return self.estimates(outputs).to(outputs.dtype)


def build_segmenter(rose: Rose, modality: str = "fusion", decoder: str = "linear",
                    num_classes: int = 9) -> Segmenter:
    """A segmenter on `rose`, whose parameters it shares.

    Args:
        modality: "image" (RS alone), "fusion" (global fusion) or "fine" (fine fusion).
        decoder: "linear" or "mask_transformer".

    Raises:
        ModelError: unknown modality or decoder.
    """
    parts, represent = _choose(_TOKENS, modality)
    return Segmenter(rose, parts, represent, build_decoder(decoder, rose.width, num_classes))


def build_regressor(rose: Rose, modality: str = "fusion",
                    scale: TargetScale | None = None) -> Regressor:
    """A regressor on `rose`, whose parameters it shares.

    Args:
        modality: "image" (CLS), "fusion" (CLS of the global fusion) or "osm" (readout).
        scale: the units in which it is trained; None: the original ones.

    Raises:
        ModelError: unknown modality.
    """
    parts, represent = _choose(_SUMMARY, modality)
    width = 2 * rose.osm_encoder.out_dim if modality == "osm" else rose.width
    return Regressor(rose, parts, represent, RegressionHead(width, scale))


def _choose(table: dict, modality: str) -> tuple:
    if modality not in table:
        raise ModelError(f"modality={modality}: choose one of {', '.join(table)}")
    return table[modality]
