"""One tile in memory: what every store takes and gives back."""

from dataclasses import dataclass, field

import numpy as np

GEOMETRY_WIDTH = 12        # columns AREA to CENTROID of a node row
TOTALS = ("pop", "CO2")    # quantities that a tile may have a sum of, by the names of the release's folders


@dataclass(frozen=True)
class Tile:
    """A tile with n nodes, e edges and an image of H x W pixels.

    Attributes:
        name: `{city}_{col}_{row}`.
        image: uint8 [3, H, W].
        geometry: float32 [n, 12], the columns AREA to CENTROID of `datasets.tiles`.
        text: int64 [n], row of the text table that the node row begins with.
        label: int64 [n], the node's label code.
        edges: int64 [2, e], places of nodes.
        codes: float32 [e], relation codes.
        land_use: uint8 [H, W], 0..8, others unknown; None where the tile has no label.
        totals: sums over the tile, by the names of TOTALS, of those that it has.
    """

    name: str
    image: np.ndarray
    geometry: np.ndarray
    text: np.ndarray
    label: np.ndarray
    edges: np.ndarray
    codes: np.ndarray
    land_use: np.ndarray | None = None
    totals: dict[str, float] = field(default_factory=dict)
