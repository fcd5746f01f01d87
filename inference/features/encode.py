"""The three representations of a batch of tiles, each encoder run once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch

from models.rose import Encoded, Rose

REPRESENTATIONS = ("rs", "osm", "fused")


@dataclass(frozen=True)
class Wanted:
    """What is made of each tile.

    Attributes:
        representations: some of REPRESENTATIONS.
        fusion: "global" or "fine".
        tiles, patches: a vector of each tile, and of each patch.
    """

    representations: tuple[str, ...]
    fusion: str
    tiles: bool
    patches: bool

    @property
    def image(self) -> bool:
        """Whether the image is encoded."""
        return bool({"rs", "fused"} & set(self.representations))

    @property
    def osm(self) -> bool:
        """Whether the OSM objects are."""
        return bool({"osm", "fused"} & set(self.representations))

    def widths(self, rose: Rose) -> dict[str, int]:
        """Length of a patch's vector, by representation; that of a tile's is the same, but twice
        as long for osm."""
        return {name: rose.osm_encoder.out_dim if name == "osm" else rose.width
                for name in self.representations}


@torch.inference_mode()
def represent(rose: Rose, images: Tensor, graphs: Batch, wanted: Wanted) -> dict[str, Tensor]:
    """Vectors of tiles, float32: `rs`, `osm` and `fused` [B, width] of each tile, `rs_patches` ...
    [B, L, width] of each patch.

    RS: the CLS token and the tokens of the patches. OSM: the readout and `Rose.osm_patches`.
    Fused, global: the CLS token and the tokens of the patches after the fusion; fine: the tokens
    of the patches, and their mean.

    Args:
        images: [B, 3, H, W] normalised.
        graphs: of B tiles; read only where `wanted.osm`.
    """
    tokens = rose.encode_image(images) if wanted.image else None                    # [B, 1 + L, D]
    grid = rose.image_encoder.grid(images)
    nodes, readout = rose.encode_osm(graphs, grid) if wanted.osm else (None, None)
    vectors = {}
    if "rs" in wanted.representations:
        vectors |= {"rs": tokens[:, 0], "rs_patches": tokens[:, 1:]}
    if "osm" in wanted.representations:
        vectors["osm"] = readout
        if wanted.patches:
            vectors["osm_patches"] = rose.osm_patches(nodes, graphs, grid)
    if "fused" in wanted.representations:
        fused = rose.fuse_encoded(Encoded(tokens, nodes, readout), images, graphs, wanted.fusion)
        fine = wanted.fusion == "fine"
        vectors |= {"fused": fused.mean(1) if fine else fused[:, 0], "fused_patches": fused if fine
                    else fused[:, 1:]}
    return {name: value.float() for name, value in vectors.items()
            if (wanted.patches if name.endswith("_patches") else wanted.tiles)}


def thumbnails(pixels: Tensor, side: int) -> Tensor:
    """uint8 [B, side, side, 3] of pixels [B, 3, H, W] in 0..255."""
    return F.interpolate(pixels.float(), size=(side, side),
                         mode="area").round().to(torch.uint8).movedim(1, -1)


def hide_patches(vectors: dict[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
    """nan in place of the vectors of patches that are not `seen`, bool [B, L]."""
    return {name: value.masked_fill(~seen[..., None], torch.nan) if name.endswith("_patches")
            else value
            for name, value in vectors.items()}
