"""What is asked of a source, and the window of a raster on a server that answers it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import array_bounds
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.prepare.geo.crs import DEGREES, box_in
from datasets.prepare.imagery.files import Reading
from datasets.remote.cache import Fetched, SourceFolder, today
from datasets.remote.http import Http
from datasets.remote.pieces import Seen, piece_path, pieces_in, whole_blocks
from datasets.remote.urls import short_url, without_secrets
from datasets.remote.virtual import Picture, write_virtual
from utils.errors import ConfigError, PrepareError
from utils.progress import say
from utils.tables import format_bytes

MOST_PIECES = 200_000
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class Request:
    """Imagery that is asked for, as in `imagery.localised`."""

    raster: str
    bbox: BBox | None
    zoom: int | None
    resolution: float | None
    crs: str | None
    http: Http
    progress: bool

    @property
    def name(self) -> str:
        """What messages call the source."""
        return short_url(self.raster)

    def identity(self) -> dict[str, Any]:
        """Return what the pixels depend on."""
        return {"raster": without_secrets(self.raster),
                "bbox": None if self.bbox is None else list(self.bbox.bounds),
                "zoom": self.zoom, "resolution": self.resolution, "crs": self.crs}

    def window(self, picture: Picture) -> Window:
        """Return the whole pixels of a raster in the box, or all; raise PrepareError if it has
        none there."""
        if self.bbox is None:
            return Window(0, 0, picture.width, picture.height)
        given = Reading.of(None, self.crs, "file").given_crs()
        wkt = picture.crs or (given and given.to_wkt())
        if not wkt:
            raise PrepareError(f"{self.name}: the raster has no coordinate reference system, so "
                               "bbox= is no place of it; pass raster_crs=EPSG:32648 (with its "
                               "code)")
        crs = CRS.from_wkt(wkt)
        box = self.bbox.pixels(crs, picture.transform, picture.width, picture.height)
        if box is None:
            own = box_in(array_bounds(picture.height, picture.width, picture.transform), crs,
                         DEGREES)
            extent = ",".join(f"{side:.5f}" for side in own) if own else "unknown"
            raise PrepareError(f"{self.name}: has no imagery in bbox=[{self.bbox}], its extent is "
                               f"[{extent}] (west,south,east,north in EPSG:4326); pass bbox= "
                               "inside it, or leave bbox= out")
        left, top, right, bottom = box
        return Window(left, top, right - left, bottom - top)

    def announce(self, picture: Picture, window: Window, pieces: int, folder: Path) -> None:
        """Tell the user what will be fetched."""
        pixel = sum(np.dtype(band.dtype).itemsize for band in picture.bands)
        area = f", {self.bbox.area_km2:,.1f} km2" if self.bbox else ""
        size = format_bytes(window.width * window.height * pixel)
        say([f"fetching {window.width:,} x {window.height:,} pixels ({size} uncompressed{area}) "
             f"from {self.name} in {pieces:,} pieces into {folder}; those that are there are not "
             "fetched again"])


@dataclass(frozen=True)
class Area:
    """A window of a raster, and the pieces that cover it."""

    picture: Picture
    window: Window
    pieces: list[Window]

    @classmethod
    def of(cls, request: Request, seen: Seen, cut: bool = False) -> "Area":
        """Return the area that a request asks for; raise PrepareError if it is empty, ConfigError
        if it is too large.

        Args:
            cut: cut the pieces to the blocks that touch the window; they serve no other one then.
        """
        picture = seen.picture
        window = request.window(picture)
        count = (math.ceil(window.width / seen.lattice.width)
                 * math.ceil(window.height / seen.lattice.height))
        if count > MOST_PIECES:
            raise ConfigError(f"{request.name}: {window.width:,} x {window.height:,} pixels in "
                              f"{count:,} pieces, expected {MOST_PIECES:,} at most; pass a smaller "
                              "bbox=, or a coarser resolution= if it has overviews")
        pieces = list(pieces_in(window, seen.lattice, picture.width, picture.height))
        if cut:
            blocks = whole_blocks(window, seen.block, picture.width, picture.height)
            pieces = [piece.intersection(blocks) for piece in pieces]
        return cls(picture, window, pieces)

    def recorded(self, request: Request, folder: Path, folders: Sequence[Path], picture: Picture,
                 attribution: str | None, notes: Sequence[str] = ()) -> Fetched:
        """Write the VRT of the area in `folder`, and return its record.

        Args:
            folders: of the pieces of each band, or one of the pieces of all.
            picture: of the bands, on the grid of this area's.
        """
        placed = [[(piece_path(own, piece), Window(piece.col_off - self.window.col_off,
                                                   piece.row_off - self.window.row_off,
                                                   piece.width, piece.height))
                   for piece in self.pieces] for own in folders]
        bands = ([(1, pieces) for pieces in placed] if len(folders) > 1 else
                 [(number, placed[0]) for number in range(1, len(picture.bands) + 1)])
        name = f"area-{SourceFolder.key(request.identity())}.vrt"
        write_virtual(folder / name, picture.cropped(self.window), bands)
        files = [str(path.relative_to(folder)) for pieces in placed for path, _ in pieces]
        return Fetched(name, without_secrets(request.raster), attribution, today(), list(notes),
                       files)


def sufficient_overview(metres: tuple[float, float], factors: Sequence[int],
                        resolution: float | None) -> int | None:
    """Return the coarsest overview whose pixels are as fine as `resolution`; None if only the full
    size is.

    Args:
        metres: width and height of a pixel of the full size.
        factors: pixels of the full size along a side of a pixel of each overview.
    """
    if resolution is None:
        return None
    step = resolution / math.sqrt(metres[0] * metres[1])
    return max((level for level, factor in enumerate(factors) if factor <= 1.01 * step),
               default=None)
