"""raster= from anywhere, opened: what lies elsewhere is fetched first."""

from datasets.bbox import BBox
from datasets.keys import ImageryKeys
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from datasets.remote.imagery import Local, localised


def open_imagery(raster: str, keys: ImageryKeys, progress: bool = True) -> tuple[Mosaic, Local]:
    """Open the imagery that keys describe, as a context manager, and return where it came from.

    Raise ConfigError for an impossible value, and PrepareError if it cannot be fetched or opened.
    """
    bbox = None if keys.bbox is None else BBox.of("bbox", keys.bbox)
    local = localised(raster, bbox, keys.zoom, keys.resolution, crs=keys.raster_crs,
                      cache=keys.imagery_cache, progress=progress)
    mosaic = open_mosaic(local.raster, bands=keys.bands, raster_crs=keys.raster_crs,
                         resolution=keys.resolution, stretch=tuple(keys.stretch),
                         nodata=keys.nodata, bbox=bbox, zoom=local.zoom)
    mosaic.warnings[:0] = local.notes
    return mosaic, local
