"""Ground without imagery: the grid of pixels that tiles of OSM objects alone are cut from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from datasets.prepare.imagery.ground import GroundGrid
from utils.style import rgb

DARK_GROUND = "#3a3f44"  # below the bright colours of layers


class BareGround(GroundGrid):
    """A north-up grid without imagery, which stands in for a `Mosaic`; a context manager.

    Attributes:
        crs, transform, width, height: of the whole grid, as in rasterio.
        warnings: what the user should know, in sentences.
    """

    files: Sequence[Path] = ()  # as of a Mosaic: nothing is read, or stretched
    stretch = None

    def __init__(self, crs: CRS, transform: Affine, width: int, height: int,
                 warnings: Sequence[str] = ()):
        self.crs, self.transform, self.warnings = crs, transform, list(warnings)
        self.width, self.height = width, height

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return black pixels [h, w, 3] uint8, and which of them are inside the grid [h, w]."""
        left, top = int(window.col_off), int(window.row_off)
        shape = int(window.height), int(window.width)
        rows, columns = np.arange(shape[0]) + top, np.arange(shape[1]) + left
        inside = np.outer((rows >= 0) & (rows < self.height),
                          (columns >= 0) & (columns < self.width))
        return np.zeros((*shape, 3), np.uint8), inside

    def thumbnail(self, max_side: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a plain dark ground, on which the colours of layers are visible, of at most
        `max_side` pixels: RGB [h, w, 3] uint8 and valid [h, w] bool."""
        step = max(1.0, max(self.width, self.height) / max_side)
        shape = max(1, round(self.height / step)), max(1, round(self.width / step))
        return np.broadcast_to(rgb([DARK_GROUND]), (*shape, 3)).copy(), np.ones(shape, bool)

    def to_dict(self) -> dict:
        """Return what `from_dict` needs, for JSON."""
        return {"crs": self.crs.to_wkt(), "transform": list(self.transform)[:6],
                "width": self.width, "height": self.height, "warnings": self.warnings}

    @classmethod
    def from_dict(cls, described: dict) -> "BareGround":
        """Return the same ground in another process."""
        return cls(CRS.from_wkt(described["crs"]), Affine(*described["transform"]),
                   described["width"], described["height"], described["warnings"])

    def close(self) -> None:
        """Do nothing: no file is open."""

    def __enter__(self) -> "BareGround":
        return self

    def __exit__(self, *_) -> None:
        pass
