"""raster= by an address becomes imagery on this machine: a folder of tiles, or a VRT of pieces.

    local = localised(raster, bbox, zoom, resolution)
    open_mosaic(local.raster, bbox=..., zoom=local.zoom, resolution=resolution)

What is read afterwards is local, so GDAL stays cut off from the network there. Everything is
fetched into a cache folder, piece by piece: the same call resumes, and fetches nothing twice.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.remote import cog, services, stac, tiles
from datasets.remote.cache import Fetched, SourceFolder, cache_folder, today
from datasets.remote.http import Http
from datasets.remote.pieces import RemoteRaster, copy_pieces, piece_path, pieces_in
from datasets.remote.urls import is_url, short_address, without_secrets
from datasets.remote.virtual import Picture, write_virtual
from utils.errors import ConfigError, PrepareError, printable
from utils.progress import say
from utils.tables import format_bytes

MOST_PIXELS = tiles.MOST_TILES * 256**2  # of a map service
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_STORES = ("s3://", "gs://", "az://", "abfs://", "ftp://", "/vsi")


@dataclass(frozen=True)
class Local:
    """Imagery on this machine that stands for a raster= elsewhere."""

    raster: str              # what the mosaic reads
    zoom: int | None = None  # with which the mosaic opens it
    # of imagery that was fetched: its address without secrets, whose it is, the day
    origin: str | None = None
    attribution: str | None = None
    fetched: str | None = None
    notes: list[str] = field(default_factory=list)

    def source(self) -> list[str]:
        """Return a note on where imagery comes from; none of a local raster."""
        if self.origin is None:
            return []
        owner = f" ({self.attribution})" if self.attribution else ""
        return [f"imagery of {self.origin}{owner}, fetched on {self.fetched}"]

    def record(self) -> dict[str, str | None] | None:
        """Return what a dataset records of imagery from elsewhere; None of a local raster."""
        if self.origin is None:
            return None
        return {"address": self.origin, "attribution": self.attribution, "fetched": self.fetched}


@dataclass(frozen=True)
class _Request:
    raster: str
    bbox: BBox | None
    zoom: int | None
    resolution: float | None
    crs: str | None
    http: Http
    progress: bool

    def identity(self) -> dict[str, Any]:
        """Return what the pixels depend on."""
        return {"raster": without_secrets(self.raster), "bbox": self.bbox and self.bbox.bounds,
                "zoom": self.zoom, "resolution": self.resolution, "crs": self.crs}


def is_remote(raster: str) -> bool:
    """Return whether `localised` does more than to return the raster itself."""
    path = Path(services.split_choice(raster)[0])
    return (is_url(raster) or raster.startswith((*_STORES, "WMTS:", "WMS:"))
            or path.suffix.lower() in (".json", ".xml"))


def localised(raster: str, bbox: BBox | None = None, zoom: int | None = None,
              resolution: float | None = None, *, crs: str | None = None,
              cache: str | None = None, progress: bool = True, http: Http | None = None,
              most_tiles: int = tiles.MOST_TILES) -> Local:
    """Return imagery on this machine that stands for `raster`; any other raster stays as it is.

    Args:
        raster: an address of tiles https://host/{z}/{x}/{y}.jpg, of a GeoTIFF, of a STAC item (or
            the item's file), or of a map service (or its description); all else is local.
        bbox: the area to fetch; None: all of a GeoTIFF.
        zoom: of tiles.
        resolution: metres per pixel that will be made of it: the overview that suffices is fetched.
        crs: of a GeoTIFF that has none, or the one to ask a WMS for.
        cache: folder of what was fetched; None: rose/imagery in the user's cache folder.
        progress: show a bar.
        most_tiles: that may be fetched.

    Raises:
        ConfigError: bbox, zoom or resolution is missing, or asks for too much.
        PrepareError: the server does not give it, or it is no imagery. The message is one line
            and names no secret.
    """
    if not is_remote(raster):
        return Local(raster, zoom)
    if raster.startswith(_STORES):
        raise ConfigError(f"raster={printable(raster)}: an address of a store, expected http:// or "
                          "https://; give its address on the web, or download it")
    folder = cache_folder(cache)
    with http or Http() as session:
        request = _Request(raster, bbox, zoom, resolution, crs, session, progress)
        if is_url(raster) and tiles.is_tile_address(raster):
            return _tiles(request, folder, most_tiles)
        return _by_content(request, folder)


def _tiles(request: _Request, cache: Path, most: int) -> Local:
    address = tiles.TileAddress(request.raster)
    area = tiles.wanted_tiles(address, request.bbox, request.zoom, most)
    source = SourceFolder(cache, request.raster)
    with source.held():
        notes = tiles.fetch_tiles(address, area, request.bbox, source.path, request.http,
                                  request.progress)
    return Local(str(source.path / "tiles"), request.zoom, source.origin, None, today(), notes)


def _by_content(request: _Request, cache: Path) -> Local:
    """Fetch what an address or a file stands for by what it holds, unless it is there."""
    source = SourceFolder(cache, request.raster)
    identity = request.identity()
    if known := source.find(identity):
        return _local(source, known, [f"{known.origin}: the imagery that was fetched on "
                                      f"{known.fetched} is used; {source.remedy}, and it is "
                                      "fetched anew"])
    name, choice = services.split_choice(request.raster)
    fetch = _kind_of(request, name, choice)
    if isinstance(fetch, Local):
        return fetch
    with source.held():
        fetched = fetch(source.path)
        source.record(identity, fetched)
    return _local(source, fetched, [])


def _local(source: SourceFolder, fetched: Fetched, notes: list[str]) -> Local:
    return Local(str(source.path / fetched.raster), None, fetched.origin, fetched.attribution,
                 fetched.fetched, [*notes, *fetched.notes])


def _kind_of(request: _Request, name: str,
             choice: dict[str, str]) -> Callable[[Path], Fetched] | Local:
    """Return what fetches a raster into its folder, by the first bytes of its content."""
    if is_url(name):
        start = request.http.start(name)
        if start.startswith(_TIFF):
            return partial(_geotiffs, request, [stac.Asset("", name)], None)
    elif not Path(name).is_file():
        raise PrepareError(f"{name}: no such file, expected a STAC item (.json) or the "
                           "description of a map service (.xml); look at the path")
    else:
        with Path(name).open("rb") as file:
            start = file.read(4096)
    if stac.looks_like_item(start):
        content = _content(request, name, stac.MOST_ITEM_BYTES)
        item = stac.read_item(content, name)
        if item.is_local:
            return _local_item(request, item, name)
        return partial(_geotiffs, request, item.assets, item.attribution)
    if services.looks_like_service(start):
        content = _content(request, name, services.MOST_BYTES)
        return partial(_service, request, services.read_service(content, name, choice))
    raise PrepareError(f"{short_address(name)}: neither a GeoTIFF nor a STAC item nor the "
                       "description of a map service, expected one of them; other imagery is read "
                       "from this machine: download it, and pass raster= the file")


def _content(request: _Request, name: str, most_bytes: int) -> bytes:
    if is_url(name):
        return request.http.get(name, most_bytes=most_bytes).content
    path = Path(name)
    if path.stat().st_size > most_bytes:
        raise PrepareError(f"{path}: has {path.stat().st_size:,} bytes, expected {most_bytes:,} at "
                           "most; pass raster= the file of a STAC item or of a map service")
    return path.read_bytes()


def _local_item(request: _Request, item: stac.Item, name: str) -> Local:
    """Return the picture of an item whose files are here."""
    if len(item.assets) > 1 or item.assets[0].colours:
        files = ", ".join(asset.href for asset in item.assets)
        raise PrepareError(f"{name}: its colours are bands of {files}, which are here; pass "
                           "raster= a quoted glob of these files alone, or bands= of the one file")
    return Local(item.assets[0].href, request.zoom, name, item.attribution, today())


def _geotiffs(request: _Request, assets: list[stac.Asset], attribution: str | None,
              folder: Path) -> Fetched:
    """Fetch the window of one GeoTIFF, or of one a colour."""
    if request.zoom is not None:
        raise ConfigError(f"zoom={request.zoom}: zooms are of web map tiles, and "
                          f"{short_address(request.raster)} is a GeoTIFF; leave it out, and pass "
                          "resolution= in metres for coarser pixels")
    rasters = [cog.remote_geotiff(asset.href, request.http.patience) for asset in assets]
    known = [raster.picture() for raster in rasters]
    picture, lattice, tags, factors = known[0]
    notes = [f"{short_address(raster.url)}: a GeoTIFF without tiles, of which whole rows are fetched; this "
             "is slow" for raster, (own, size, _, _) in zip(rasters, known, strict=True)
             if cog.is_plain(size, own)]
    for note in notes:
        say([note])
    level = cog.sufficient_overview(picture, factors, request.resolution)
    if level is not None:
        rasters = [cog.remote_geotiff(asset.href, request.http.patience, level)
                   for asset in assets]
        known = [raster.picture() for raster in rasters]
        picture, lattice, *_ = known[0]
    for asset, (other, *_) in zip(assets, known, strict=True):
        same = (other.crs, other.width, other.height) == (picture.crs, picture.width,
                                                          picture.height)
        if not same or not other.transform.almost_equals(picture.transform):
            raise PrepareError(f"{short_address(request.raster)}: its {asset.name} has {other.width} x "
                               f"{other.height} pixels on another grid than the {picture.width} x "
                               f"{picture.height} of {assets[0].name}, expected one grid; pass "
                               "raster= the address of one asset, and bands=")
    window = _window(request, picture)
    folders = [folder / f"{asset.name or 'pieces'}-{'full' if level is None else level}".replace(
        "/", "_") for asset in assets]
    pieces = list(pieces_in(window, lattice, picture.width, picture.height))
    _announce(request, picture, window, len(pieces) * len(assets), folder)
    for raster, (own, *_), pieces_folder in zip(rasters, known, folders, strict=True):
        copy_pieces(raster, own, pieces, pieces_folder, cog.THREADS,
                    request.progress)
    whole = _united(picture, [own for own, *_ in known], assets)
    owner = tags.get("TIFFTAG_COPYRIGHT") or tags.get("ATTRIBUTION")
    return _recorded(request, folder, whole, window, pieces, folders,
                     attribution or (owner and printable(owner, 500)), notes)


def _united(picture: Picture, pictures: list[Picture], assets: list[stac.Asset]) -> Picture:
    """Return the picture of one file a colour, or of one file with its colours named."""
    if len(pictures) > 1:
        bands = tuple(each.bands[0] for each in pictures)
        return Picture(picture.crs, picture.transform, picture.width, picture.height, bands,
                       picture.masked).coloured(_COLOURS)
    if assets[0].colours is None:
        return picture
    names = dict(zip(assets[0].colours, _COLOURS, strict=True))
    return picture.coloured([names.get(number, band.colour if band.colour == ColorInterp.alpha
                                       else ColorInterp.undefined)
                             for number, band in enumerate(picture.bands, start=1)])


def _service(request: _Request, service: services.Service, folder: Path) -> Fetched:
    """Fetch a window of a map service."""
    if request.bbox is None:
        raise ConfigError(f"bbox: no value given; {short_address(service.url)} draws maps of any place: "
                          "add bbox=[west,south,east,north] in degrees")
    pixel = request.resolution
    if pixel is None and request.zoom is not None:
        pixel = tiles.pixel_metres(request.bbox, request.zoom)
    own = folder / f"service-{SourceFolder.key(request.identity())}"
    raster = services.open_service(service, own, request.bbox, pixel, request.crs,
                                   request.http.patience)
    try:
        picture, lattice, _, factors = raster.picture()
        level = cog.sufficient_overview(picture, factors, pixel)
        if level is not None:
            whole = raster.open
            raster = RemoteRaster(raster.url, partial(whole, OVERVIEW_LEVEL=level),
                                  raster.options, raster.patience)
            picture, lattice, *_ = raster.picture()
        window = _window(request, picture)
        if window.width * window.height > MOST_PIXELS:
            raise ConfigError(f"resolution={request.resolution}: {window.width:,} x "
                              f"{window.height:,} pixels of {short_address(service.url)} in bbox=, "
                              f"expected {MOST_PIXELS:,} at most; pass a coarser resolution= or "
                              "a smaller bbox=")
        pieces = list(pieces_in(window, lattice, picture.width, picture.height))
        _announce(request, picture, window, len(pieces), folder)
        copy_pieces(raster, picture, pieces, own, services.THREADS, request.progress)
    finally:
        shutil.rmtree(own / "on-the-way", ignore_errors=True)
    return _recorded(request, folder, picture, window, pieces, [own], service.attribution, [])


def _window(request: _Request, picture: Picture) -> Window:
    """Return the pixels of a raster in the area that is asked for; raise PrepareError if it has
    none there."""
    name = short_address(request.raster)
    if request.bbox is None:
        return Window(0, 0, picture.width, picture.height)
    wkt = picture.crs or (request.crs and CRS.from_user_input(request.crs).to_wkt())
    if not wkt:
        raise PrepareError(f"{name}: the raster has no coordinate reference system, so bbox= is "
                           "no place of it; pass raster_crs=EPSG:32648 (with its code)")
    crs = CRS.from_wkt(wkt)
    box = request.bbox.pixels(crs, picture.transform, picture.width, picture.height)
    if box is None:
        own = rasterio.transform.array_bounds(picture.height, picture.width, picture.transform)
        raise PrepareError(f"{name}: has no imagery in bbox=[{request.bbox}]. "
                           + extents_text("the raster", own, crs, request.bbox))
    left, top, right, bottom = box
    return Window(left, top, right - left, bottom - top)


def extents_text(name: str, bounds: tuple, crs: CRS, bbox: BBox) -> str:
    """Return a sentence on where a raster is, and what to do."""
    from datasets.prepare.geo.crs import DEGREES, box_in

    box = box_in(bounds, crs, DEGREES)
    shown = ",".join(f"{side:.5f}" for side in box) if box else "unknown"
    return (f"The extent of {name} is [{shown}] (west, south, east, north in EPSG:4326); pass "
            "bbox= inside it, or leave bbox= out")


def _announce(request: _Request, picture: Picture, window: Window, count: int,
              folder: Path) -> None:
    pixel = sum(np.dtype(band.dtype).itemsize for band in picture.bands)
    area = f", {request.bbox.area_km2:,.1f} km2" if request.bbox else ""
    say([f"fetching {window.width:,} x {window.height:,} pixels"
         f" ({format_bytes(window.width * window.height * pixel)} uncompressed{area}) from "
         f"{short_address(request.raster)} in {count:,} "
         f"pieces into {folder}; those that are there are not fetched again"])


def _recorded(request: _Request, folder: Path, picture: Picture, window: Window,
              pieces: list[Window], folders: list[Path], attribution: str | None,
              notes: list[str]) -> Fetched:
    """Write the VRT of pieces, and return its record."""
    area = picture.cropped(window)
    name = f"area-{SourceFolder.key(request.identity())}.vrt"
    lying = [[(piece_path(own, piece), Window(piece.col_off - window.col_off,
                                              piece.row_off - window.row_off,
                                              piece.width, piece.height))
              for piece in pieces] for own in folders]
    bands = ([(1, lying[number]) for number in range(len(folders))] if len(folders) > 1 else
             [(number, lying[0]) for number in range(1, len(picture.bands) + 1)])
    write_virtual(folder / name, area, bands)
    files = [str(path.relative_to(folder)) for own in lying for path, _ in own]
    return Fetched(name, without_secrets(request.raster), attribution, today(), notes, files)
