"""Map services: the window of a WMTS or WMS, read by GDAL's drivers piece by piece."""

import shutil
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

import rasterio
from rasterio.crs import CRS

from datasets.prepare.imagery.placement import metres_per_pixel
from datasets.remote.area import Area, Request, sufficient_overview
from datasets.remote.cache import Fetched, SourceFolder
from datasets.remote.http import USER_AGENT
from datasets.remote.pieces import RemoteRaster, Seen, copy_pieces
from datasets.remote.service_files import Service
from datasets.remote.tiles import MOST_TILES, pixel_metres
from datasets.remote.urls import short_url
from datasets.remote.wms import wms_description
from utils.errors import ConfigError
from utils.files import replacing

THREADS, CONNECTIONS = 2, 2  # connections of each thread
MOST_PIXELS = MOST_TILES * 256**2
_DESCRIPTION = "service.xml"
_ON_THE_WAY = "on-the-way"   # folder of tiles of which a piece is made


def fetch_service(request: Request, service: Service, folder: Path) -> Fetched:
    """Fetch a window of a map service into `folder`.

    With `zoom` or `resolution`, of the service's sizes the coarsest that is as fine.

    Raises:
        ConfigError: bbox, layer or the size of pixels is missing, or asks for too much.
        PrepareError: the service cannot be read, or has nothing in the box.
    """
    if request.bbox is None:
        raise ConfigError(f"bbox: no value given; {short_url(service.url)} draws maps of any "
                          "place: add bbox=[west,south,east,north] in degrees")
    pixel_m = request.resolution
    if pixel_m is None and request.zoom is not None:
        pixel_m = pixel_metres(request.bbox, request.zoom)
    own = folder / f"service-{SourceFolder.key(request.identity())}"
    try:
        raster = _opened(request, service, own, pixel_m)
        seen = raster.look()
        level = sufficient_overview(_metres(request, seen), seen.factors, pixel_m)
        if level is not None:
            raster = RemoteRaster(raster.url, partial(raster.open, OVERVIEW_LEVEL=level),
                                  raster.options, raster.patience)
            seen = raster.look()
        window = request.window(seen.picture)
        pixels = window.width * window.height
        if pixels > MOST_PIXELS:
            finest = max(_metres(request, seen)) * (pixels / MOST_PIXELS) ** 0.5
            raise ConfigError(f"bbox=[{request.bbox}]: {window.width:,} x "
                              f"{window.height:,} pixels of {short_url(service.url)}, "
                              f"expected {MOST_PIXELS:,} at most, as servers bear no more; pass "
                              f"resolution={finest:.2g} or coarser, or a smaller bbox=")
        area = Area.of(request, seen, cut=True)
        request.announce(area.picture, area.window, len(area.pieces), folder)
        copy_pieces(raster, area.picture, area.pieces, own, THREADS, request.progress)
    finally:
        shutil.rmtree(own / _ON_THE_WAY, ignore_errors=True)
        (own / _DESCRIPTION).unlink(missing_ok=True)  # addresses in it may hold keys
    return area.recorded(request, folder, [own], area.picture, service.attribution)


def _opened(request: Request, service: Service, folder: Path,
            pixel_m: float | None) -> RemoteRaster:
    """Return the raster of a service; GDAL's copy of the description lies in `folder`."""
    file = folder / _DESCRIPTION
    content, path, driver = service.content, str(file.absolute()), "WMS"
    if service.kind == "WMTS":
        path, driver = _wmts_description(service, path), "WMTS"
    elif service.kind == "WMS":
        content = wms_description(service, request.bbox, pixel_m, request.crs).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_bytes(content)
    patience = request.http.patience
    options = {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": "none", "GDAL_HTTP_USERAGENT": USER_AGENT,
        "GDAL_DEFAULT_WMS_CACHE_PATH": str((folder / _ON_THE_WAY).absolute()),
        "GDAL_HTTP_CONNECTTIMEOUT": max(1, round(patience.connect_s)),
        "GDAL_HTTP_TIMEOUT": max(1, round(patience.read_s)),
        "GDAL_MAX_CONNECTIONS": CONNECTIONS,
    }
    return RemoteRaster(service.url, partial(rasterio.open, path, driver=driver, sharing=False),
                        options, patience)


def _wmts_description(service: Service, capabilities: str) -> str:
    """Return GDAL's description of a layer of a WMTS. Tiles that the server lacks are gaps; other
    answers that are no tiles are errors, where GDAL's default would draw them black."""
    tags = {"layer": "Layer", "style": "Style", "tilematrixset": "TileMatrixSet"}
    chosen = {**service.choice, "layer": service.layer()}
    names = "".join(f"<{tags[key]}>{escape(value)}</{tags[key]}>" for key, value in chosen.items())
    return (f"<GDAL_WMTS><GetCapabilitiesUrl>{escape(capabilities)}</GetCapabilitiesUrl>{names}"
            "<BandsCount>4</BandsCount><Cache/><ZeroBlockHttpCodes>204,404</ZeroBlockHttpCodes>"
            "<ZeroBlockOnServerException>false</ZeroBlockOnServerException></GDAL_WMTS>")


def _metres(request: Request, seen: Seen) -> tuple[float, float]:
    """Return width and height of a pixel on the ground, in the middle of the box."""
    picture, window = seen.picture, request.window(seen.picture)
    area = picture.cropped(window)
    return metres_per_pixel(CRS.from_wkt(picture.crs), area.transform, area.width, area.height)
