"""One raster file seen as three bands of colour, and a fourth where the file has an alpha band or
a mask.

The view is a virtual raster (GDAL's VRT), so palettes, chosen bands and what counts as no imagery
are settled before any resampling.
"""

import math
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.windows import Window

from datasets.prepare.imagery.files import PIXEL_TYPES, Reading, colour_bands, is_palette

_ALL_OPAQUE = "<ScaleOffset>255</ScaleOffset><ScaleRatio>0</ScaleRatio>"
_OPAQUE = "<LUT>0:0,1:255</LUT>"  # whatever is not 0 counts as imagery, in alpha bands of any type


def open_view(path: Path, reading: Reading, step: float = 0) -> rasterio.DatasetReader:
    """The view of a file.

    Args:
        path, reading: the file, and how its pixels are taken.
        step: 0: the file's own pixels. Else they are going to be resampled, and a pixel of the
            result is so many of them wide: where the file has overviews, the coarsest that is
            still as fine as the result is viewed, and a frame without imagery is laid around it,
            as a warp gives up the pixels that a file's edge cuts, and a gap between any two files
            with them.
    """
    with rasterio.open(path) as dataset:
        level = _overview_level(dataset, step)
        if level is None:
            return rasterio.open(_describe(path, dataset, reading, level, math.ceil(step)))
    with rasterio.open(path, OVERVIEW_LEVEL=level) as coarse:
        return rasterio.open(_describe(path, coarse, reading, level, math.ceil(step)))


def read_view(
    view: rasterio.DatasetReader, window: Window | None = None,
    shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a view, or of a view that was warped.

    Args:
        view: as `open_view` gives it.
        window: of the view's pixels; None: all.
        shape: h, w to decimate to (nearest neighbours, from an overview where one fits); None: the
            window's own.

    Returns:
        values: [3, h, w] in the file's type, 0 where a band has none.
        valid: [3, h, w] bool, where each band has a value; a pixel holds imagery where any of its
            bands has.
    """
    nearest = Resampling.nearest
    values = view.read([1, 2, 3], window=window, out_shape=shape and (3, *shape),
                       resampling=nearest)
    valid = np.ones(values.shape, bool)
    for band, nodata in enumerate(view.nodatavals[:3]):
        if nodata is not None and not np.isnan(nodata):
            valid[band] = values[band] != np.array(nodata).astype(values.dtype)
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        values[~finite] = 0
        valid &= finite
    if view.count == 4:
        valid &= view.read(4, window=window, out_shape=shape, resampling=nearest) > 0
    return values, valid


def _overview_level(dataset: rasterio.DatasetReader, step: float) -> int | None:
    levels = [level for level, factor in enumerate(dataset.overviews(1)) if factor <= 1.01 * step]
    return levels[-1] if levels else None


def _describe(path: Path, dataset: rasterio.DatasetReader, reading: Reading, level: int | None,
              frame: int) -> str:
    """The view as VRT XML, with a frame of so many pixels around the file's own."""
    options = "" if level is None else f'<OpenOptions><OOI key="OVERVIEW_LEVEL">{level}</OOI></OpenOptions>'
    size = f'xSize="{dataset.width}" ySize="{dataset.height}"'
    source = (f'<ComplexSource><SourceFilename relativeToVRT="0">{escape(str(path.absolute()))}</SourceFilename>{options}'
              f'<SourceBand>{{}}</SourceBand><SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{frame}" yOff="{frame}" {size}/>{{}}'
              f"</ComplexSource>")
    if is_palette(dataset, reading):
        drawn = _palette_bands(dataset, reading, source)
    else:
        drawn = _colour_bands(dataset, colour_bands(path, dataset, reading), reading, source)
    if frame and len(drawn) == 3 and "<NoDataValue>" not in drawn[0]:
        drawn.append(_band(4, "Byte", source.format(1, _ALL_OPAQUE)))
    crs = reading.given_crs() or dataset.crs
    grid = ", ".join(repr(float(value))
                     for value in (dataset.transform @ Affine.translation(-frame,
                                                                          -frame)).to_gdal())
    return (f'<VRTDataset rasterXSize="{dataset.width + 2 * frame}" rasterYSize="{dataset.height + 2 * frame}">'
            f"<SRS>{escape(crs.to_wkt())}</SRS><GeoTransform>{grid}</GeoTransform>{''.join(drawn)}</VRTDataset>")


def _band(place: int, dtype: str, source: str, nodata: float | None = None) -> str:
    meaning = ("Red", "Green", "Blue", "Alpha")[place - 1]
    missing = "" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>"
    return f'<VRTRasterBand dataType="{dtype}" band="{place}">{missing}<ColorInterp>{meaning}</ColorInterp>{source}</VRTRasterBand>'


def _colour_bands(dataset: rasterio.DatasetReader, bands: tuple[int, int, int], reading: Reading,
                  source: str) -> list[str]:
    """Red, green and blue, and where an alpha band or a mask says that there is imagery."""
    dtype = PIXEL_TYPES[str(np.result_type(*(dataset.dtypes[band - 1] for band in bands)))]
    drawn = [
        _band(place, dtype, source.format(band, ""), _nodata(dataset, band, reading, dtype))
        for place, band in enumerate(bands, start=1)
    ]
    opacity = _opacity_band(dataset, bands[0]) if reading.nodata == "file" else None
    return [*drawn, _band(4, "Byte", source.format(opacity, _OPAQUE))] if opacity else drawn


def _palette_bands(dataset: rasterio.DatasetReader, reading: Reading, source: str) -> list[str]:
    """Red, green and blue of the table of colours, and where the table or the file's nodata says
    that there is imagery."""
    part_of_table = "<ColorTableComponent>{}</ColorTableComponent>"
    nodata = None if reading.nodata in ("file", "none") else float(reading.nodata)
    drawn = [_band(part, "Byte", source.format(1, part_of_table.format(part)), nodata)
             for part in (1, 2, 3)]
    if reading.nodata == "file":
        missing = "" if dataset.nodata is None else f"<NODATA>{dataset.nodata!r}</NODATA>"
        drawn.append(_band(4, "Byte", source.format(1, missing + part_of_table.format(4))))
    return drawn


def _nodata(dataset: rasterio.DatasetReader, band: int, reading: Reading,
            dtype: str) -> float | None:
    """The value that means no imagery in a band, if its type can hold it; of floats without one,
    nan."""
    nodata = dataset.nodatavals[band
                                - 1] if reading.nodata == "file" else None if reading.nodata == "none" else float(reading.nodata)
    if dtype.startswith("Float"):
        return float("nan") if nodata is None else nodata
    if nodata is None or not float(nodata).is_integer():
        return None
    limits = np.iinfo(dataset.dtypes[band - 1])
    return nodata if limits.min <= nodata <= limits.max else None


def _opacity_band(dataset: rasterio.DatasetReader, band: int) -> str | None:
    """Where the file keeps what is opaque: its alpha band, else its mask."""
    if ColorInterp.alpha in dataset.colorinterp:
        return str(dataset.colorinterp.index(ColorInterp.alpha) + 1)
    return f"mask,{band}" if MaskFlags.per_dataset in dataset.mask_flag_enums[band - 1] else None
