"""raster= by an address becomes imagery on this machine: a folder of tiles, or a VRT of pieces.

    local = localised(raster, bbox, zoom, resolution)
    open_mosaic(local.raster, bbox=..., zoom=local.zoom, resolution=resolution)

What is read afterwards is local, so GDAL stays cut off from the network there. Everything is
fetched into a cache folder, piece by piece: the same call resumes, and fetches nothing twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datasets.bbox import BBox
from datasets.remote import stac, tiles
from datasets.remote.area import Request
from datasets.remote.cache import Fetched, SourceFolder, cache_folder, today
from datasets.remote.geotiffs import fetch_geotiffs
from datasets.remote.http import Http
from datasets.remote.service_files import (
    MOST_BYTES,
    looks_like_service,
    read_service,
    split_choice,
)
from datasets.remote.services import fetch_service
from datasets.remote.urls import is_url, is_valid, short_url
from utils.errors import ConfigError, PrepareError, printable

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
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


def is_remote(raster: str) -> bool:
    """Return whether `localised` does more than to return the raster itself."""
    path = Path(split_choice(raster)[0])
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
        raise ConfigError(f"raster={printable(short_url(raster))}: an address of a store, expected "
                          "http:// or https://; give its address on the web, or download it")
    if is_url(raster) and not is_valid(raster):
        raise ConfigError(f"raster={printable(short_url(raster))}: not a valid address, expected "
                          "http:// or https:// and a host; look at it")
    folder = cache_folder(cache)
    with http or Http() as session:
        request = Request(raster, bbox, zoom, resolution, crs, session, progress)
        if is_url(raster) and tiles.is_tile_address(raster):
            return _tiles(request, folder, most_tiles)
        return _by_content(request, folder)


def _tiles(request: Request, cache: Path, most: int) -> Local:
    address = tiles.TileAddress(request.raster)
    area = tiles.wanted_tiles(address, request.bbox, request.zoom, most)
    source = SourceFolder(cache, request.raster)
    with source.held():
        notes = tiles.fetch_tiles(address, area, request.bbox, source.path, request.http,
                                  request.progress)
    return Local(str(source.path / "tiles"), request.zoom, source.origin, None,
                 tiles.fetched_on(area, source.path) or today(), notes)


def _by_content(request: Request, cache: Path) -> Local:
    """Fetch what an address or a file stands for by what it holds, unless it is there."""
    source = SourceFolder(cache, request.raster)
    identity = request.identity()
    if known := source.find(identity):
        return _local(source, known, [f"{known.origin}: the imagery that was fetched on "
                                      f"{known.fetched} is used; {source.remedy}, and it is "
                                      "fetched anew"])
    name, choice = split_choice(request.raster)
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


def _kind_of(request: Request, name: str,
             choice: dict[str, str]) -> Callable[[Path], Fetched] | Local:
    """Return what fetches a raster into its folder, by the first bytes of its content."""
    if is_url(name):
        start = request.http.start(name)
        if start.startswith(TIFF):
            return partial(fetch_geotiffs, request, [stac.Asset("the file", name)], None)
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
        return partial(fetch_geotiffs, request, item.assets, item.attribution)
    if looks_like_service(start):
        content = _content(request, name, MOST_BYTES)
        return partial(fetch_service, request, read_service(content, name, choice))
    raise PrepareError(f"{short_url(name)}: neither a GeoTIFF nor a STAC item nor the "
                       "description of a map service, expected one of them; other imagery is read "
                       "from this machine: download it, and pass raster= the file")


def _content(request: Request, name: str, most_bytes: int) -> bytes:
    if is_url(name):
        return request.http.get(name, most_bytes=most_bytes).content
    path = Path(name)
    if path.stat().st_size > most_bytes:
        raise PrepareError(f"{path}: has {path.stat().st_size:,} bytes, expected {most_bytes:,} at "
                           "most; pass raster= the file of a STAC item or of a map service")
    return path.read_bytes()


def _local_item(request: Request, item: stac.Item, name: str) -> Local:
    """Return the picture of an item whose files are here."""
    if len(item.assets) > 1 or item.assets[0].colours:
        files = ", ".join(asset.href for asset in item.assets)
        raise PrepareError(f"{name}: its colours are bands of {files}, which are here; pass "
                           "raster= a quoted glob of these files alone, or bands= of the one file")
    return Local(item.assets[0].href, request.zoom, name, item.attribution, today())
