"""The three representations of a batch of tiles, each encoder run once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch

from models.rose import Encoded, Rose

REPRESENTATIONS = ("rs", "osm", "fused")


@dataclass(frozen=True)
class Selection:
    """What is made of each tile."""

    representations: tuple[str, ...]  # some of REPRESENTATIONS
    fusion: str                       # "global" or "fine"
    tiles: bool                       # a vector of each tile
    patches: bool                     # a vector of each patch

    @property
    def reads_image(self) -> bool:
        return bool({"rs", "fused"} & set(self.representations))

    @property
    def reads_osm(self) -> bool:
        return bool({"osm", "fused"} & set(self.representations))

    @property
    def reads(self) -> tuple[str, ...]:
        """What the network reads of a tile, of stores.city.MODALITIES."""
        return ("image",) * self.reads_image + ("osm",) * self.reads_osm

    def widths(self, rose: Rose) -> dict[str, int]:
        """Return the length of a patch's vector, by representation; a tile's has the same length,
        but twice that for osm."""
        return {name: rose.osm_encoder.out_dim if name == "osm" else rose.width
                for name in self.representations}


@torch.inference_mode()
def represent(rose: Rose, images: Tensor, graphs: Batch,
              selection: Selection) -> dict[str, Tensor]:
    """Return float32 vectors of tiles: `rs`, `osm` and `fused` [B, width] of each tile,
    `rs_patches` ... [B, L, width] of each patch.

    RS: the CLS token and the tokens of the patches. OSM: the readout and `Rose.osm_patches`.
    Fused, global: the CLS token and the tokens of the patches after the fusion; fine: the tokens
    of the patches, and their mean. Images are [B, 3, H, W] normalised, and graphs those of B
    tiles, read only where `selection.reads_osm`.
    """
    tokens = rose.encode_image(images) if selection.reads_image else None           # [B, 1 + L, D]
    grid = rose.image_encoder.grid(images)
    nodes, readout = rose.encode_osm(graphs, grid) if selection.reads_osm else (None, None)
    vectors = {}
    if "rs" in selection.representations:
        vectors |= {"rs": tokens[:, 0], "rs_patches": tokens[:, 1:]}
    if "osm" in selection.representations:
        vectors["osm"] = readout
        if selection.patches:
            vectors["osm_patches"] = rose.osm_patches(nodes, graphs, grid)
    if "fused" in selection.representations:
        encoded = Encoded(tokens, nodes, readout)
        fused = rose.fuse_encoded(encoded, images, graphs, selection.fusion)
        fine = selection.fusion == "fine"
        vectors |= {"fused": fused.mean(1) if fine else fused[:, 0],
                    "fused_patches": fused if fine else fused[:, 1:]}
    return {name: value.float() for name, value in vectors.items()
            if (selection.patches if name.endswith("_patches") else selection.tiles)}


def thumbnails(pixels: Tensor, side: int) -> Tensor:
    """Return uint8 [B, side, side, 3] of pixels [B, 3, H, W] in 0..255."""
    small = F.interpolate(pixels.float(), size=(side, side), mode="area")
    return small.round().to(torch.uint8).movedim(1, -1)


def hide_patches(vectors: dict[str, Tensor], valid: Tensor, patch: int) -> dict[str, Tensor]:
    """Return the vectors with nan for patches of `patch` pixels without any `valid` [B, H, W]."""
    seen = F.max_pool2d(valid[:, None].float(), patch).flatten(1) > 0                      # [B, L]
    return {name: value.masked_fill(~seen[..., None], torch.nan) if name.endswith("_patches")
            else value for name, value in vectors.items()}
