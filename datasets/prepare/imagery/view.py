"""One raster file, or what a crop leaves of it, as three bands of colour, and a fourth if it has
an alpha band or a mask.

The view is a virtual raster (GDAL's VRT), so palettes, chosen bands and missing imagery are
settled before any resampling.
"""

import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window

from datasets.prepare.geo.raster_io import reopen_raster_file
from datasets.prepare.imagery.files import (
    PIXEL_TYPES,
    RasterFile,
    Reading,
    as_seen,
    colour_bands,
    is_palette,
    opacity,
)
from datasets.prepare.imagery.placement import Source
from datasets.prepare.imagery.sidecars import own_crs, own_transform
from datasets.prepare.imagery.web_tiles import open_tile, shown, web_mercator

_ALL_OPAQUE = "<ScaleOffset>255</ScaleOffset><ScaleRatio>0</ScaleRatio>"
_OPAQUE = "<LUT>0:0,1:255</LUT>"  # all but 0 counts as imagery, in alpha bands of any type


def open_view(file: RasterFile | Source, reading: Reading, step: float = 0
              ) -> rasterio.DatasetReader:
    """Open the view of a file, or of what a crop leaves of it.

    With a step, the view is of the coarsest overview still as fine as the result. It also has a
    frame without imagery: a warp drops the pixels that a file's edge cuts, which would leave a gap
    between two files.

    Args:
        step: 0: the file's own pixels; else they will be resampled, and this is the width of a
            result pixel in file pixels.
    """
    if file.tile:
        return _tile_view(file, reading, math.ceil(step))
    paths = reading.paths(file.path)
    with ExitStack() as stack:
        datasets = [stack.enter_context(reopen_raster_file(each)) for each in paths]
        whole = datasets[0]
        factors = [dataset.overviews(1) for dataset in datasets]
        shared = factors[0] if factors == [factors[0]] * len(paths) else []
        level = max((level for level, factor in enumerate(shared) if factor <= 1.01 * step),
                    default=None)
        if level is not None:
            datasets = [stack.enter_context(reopen_raster_file(each, OVERVIEW_LEVEL=level))
                        for each in paths]
        crs = reading.given_crs() or own_crs(file.path, whole)
        shows = _shown_pixels(file, whole, datasets[0], crs)
        return rasterio.open(_describe(paths, datasets, reading, level, shows, math.ceil(step)),
                             driver="VRT")


def _tile_view(file: RasterFile | Source, reading: Reading, frame: int) -> rasterio.DatasetReader:
    """Open the view of a web map tile, at the place and of the size that it is read with."""
    tile = file.tile
    left, top, width, height = file.crop or (0, 0, tile.side, tile.side)
    memory, dataset = open_tile(file.path, tile)
    with ExitStack() as stack:
        stack.callback(memory.close)
        with dataset:
            seen = as_seen(dataset, reading)
            colour_bands(Path(shown(file.path, tile)), dataset, seen)  # an error with its name
            scale = dataset.width / tile.side
            shows = _Shown((left * scale, top * scale, width * scale, height * scale), width,
                           height, tile.transform @ Affine.translation(left, top), web_mercator())
            view = rasterio.open(_describe([Path(memory.name)], [dataset], seen, None, shows,
                                           frame), driver="VRT")
        # the view reads the file in memory until it goes itself
        weakref.finalize(view, stack.pop_all().close).atexit = False
    return view


@dataclass(frozen=True)
class _Shown:
    """The pixels of a dataset that a view shows, and its own size and grid."""

    pixels: tuple[float, float, float, float]  # left, top, width, height
    width: int
    height: int
    transform: Affine
    crs: CRS

    @property
    def is_resampled(self) -> bool:
        return self.pixels[2:] != (self.width, self.height)


def _shown_pixels(file: RasterFile | Source, whole: rasterio.DatasetReader,
                  dataset: rasterio.DatasetReader, crs: CRS) -> _Shown:
    """Return the pixels of a dataset, which is the whole file or an overview of it, that the file
    keeps."""
    if file.crop is None:
        size = dataset.width, dataset.height
        return _Shown((0, 0, *size), *size, own_transform(file.path, dataset), crs)
    left, top, width, height = file.crop
    across, down = dataset.width / whole.width, dataset.height / whole.height
    size = max(1, round(width * across)), max(1, round(height * down))
    grid = (own_transform(file.path, whole) @ Affine.translation(left, top)
            @ Affine.scale(width / size[0], height / size[1]))
    return _Shown((left * across, top * down, width * across, height * down), *size, grid, crs)


