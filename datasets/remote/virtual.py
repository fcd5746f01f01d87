"""Pieces of one raster as that raster again: a VRT with its bands, colours, nodata and mask."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from datasets.prepare.imagery.files import PIXEL_TYPES
from utils.errors import PrepareError
from utils.files import replacing

_COLOURS = {
    ColorInterp.gray: "Gray", ColorInterp.palette: "Palette", ColorInterp.red: "Red",
    ColorInterp.green: "Green", ColorInterp.blue: "Blue", ColorInterp.alpha: "Alpha"}


@dataclass(frozen=True)
class Band:
    """What a band says of its pixels."""

    dtype: str
    nodata: float | None
    colour: ColorInterp
    table: tuple[tuple[int, tuple[int, ...]], ...] = ()  # of a palette: value, (r, g, b, a)


@dataclass(frozen=True)
class Picture:
    """What a raster says of itself, without its pixels."""

    crs: str  # as WKT, "" if it has none
    transform: Affine
    width: int
    height: int
    bands: tuple[Band, ...]
    masked: bool  # it has a mask beside nodata and alpha

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader, name: str) -> "Picture":
        """Return the picture of an open raster; raise PrepareError, which begins with `name`, if
        its pixels are of a type that is no imagery."""
        unknown = next((dtype for dtype in dataset.dtypes if dtype not in PIXEL_TYPES), None)
        if unknown:
            raise PrepareError(f"{name}: the raster's pixels are {unknown}, expected one of "
                               f"{', '.join(PIXEL_TYPES)}; use another raster")
        bands = []
        for number, (dtype, nodata, colour) in enumerate(zip(
                dataset.dtypes, dataset.nodatavals, dataset.colorinterp, strict=True), start=1):
            table = dataset.colormap(number) if colour == ColorInterp.palette else {}
            bands.append(Band(dtype, nodata, colour, tuple(sorted(table.items()))))
        flags = dataset.mask_flag_enums[0]
        masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        return cls(dataset.crs.to_wkt() if dataset.crs else "", dataset.transform, dataset.width,
                   dataset.height, tuple(bands), masked)

    def cropped(self, window: Window) -> "Picture":
        """Return the picture of a window of the raster, in whole pixels."""
        grid = self.transform @ Affine.translation(window.col_off, window.row_off)
        return replace(self, transform=grid, width=window.width, height=window.height)

    def coloured(self, colours: Sequence[ColorInterp]) -> "Picture":
        """Return the picture with other colours of its bands."""
        bands = tuple(replace(band, colour=colour)
                      for band, colour in zip(self.bands, colours, strict=True))
        return replace(self, bands=bands)


def write_virtual(path: Path, picture: Picture,
                  bands: Sequence[tuple[int, Sequence[tuple[Path, Window]]]]) -> None:
    """Write a VRT of pieces.

    Args:
        path: ends with .vrt; pieces lie in its folder or below.
        bands: for each band of the picture, the band of its pieces, from 1, and the pieces with
            their place in the picture. The mask is that of the first band's pieces.
    """
    numbered = enumerate(zip(picture.bands, bands, strict=True), start=1)
    content = [_band(number, band, *source, picture, path.parent)
               for number, (band, source) in numbered]
    if picture.masked:
        mask = _sources(f"mask,{bands[0][0]}", bands[0][1], picture, path.parent)
        content.append(f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand>'
                       "</MaskBand>")
    grid = ", ".join(repr(float(value)) for value in picture.transform.to_gdal())
    crs = f"<SRS>{escape(picture.crs)}</SRS>" if picture.crs else ""
    with replacing(path) as temporary:
        temporary.write_text(
            f'<VRTDataset rasterXSize="{picture.width}" rasterYSize="{picture.height}">{crs}'
            f"<GeoTransform>{grid}</GeoTransform>{''.join(content)}</VRTDataset>",
            encoding="utf-8")


def _band(number: int, band: Band, of_piece: int, pieces: Sequence[tuple[Path, Window]],
          picture: Picture, folder: Path) -> str:
    nodata = "" if band.nodata is None else f"<NoDataValue>{band.nodata!r}</NoDataValue>"
    colour = _COLOURS.get(band.colour)
    colour = f"<ColorInterp>{colour}</ColorInterp>" if colour else ""
    largest = max((value for value, _ in band.table), default=-1)
    known = dict(band.table)
    entries = "".join('<Entry c1="{}" c2="{}" c3="{}" c4="{}"/>'.format(
        *known.get(value, (0, 0, 0, 0))) for value in range(largest + 1))
    table = f"<ColorTable>{entries}</ColorTable>" if entries else ""
    return (f'<VRTRasterBand dataType="{PIXEL_TYPES[band.dtype]}" band="{number}">{nodata}{colour}'
            f"{table}{_sources(of_piece, pieces, picture, folder)}</VRTRasterBand>")


def _sources(band: int | str, pieces: Sequence[tuple[Path, Window]], picture: Picture,
             folder: Path) -> str:
    """Return the XML of where a band's pixels are; what lies beyond the picture is left out."""
    texts = []
    for path, place in pieces:
        inside = path.is_relative_to(folder)
        name = path.relative_to(folder) if inside else path.absolute()
        left, top = max(0, place.col_off), max(0, place.row_off)
        width = min(picture.width, place.col_off + place.width) - left
        height = min(picture.height, place.row_off + place.height) - top
        size = f'xSize="{width}" ySize="{height}"'
        texts.append(
            f'<SimpleSource><SourceFilename relativeToVRT="{int(inside)}">{escape(str(name))}'
            f"</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="{left - place.col_off}" yOff="{top - place.row_off}" {size}/>'
            f'<DstRect xOff="{left}" yOff="{top}" {size}/></SimpleSource>')
    return "".join(texts)
