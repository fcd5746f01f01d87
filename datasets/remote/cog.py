"""A GeoTIFF by URL: its window, or all of it, by ranges, with the overview that suffices."""

import rasterio
from rasterio.windows import Window

from datasets.prepare.imagery.placement import metres_per_pixel
from datasets.remote.http import USER_AGENT, Patience
from datasets.remote.pieces import RemoteRaster
from datasets.remote.virtual import Picture

THREADS = 3  # of one connection each, beside that of the first look
FEW_BLOCK_ROWS = 2048  # a block of more pixels across is a row of a GeoTIFF without tiles


def remote_geotiff(url: str, patience: Patience, level: int | None = None) -> RemoteRaster:
    """Return the GeoTIFF at a URL, or its overview `level`; GDAL may open this URL alone."""
    path = f"/vsicurl/{url}"
    options = {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": path, "CPL_VSIL_CURL_NON_CACHED": path,
        "CPL_VSIL_CURL_USE_HEAD": "NO",  # signed addresses are for GET alone
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_USERAGENT": USER_AGENT,
        # one connection a thread
        "GDAL_HTTP_MULTIRANGE": "SERIAL", "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MAX_RETRY": patience.attempts - 1,
        "GDAL_HTTP_RETRY_DELAY": max(patience.pause_s, 0.01),
        "GDAL_HTTP_CONNECTTIMEOUT": max(1, round(patience.connect_s)),
        "GDAL_HTTP_LOW_SPEED_TIME": max(1, round(patience.read_s)),
        "GDAL_HTTP_LOW_SPEED_LIMIT": max(1, round(patience.least_bytes_per_s)),
    }
    overview = {} if level is None else {"OVERVIEW_LEVEL": level}
    return RemoteRaster(url, lambda: rasterio.open(path, driver="GTiff", sharing=False,
                                                   **overview), options, patience)


def sufficient_overview(picture: Picture, factors: list[int],
                        resolution: float | None) -> int | None:
    """Return the coarsest overview whose pixels are as fine as `resolution` (metres); None if only
    the full size is."""
    if resolution is None or not picture.crs:
        return None
    crs = rasterio.crs.CRS.from_wkt(picture.crs)
    across, down = metres_per_pixel(crs, picture.transform, picture.width, picture.height)
    step = resolution / (across * down) ** 0.5
    return max((level for level, factor in enumerate(factors) if factor <= 1.01 * step),
               default=None)


def is_plain(lattice: Window, picture: Picture) -> bool:
    """Return whether a GeoTIFF has no tiles, so each window takes whole rows from the server."""
    return lattice.width == picture.width > FEW_BLOCK_ROWS
