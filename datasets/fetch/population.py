"""A population grid of an area: the cells of a GeoTIFF that touch it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.fetch.imagery import passed_as
from datasets.fetch.record import Made
from datasets.prepare.geo.crs import DEGREES, extents_text
from datasets.prepare.geo.raster_io import (
    RASTER_ERRORS,
    has_place,
    open_raster_file,
    raster_reason,
)
from datasets.remote.http import Http, Patience
from datasets.remote.imagery import localised
from datasets.remote.urls import is_url, without_secrets
from utils.errors import ConfigError, PrepareError
from utils.files import replacing, states
from utils.tables import format_number

_ROWS = 256  # of cells that are copied at a time
_SAYS = ("units", "unit", "description", "TIFFTAG_IMAGEDESCRIPTION", "TIFFTAG_COPYRIGHT")


@dataclass
class PopulationItem:
    """The grid that `population=` asks for."""

    population: str
    name = "population"
    path = "population.tif"

    @classmethod
    def of(cls, population: str) -> "PopulationItem":
        """Return the item; raise ConfigError if it is a path without a file."""
        if not is_url(population) and not Path(population).is_file():
            raise ConfigError(f"population={population}: no such file; expected the path or URL of "
                              "a GeoTIFF")
        return cls(population)

    @property
    def request(self) -> dict[str, Any]:
        local = {} if is_url(self.population) else states([Path(self.population)])
        return {"population": without_secrets(self.population), "state": local}

    def forecast(self, box: BBox) -> list[str]:
        """Return what would be fetched, in lines for the user."""
        return [f"population: the cells of {without_secrets(self.population)} in the area"]

    def make(self, folder: Path, box: BBox, patience: Patience) -> Made:
        """Write the cells into `folder`."""
        source, name = self.population, without_secrets(self.population)
        attribution = ""
        if is_url(source):
            with passed_as("population"):
                local = localised(source, box, cache=str(folder), http=Http(patience=patience))
            source, attribution = local.raster, local.attribution or ""
        folder.mkdir(parents=True, exist_ok=True)
        notes = crop_grid(Path(source), name, folder / self.path, box)
        return Made(folder / self.path, name, attribution=attribution,
                    notes=tuple(f"{self.path}: {note}" for note in notes))


def crop_grid(source: Path, name: str, target: Path, box: BBox) -> list[str]:
    """Write the cells of a raster that touch a box, with their values and nodata as they are;
    return what the file says of them.

    Args:
        name: of the raster in messages.

    Raises:
        PrepareError: no raster, without a place, or elsewhere.
    """
    try:
        with open_raster_file(source) as dataset:
            if dataset.crs is None or not has_place(dataset):
                raise PrepareError(f"{name}: the raster has no place on the Earth, expected a "
                                   "GeoTIFF with a coordinate reference system and a geotransform")
            window = _window(dataset, name, box)
            total = _copy(dataset, window, target)
            said = _words(dataset)
    except RASTER_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise PrepareError(f"{name}: not a readable raster ({raster_reason(error)}); expected a "
                           "GeoTIFF; get it again") from error
    return [f"{window.width} x {window.height} cells, whose values add up to "
            f"{format_number(total)}: if these are no people, say what they are with "
            "population_unit=", *([f"the file says: {said}"] if said else [])]


def _window(dataset: rasterio.DatasetReader, name: str, box: BBox) -> Window:
    crs = CRS.from_wkt(dataset.crs.to_wkt())
    pixels = box.pixels(crs, dataset.transform, dataset.width, dataset.height)
    if pixels is None:
        raise PrepareError(f"{name}: has no cell in the area. " + extents_text(
            "the grid", tuple(dataset.bounds), crs, box.bounds, DEGREES))
    left, top, right, bottom = pixels
    return Window(left, top, right - left, bottom - top)


def _copy(dataset: rasterio.DatasetReader, window: Window, target: Path) -> float:
    """Write a window of the first band as a GeoTIFF, and return the sum of its values."""
    profile = {"driver": "GTiff", "count": 1, "dtype": dataset.dtypes[0], "crs": dataset.crs,
               "width": window.width, "height": window.height, "nodata": dataset.nodata,
               "compress": "deflate",
               "transform": dataset.transform @ Affine.translation(window.col_off, window.row_off)}
    sums = []
    with replacing(target, RasterioError) as temporary, rasterio.open(
            temporary, "w", **profile) as written:
        for strip in _strips(window):
            values = dataset.read(1, window=strip, masked=True)
            written.write(values.filled() if dataset.nodata is not None else values.data, 1,
                          window=Window(0, strip.row_off - window.row_off, strip.width,
                                        strip.height))
            sums.append(float(np.ma.masked_invalid(values).sum(dtype=np.float64) or 0))
        written.update_tags(**dataset.tags())
        written.update_tags(1, **dataset.tags(1))
        if dataset.descriptions[0]:
            written.set_band_description(1, dataset.descriptions[0])
    return math.fsum(sums)


def _strips(window: Window) -> Iterator[Window]:
    for top in range(0, window.height, _ROWS):
        yield Window(window.col_off, window.row_off + top, window.width,
                     min(_ROWS, window.height - top))


def _words(dataset: rasterio.DatasetReader) -> str:
    """Return what a file says of its values and their owner, "" if nothing."""
    tags = {**dataset.tags(), **dataset.tags(1)}
    texts = [dataset.descriptions[0], dataset.units[0], *map(tags.get, _SAYS)]
    return "; ".join(dict.fromkeys(" ".join(text.split())[:200] for text in texts if text))
