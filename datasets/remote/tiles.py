"""Web map tiles by an address such as https://host/{z}/{x}/{y}.jpg -> a folder z/x/y.jpg."""

import io
import math
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import mercantile
from PIL import Image, UnidentifiedImageError

from datasets.bbox import BBox, TileRange
from datasets.remote.http import Http, RemoteError
from datasets.remote.http_faults import AGAIN
from datasets.remote.threads import in_threads
from datasets.remote.urls import short_url
from utils.errors import ConfigError
from utils.files import replacing
from utils.progress import passing_bar, say

MOST_TILES = 50_000
MOST_TILE_BYTES, MOST_TILE_PX = 16 << 20, 4096
SUBDOMAINS = "abc"
_EQUATOR_M = 2 * math.pi * 6378137
_FIELDS = ("z", "x", "y", "-y", "q", "s", "r")
_FIELD = re.compile(r"\{([^{}]*)\}")
_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
_GAPS = (204, 404, 410)
_FAULTS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error,
           Image.DecompressionBombError)
_ATTEMPTS = 3  # for an image that comes damaged


@dataclass(frozen=True)
class TileAddress:
    """The address of tiles: {z} zoom, {x} column, {y} row from the north or {-y} from the south,
    or {q} all three as a quadkey; {s} one of the hosts a, b, c; {r} nothing."""

    template: str

    def __post_init__(self) -> None:
        names = set(_FIELD.findall(self.template))
        if unknown := sorted(names - set(_FIELDS)):
            raise ConfigError(f"raster={short_url(self.template)}: the address holds "
                              f"{{{unknown[0]}}}, expected {{z}}, {{x}} and {{y}} (or {{-y}}, "
                              "{q}, {s}); write in its place what it stands for, such as your key")
        if not ("q" in names or ({"z", "x"} <= names and names & {"y", "-y"})):
            raise ConfigError(f"raster={short_url(self.template)}: expected {{z}}, {{x}} and "
                              "{y} in the address of tiles")

    def url(self, tile: mercantile.Tile) -> str:
        """Return the address of a tile."""
        values = {"z": tile.z, "x": tile.x, "y": tile.y, "-y": 2**tile.z - 1 - tile.y,
                  "q": mercantile.quadkey(tile), "r": "",
                  "s": SUBDOMAINS[(tile.x + tile.y) % len(SUBDOMAINS)]}
        return _FIELD.sub(lambda field: str(values[field[1]]), self.template)


def is_tile_address(raster: str) -> bool:
    """Return whether a URL is an address of many tiles."""
    return "{" in raster


def pixel_metres(bbox: BBox, zoom: int, tile_px: int = 256) -> float:
    """Return the ground size of a tile's pixel in the middle of a box."""
    middle = math.radians((bbox.south + bbox.north) / 2)
    return _EQUATOR_M * math.cos(middle) / (tile_px * 2**zoom)


def finest_zoom(bbox: BBox, zoom: int, most: int) -> int:
    """Return the finest zoom up to `zoom` that covers a box with at most `most` tiles."""
    return next(level for level in range(zoom, -1, -1) if len(bbox.tiles(level)) <= most)


def wanted_tiles(address: TileAddress, bbox: BBox | None, zoom: int | None,
                 most: int = MOST_TILES) -> TileRange:
    """Return the tiles of an area; raise ConfigError without bbox or zoom, or if they are too
    many, with the zooms that would do."""
    if bbox is None:
        raise ConfigError(f"bbox: no value given; {short_url(address.template)} has tiles of the "
                          "whole Earth: add bbox=[west,south,east,north] in degrees, and zoom=")
    if zoom is None:
        choices = ", ".join(f"{level} ({pixel_metres(bbox, level):.2g} m pixels, "
                            f"{len(bbox.tiles(level)):,} tiles)" for level in range(16, 20))
        raise ConfigError(f"zoom: no value given; {short_url(address.template)} has tiles of many "
                          f"zooms: add zoom=, here {choices}")
    tiles = bbox.tiles(zoom)
    if len(tiles) > most:
        fits = finest_zoom(bbox, zoom, most)
        raise ConfigError(f"zoom={zoom}: {len(tiles):,} tiles in the {bbox.area_km2:,.1f} km2 of "
                          f"bbox=, expected {most:,} at most, as servers bear no more; pass "
                          f"zoom={fits} ({len(bbox.tiles(fits)):,} tiles, pixels of "
                          f"{pixel_metres(bbox, fits):.2g} m) or a smaller bbox=")
    return tiles


