"""A north-up grid of pixels on the ground, with imagery or without."""

import rasterio
from affine import Affine
from rasterio.crs import CRS

from datasets.prepare.imagery import placement


class GroundGrid:
    """What tiles are cut from; crs, transform, width and height of the whole grid are as in
    rasterio."""

    crs: CRS
    transform: Affine
    width: int
    height: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """minx, miny, maxx, maxy of the grid."""
        return rasterio.transform.array_bounds(self.height, self.width, self.transform)

    @property
    def metres_per_pixel(self) -> tuple[float, float]:
        """Width and height on the ground of the pixel at the centre, in true metres."""
        return placement.metres_per_pixel(self.crs, self.transform, self.width, self.height)
