"""GeoTIFFs by URL: a window of one, or of one a colour, by ranges, from the overview that
suffices."""

from collections.abc import Sequence
from pathlib import Path

import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from datasets.prepare.imagery.placement import metres_per_pixel
from datasets.remote.area import COLOURS, Area, Request, sufficient_overview
from datasets.remote.cache import Fetched
from datasets.remote.http import USER_AGENT, Http
from datasets.remote.pieces import RemoteRaster, Seen, copy_pieces
from datasets.remote.stac import Asset
from datasets.remote.urls import short_url, without_secrets
from datasets.remote.virtual import Picture
from utils.errors import ConfigError, PrepareError, printable
from utils.files import digest_of
from utils.progress import say

THREADS = 3          # of one connection each, beside that of the first look
_FIRST_BYTES = 16 << 10
FEW_COLUMNS = 2048   # a block of more pixels across is a row of a GeoTIFF without tiles


def fetch_geotiffs(request: Request, assets: Sequence[Asset], attribution: str | None,
                   folder: Path) -> Fetched:
    """Fetch the window of one GeoTIFF, or of three with a colour each, into `folder`.

    Raises:
        PrepareError: one cannot be read, has nothing in the box, or lies on another grid than the
            first.
    """
    if request.zoom is not None:
        raise ConfigError(f"zoom={request.zoom}: zooms are of web map tiles, and {request.name} is "
                          "a GeoTIFF; leave it out, and pass resolution= in metres for coarser "
                          "pixels")
    rasters = [remote_geotiff(asset.href, request.http) for asset in assets]
    seen = [raster.look() for raster in rasters]
    notes = [f"{short_url(raster.url)}: a GeoTIFF without tiles, of which whole rows are fetched; "
             "this is slow" for raster, each in zip(rasters, seen, strict=True)
             if each.lattice.width == each.picture.width > FEW_COLUMNS]
    say(notes)
    owner = seen[0].tags.get("TIFFTAG_COPYRIGHT") or seen[0].tags.get("ATTRIBUTION")
    level = _overview(seen[0], request.resolution)
    if level is not None:
        rasters = [remote_geotiff(asset.href, request.http, level) for asset in assets]
        seen = [raster.look() for raster in rasters]
    _check_grids(request, assets, [each.picture for each in seen])
    area = Area.of(request, seen[0])
    size = "full" if level is None else f"overview-{level}"
    # pieces of a file that has changed since are no part of this one
    versions = digest_of([[without_secrets(asset.href), request.http.version(asset.href),
                           repr(each.picture)] for asset, each in zip(assets, seen, strict=True)])
    folders = [folder / f"{size}-{versions[:12]}-{number}" for number in range(len(assets))]
    request.announce(area.picture, area.window, len(area.pieces) * len(assets), folder)
    for raster, each, own in zip(rasters, seen, folders, strict=True):
        copy_pieces(raster, each.picture, area.pieces, own, THREADS, request.progress)
    return area.recorded(request, folder, folders, _united(assets, [each.picture for each in seen]),
                         attribution or (printable(owner, 500) if owner else None))


def remote_geotiff(url: str, http: Http, level: int | None = None) -> RemoteRaster:
    """Return the GeoTIFF at a URL, or its overview `level`; GDAL may open this URL alone."""
    path, patience = f"/vsicurl/{url}", http.patience
    options = {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": path, "CPL_VSIL_CURL_NON_CACHED": path,
        # without HEAD, GDAL begins to fetch the whole file, and stops after the headers
        "CPL_VSIL_CURL_USE_HEAD": "YES" if http.takes_head(url) else "NO",
        "GDAL_INGESTED_BYTES_AT_OPEN": _FIRST_BYTES,
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
                                                   **overview), options, patience,
                        lambda: http.start(url))


def _overview(seen: Seen, resolution: float | None) -> int | None:
    picture = seen.picture
    if not picture.crs:
        return None
    metres = metres_per_pixel(CRS.from_wkt(picture.crs), picture.transform, picture.width,
                              picture.height)
    return sufficient_overview(metres, seen.factors, resolution)


def _check_grids(request: Request, assets: Sequence[Asset], pictures: Sequence[Picture]) -> None:
    """Raise PrepareError if the files of the colours lie on different grids."""
    first = pictures[0]
    for asset, other in zip(assets, pictures, strict=True):
        same = (other.crs, other.width, other.height) == (first.crs, first.width, first.height)
        if not same or not other.transform.almost_equals(first.transform):
            raise PrepareError(f"{request.name}: its {asset.name} has {other.width} x "
                               f"{other.height} pixels on another grid than the {first.width} x "
                               f"{first.height} of {assets[0].name}, expected one grid; pass "
                               "raster= the address of one asset, and bands=")


def _united(assets: Sequence[Asset], pictures: Sequence[Picture]) -> Picture:
    """Return the picture of one file a colour, or of one file with its colours named."""
    first = pictures[0]
    if len(pictures) > 1:
        bands = tuple(picture.bands[0] for picture in pictures)
        return Picture(first.crs, first.transform, first.width, first.height, bands,
                       first.masked).coloured(COLOURS)
    if assets[0].colours is None:
        return first
    names = dict(zip(assets[0].colours, COLOURS, strict=True))
    return first.coloured([names.get(number, band.colour if band.colour == ColorInterp.alpha
                                     else ColorInterp.undefined)
                           for number, band in enumerate(first.bands, start=1)])