def fetch_tiles(address: TileAddress, tiles: TileRange, bbox: BBox, folder: Path, http: Http,
                progress: bool) -> list[str]:
    """Fetch the tiles that `folder` lacks to folder/tiles/z/x/y.png, .jpg or .webp, as the server
    sends them; return notes.

    Tiles that the server does not have are gaps, which are remembered.

    Raises:
        RemoteError: the server refuses, or it has none of the tiles.
    """
    gaps = _Gaps(folder / f"gaps-{tiles.zoom}.txt")
    there = _there(folder / "tiles" / str(tiles.zoom))
    missing = [tile for tile in tiles
               if (tile.x, tile.y) not in there and (tile.x, tile.y) not in gaps.known]
    if missing:
        done = len(tiles) - len(missing)
        say([f"fetching {len(missing):,} tiles of zoom {tiles.zoom} (pixels of "
             f"{pixel_metres(bbox, tiles.zoom):.2g} m, {bbox.area_km2:,.1f} km2) from "
             f"{short_url(address.template)} into {folder}"
             + (f"; {done:,} are there" if done else "")])

    def fetch(tile: mercantile.Tile) -> mercantile.Tile | None:
        return None if _fetch(address.url(tile), folder / "tiles", tile, http) else tile

    bar = passing_bar(None, "imagery", "tile", len(missing), progress)
    with bar, gaps:
        for gap in in_threads(fetch, missing, http.connections):
            if gap is not None:
                gaps.add(gap)
            bar.update()
    lacking = sum((tile.x, tile.y) in gaps.known for tile in tiles)
    if lacking == len(tiles):
        gaps.path.unlink()  # a server may be wrong for a while
        raise RemoteError(f"{short_url(address.template)}: the server has none of the "
                          f"{len(tiles):,} tiles of zoom {tiles.zoom} in bbox=, expected imagery "
                          "there; look at the address and bbox=, and pass a lower zoom=")
    return [f"{short_url(address.template)}: the server has no image for {lacking:,} of "
            f"{len(tiles):,} tiles of zoom {tiles.zoom}, which stay gaps without imagery; remove "
            f"{gaps.path} to ask for them again"] if lacking else []


def fetched_on(tiles: TileRange, folder: Path) -> str | None:
    """Return the day on which the last of the tiles' columns got a tile; None without any."""
    columns = [folder / "tiles" / str(tiles.zoom) / str(x) for x in range(tiles.left, tiles.right)]
    times = [column.stat().st_mtime for column in columns if column.is_dir()]
    return time.strftime("%Y-%m-%d", time.localtime(max(times))) if times else None


def _fetch(url: str, folder: Path, tile: mercantile.Tile, http: Http) -> bool:
    """Fetch one tile; return whether the server has it."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            content = http.get(url, kinds=("image/",), most_bytes=MOST_TILE_BYTES).content
        except RemoteError as error:
            if error.status in _GAPS:
                return False
            raise
        if not content:  # as with 204, no content
            return False
        try:
            ending = _ENDINGS[_decoded(content)]
            break
        except _FAULTS as error:
            if attempt == _ATTEMPTS:
                raise RemoteError(f"{short_url(url)}: the server's image is damaged or cut short, "
                                  f"{attempt} times in a row, expected a whole PNG, JPEG or WebP; "
                                  f"{AGAIN}") from error
    path = folder / str(tile.z) / str(tile.x) / f"{tile.y}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return True


def _decoded(content: bytes) -> str:
    """Return the format of an image that is whole; raise one of _FAULTS if it is not."""
    with Image.open(io.BytesIO(content), formats=tuple(_ENDINGS)) as image:
        if max(image.size) > MOST_TILE_PX:
            raise ValueError(image.size)
        image.load()
        return image.format


def _there(folder: Path) -> set[tuple[int, int]]:
    """Return columns and rows of the tiles that a folder of one zoom holds."""
    return {(int(path.parent.name), int(path.stem)) for path in folder.glob("*/*")
            if path.suffix in _ENDINGS.values() and path.stem.isdecimal()
            and path.parent.name.isdecimal()}


class _Gaps:
    """The tiles of one zoom that a server does not have, as lines `x/y` of a file."""

    def __init__(self, path: Path):
        self.path = path
        lines = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
        self.known = {(int(match[1]), int(match[2])) for line in lines
                      if (match := re.fullmatch(r"(\d{1,10})/(\d{1,10})", line, re.ASCII))}

    def __enter__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, tile: mercantile.Tile) -> None:
        """Remember a tile at once, in case the run is stopped."""
        self.known.add((tile.x, tile.y))
        self._file.write(f"\n{tile.x}/{tile.y}\n")
        self._file.flush()
