"""The ground of tiles without imagery: an area on the Earth, in pixels of a CRS."""

import math
from collections.abc import Sequence

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.crs import CRS as RasterCRS

from datasets.bbox import BBox
from datasets.prepare.geo.crs import DEGREES, Bounds, box_in, uncut, utm_zone
from datasets.prepare.imagery import placement
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.files import Reading, crs_name
from datasets.prepare.osm.objects import extent_of
from datasets.prepare.osm.tags import LayerTable
from utils.errors import ConfigError, PrepareError

RESOLUTION = 1.0        # metres per pixel where none is given
WIDEST = 12             # degrees of longitude that one UTM zone may stand for
_DEGREE_M = 111_320     # of latitude
_TOLERANCE_PX = 1e-3    # an area that ends on a pixel's edge does not reach the next pixel


def bare_ground(osm: str, layers: LayerTable, bbox: Sequence[float] | None = None,
                raster_crs: str | None = None, resolution: float | None = None) -> BareGround:
    """Return the grid of pixels over an area: of `bbox`, else of all that `osm` holds.

    Its lines are multiples of a pixel, so that grids of one CRS and resolution share them.

    Args:
        osm: the OSM objects, as in `objects.read_objects`.
        bbox: west, south, east, north in degrees.
        raster_crs: None: the UTM zone of the area's centre.
        resolution: metres per pixel at the centre; None: RESOLUTION.

    Raises:
        ConfigError: an impossible value.
        PrepareError: `osm` cannot be read or holds nothing, or the area has no place in the CRS.
    """
    given = Reading.of(None, raster_crs, "file").given_crs()
    area, source = _area(osm, layers, bbox)
    crs = given or RasterCRS.from_string(_zone_of(area, source))
    bounds = _bounds_in(CRS.from_wkt(crs.to_wkt()), area)
    grid = None if bounds is None else _grid_at(resolution or RESOLUTION, crs, bounds)
    if grid is None:
        raise PrepareError(f"raster_crs={raster_crs or 'null'}: {crs_name(crs)} has no such place "
                           f"as {source}, {_degrees(area)}. Pass a CRS that covers it, or leave "
                           "raster_crs= out, and the UTM zone of the place is taken.")
    left, right = bounds[0] / grid.a, bounds[2] / grid.a
    top, bottom = bounds[3] / grid.e, bounds[1] / grid.e
    left, top = (math.floor(side + _TOLERANCE_PX) for side in (left, top))
    width, height = (max(1, math.ceil(side - _TOLERANCE_PX))
                     for side in (right - left, bottom - top))
    ground = BareGround(crs, Affine(grid.a, 0, left * grid.a, 0, grid.e, top * grid.e), width,
                        height)
    ground.warnings = [f"without imagery, tiles are cut from {source}, {_degrees(area)}, in "
                       f"pixels of {ground.metres_per_pixel[0]:.3g} m ({crs_name(crs)}); bbox=, "
                       "resolution= and raster_crs= choose others"]
    return ground


def _area(osm: str, layers: LayerTable, bbox: Sequence[float] | None) -> tuple[Bounds, str]:
    """Return west, south, east, north in degrees, and what they are the bounds of, in words."""
    if bbox is not None:
        return BBox.of("bbox", bbox).bounds, "the area of bbox="
    extent = extent_of(osm, layers)
    if extent is None:
        raise PrepareError(f"{osm}: holds no feature, expected the OSM objects of a place. "
                           "Export or download them again, or pass bbox= and keep_empty=true to "
                           "make tiles without OSM on purpose.")
    return extent, f"the extent of {osm}"


def _zone_of(area: Bounds, source: str) -> str:
    """Return the UTM zone of an area's centre; raise PrepareError if one is not enough."""
    west, south, east, north = area
    if not east - west <= WIDEST:
        raise PrepareError(f"{source}, {_degrees(area)}, spans {east - west:.3g} degrees of "
                           f"longitude, expected {WIDEST} at most in one UTM zone. Pass "
                           "bbox=[west,south,east,north] of one place, or raster_crs= a CRS for "
                           "all of it, such as EPSG:3035 for Europe.")
    return utm_zone((west + east) / 2, (south + north) / 2, DEGREES)


def _bounds_in(crs: CRS, area: Bounds) -> Bounds | None:
    """Return an area in degrees in another CRS; None if it has no such place in one piece."""
    try:
        bounds = box_in(area, DEGREES, crs)
    except PrepareError:  # of another planet
        return None
    return None if bounds is None or uncut(bounds, crs) is None else bounds


def _grid_at(resolution: float, crs: RasterCRS, bounds: Bounds) -> Affine | None:
    """Return the grid from the top left corner with pixels of `resolution` metres at the centre;
    None if they have no size there. Raise ConfigError if the pixels are too many."""
    west, south, east, north = bounds
    side = resolution if crs.is_projected else resolution / _DEGREE_M
    grid = Affine(side, 0, west, 0, -side, north)
    width, height = max(1, math.ceil((east - west) / side)), max(1, math.ceil((north - south)
                                                                               / side))
    metres = placement.metres_per_pixel(crs, grid, width, height)
    if not np.isfinite(metres).all() or not min(metres) > 0:
        return None
    pixels = max(width * metres[0], height * metres[1]) / resolution
    if not pixels <= placement.MOST_PIXELS:
        raise ConfigError(f"resolution={resolution:g}: the area would have {pixels:.3g} pixels "
                          f"along a side, expected {placement.MOST_PIXELS} at most; pass a "
                          "coarser one, or a smaller bbox=")
    return placement.grid_at(resolution, crs, grid, width, height)


def _degrees(area: Bounds) -> str:
    return f"{', '.join(f'{side:.5f}' for side in area)} (west, south, east, north in EPSG:4326)"