def read_view(view: rasterio.DatasetReader, window: Window | None = None,
              shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a view from `open_view`, warped or not, of a window or all.

    Args:
        shape: h, w to decimate to (nearest neighbours, from an overview where one fits); None: the
            window's own.

    Returns:
        values: [3, h, w] in the file's type, 0 where a band has none.
        valid: [3, h, w] bool, where each band has a value; a pixel has imagery if any band has.
    """
    nearest = Resampling.nearest
    values = view.read([1, 2, 3], window=window, out_shape=shape and (3, *shape),
                       resampling=nearest)
    valid = np.ones(values.shape, bool)
    if values.dtype.kind == "f":
        # GDAL's own masks, as it takes values within rounding of nodata for nodata
        valid = view.read_masks([1, 2, 3], window=window, out_shape=shape and (3, *shape),
                                resampling=nearest) > 0
        finite = np.isfinite(values)
        values[~finite] = 0
        valid &= finite
    else:
        for band, nodata in enumerate(view.nodatavals[:3]):
            if nodata is not None:
                valid[band] = values[band] != np.array(nodata).astype(values.dtype)
    if view.count == 4:
        valid &= view.read(4, window=window, out_shape=shape, resampling=nearest) > 0
    return values, valid


def _describe(paths: Sequence[Path], datasets: Sequence[rasterio.DatasetReader], reading: Reading,
              level: int | None, shows: _Shown, frame: int) -> str:
    """Return the view as VRT XML, with a frame of `frame` pixels around what it shows.

    Args:
        paths, datasets: of one file, or of those of red, green and blue.
        level: of the overview that is looked at; None: the pixels themselves.
    """
    dataset = datasets[0]
    options = ("" if level is None else
               f'<OpenOptions><OOI key="OVERVIEW_LEVEL">{level}</OOI></OpenOptions>')
    palette = is_palette(dataset, reading) and len(paths) == 1
    method = ' resampling="average"' if level is None and shows.is_resampled and not palette else ""
    left, top, width, height = shows.pixels
    source_rect = f'xOff="{left:.17g}" yOff="{top:.17g}" xSize="{width:.17g}" ySize="{height:.17g}"'

    def source(path: Path, band: int | str, mapping: str = "") -> str:
        return (f"<ComplexSource{method}>"
                f'<SourceFilename relativeToVRT="0">{escape(str(path.absolute()))}'
                f"</SourceFilename>{options}<SourceBand>{band}</SourceBand>"
                f"<SrcRect {source_rect}/>"
                f'<DstRect xOff="{frame}" yOff="{frame}" xSize="{shows.width}" '
                f'ySize="{shows.height}"/>{mapping}</ComplexSource>')

    if palette:
        bands = _palette_bands(paths[0], dataset, reading, source)
    else:
        bands = _colour_bands(paths, datasets, reading, source)
    if frame and len(bands) == 3 and "<NoDataValue>" not in bands[0]:
        bands.append(_band(4, "Byte", source(paths[0], 1, _ALL_OPAQUE)))
    grid = (shows.transform @ Affine.translation(-frame, -frame)).to_gdal()
    return (f'<VRTDataset rasterXSize="{shows.width + 2 * frame}" '
            f'rasterYSize="{shows.height + 2 * frame}"><SRS>{escape(shows.crs.to_wkt())}</SRS>'
            f"<GeoTransform>{', '.join(repr(float(value)) for value in grid)}</GeoTransform>"
            f"{''.join(bands)}</VRTDataset>")


def _band(number: int, dtype: str, source: str, nodata: float | None = None) -> str:
    meaning = ("Red", "Green", "Blue", "Alpha")[number - 1]
    missing = "" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>"
    return (f'<VRTRasterBand dataType="{dtype}" band="{number}">{missing}'
            f"<ColorInterp>{meaning}</ColorInterp>{source}</VRTRasterBand>")


def _colour_bands(paths: Sequence[Path], datasets: Sequence[rasterio.DatasetReader],
                  reading: Reading, source: Callable[..., str]) -> list[str]:
    """Return red, green and blue, and opacity if the file has an alpha band or a mask."""
    if len(paths) == 1:
        bands = colour_bands(paths[0], datasets[0], reading)
        paths, datasets = [*paths] * 3, [*datasets] * 3
    else:
        bands = 1, 1, 1
    chosen = list(zip(paths, datasets, bands, strict=True))
    dtype = PIXEL_TYPES[str(np.result_type(*(dataset.dtypes[band - 1]
                                             for _, dataset, band in chosen)))]
    colours = [_band(number, dtype, source(path, band), _nodata(dataset, band, reading, dtype))
               for number, (path, dataset, band) in enumerate(chosen, start=1)]
    if reading.nodata != "file":
        return colours
    alpha, masked = opacity(datasets[0], bands, reading)
    if not (alpha or masked):
        return colours
    return [*colours, _band(4, "Byte", source(paths[0], alpha or f"mask,{bands[0]}", _OPAQUE))]


def _palette_bands(path: Path, dataset: rasterio.DatasetReader, reading: Reading,
                   source: Callable[..., str]) -> list[str]:
    """Return red, green and blue of the table of colours, and opacity by table or nodata."""
    component = "<ColorTableComponent>{}</ColorTableComponent>"
    nodata = None if reading.nodata in ("file", "none") else float(reading.nodata)
    bands = [_band(number, "Byte", source(path, 1, component.format(number)), nodata)
             for number in (1, 2, 3)]
    if reading.nodata == "file":
        missing = "" if dataset.nodata is None else f"<NODATA>{dataset.nodata!r}</NODATA>"
        bands.append(_band(4, "Byte", source(path, 1, missing + component.format(4))))
    return bands


def _nodata(dataset: rasterio.DatasetReader, band: int, reading: Reading,
            dtype: str) -> float | None:
    """Return the value that means no imagery in a band, if its type can hold it. Without one,
    floats have nan."""
    if reading.nodata == "file":
        nodata = dataset.nodatavals[band - 1]
    else:
        nodata = None if reading.nodata == "none" else float(reading.nodata)
    if dtype.startswith("Float"):
        return float("nan") if nodata is None else nodata
    if nodata is None or not float(nodata).is_integer():
        return None
    limits = np.iinfo(dataset.dtypes[band - 1])
    return nodata if limits.min <= nodata <= limits.max else None
