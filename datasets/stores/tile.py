"""One tile in memory: what every store takes and gives back."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch_geometric.data import Data

from datasets.stores.cover import Cover

# The last 13 columns of a node row, after its text embedding; lengths in tile units (tile side 1,
# x right, y down).
AREA = -13                  # clipped area / tile area
PERIMETER = -12             # clipped perimeter / tile perimeter
CORNERS = slice(-11, -3)    # x1 y1 .. x4 y4 of the minimum rotated box
CENTROID = slice(-3, -1)    # x y
LABEL = -1                  # integer code of the tag value
NO_LABEL = -1.0             # in that column: an object whose tag is not told

GEOMETRY_WIDTH = 12        # columns AREA to CENTROID of a node row
TOTALS = ("pop", "CO2")    # what a tile may have a sum of, by the names of the release's folders
MOST_TOTAL = 1e15          # of a tile; squares of larger ones leave float32
MOST_SIDE = 16384          # pixels of a tile: what a file claims may not fill the memory


@dataclass(frozen=True)
class Tile:
    """A tile with n nodes, e edges and an image of H x W pixels."""

    name: str             # `{city}_{col}_{row}`
    image: np.ndarray     # uint8 [3, H, W]
    geometry: np.ndarray  # float32 [n, 12], the columns AREA to CENTROID
    text: np.ndarray      # int64 [n], row of the text table that the node row begins with
    label: np.ndarray     # int64 [n], the node's label code
    edges: np.ndarray     # int64 [2, e], indices of nodes
    codes: np.ndarray     # float32 [e], relation codes
    # uint8 [H, W], numbers of classes, others unknown; None if the tile has no label
    land_use: np.ndarray | None = None
    # sums over the tile, by the names of TOTALS
    totals: dict[str, float] = field(default_factory=dict)
    # float32 [n], the share of the city's objects of the same kind of OSM element (node, way or
    # relation) that were not mapped later, nan where unknown; None if the city knows none
    newness: np.ndarray | None = None
    cover: Cover | None = None  # of the nodes' outlines; None if none is known

    def newness_or_nan(self) -> np.ndarray:
        """Return `newness`, float32 [n], nan if it is not known."""
        return (np.full(len(self.geometry), np.nan, np.float32) if self.newness is None
                else self.newness)

    def graph(self, text_table: np.ndarray) -> Data:
        """Return x float32 [n, width + 13], edge_index int64 [2, e], edge_attr float32 [e, 1],
        name and any cover; `text` counts the rows of `text_table`, float32 [values, width]."""
        x = np.concatenate([text_table[self.text], self.geometry, self.label[:, None]], axis=1,
                           dtype=np.float32)
        return Data(x=torch.from_numpy(x),
                    edge_index=torch.from_numpy(np.ascontiguousarray(self.edges, np.int64)),
                    edge_attr=torch.from_numpy(self.codes[:, None].astype(np.float32)),
                    name=self.name, **({} if self.cover is None else self.cover.tensors()))
