"""Where a raster lies, by itself or by the files beside it: a world file (six numbers), and a .prj
(its CRS as WKT)."""

from pathlib import Path

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

_MOST_BYTES = 64 << 10


def own_transform(path: Path, dataset: rasterio.DatasetReader) -> Affine:
    """Return the geotransform of a raster, the identity if it has none. GDAL reads the world files
    of all kinds but WebP."""
    return (_needs_world_file(path) and _transform(world_file(path))) or dataset.transform


def own_crs(path: Path, dataset: rasterio.DatasetReader) -> CRS | None:
    """Return the CRS of a raster, or of the .prj beside it; None if neither says one."""
    if dataset.crs is None and (file := prj_file(path)):
        try:
            return CRS.from_wkt(_text(file), morph_from_esri_dialect=True)
        except CRSError:
            return None
    return dataset.crs


def sidecars(path: Path, dataset: rasterio.DatasetReader) -> list[Path]:
    """Return the files beside a raster that are read here, not by GDAL."""
    files = (world_file(path) if _needs_world_file(path) else None,
             prj_file(path) if dataset.crs is None else None)
    return [file for file in files if file]


def _needs_world_file(path: Path) -> bool:
    return path.suffix.lower() == ".webp"


def world_file(path: Path) -> Path | None:
    """Return the world file of a raster: such as a.pgw, a.pngw or a.wld of a.png."""
    ending = path.suffix[1:]
    names = (f"{ending[:1]}{ending[-1:]}w", f"{ending}w", "wld")
    return _beside(path, names)


def prj_file(path: Path) -> Path | None:
    """Return the .prj of a raster; not that of a Shapefile of its name."""
    return None if _beside(path, ("shp",)) else _beside(path, ("prj",))


def world_file_fault(path: Path) -> str:
    """Return what keeps a raster's world file from being one, to follow "the raster has no
    geotransform"; nothing if there is none."""
    file = world_file(path)
    if file is None:
        return ""
    if len(lines := _text(file).split()) != 6:
        return f" and {file.name} beside it holds {len(lines)} numbers, expected six, one a line"
    return ("" if _transform(file) else
            f" and {file.name} beside it states no grid, which is six numbers such as 0.5")


def prj_fault(path: Path) -> str:
    """Return that a raster's .prj, which is there, states no CRS, to follow "the raster has no
    coordinate reference system"; nothing if there is none."""
    return f" and {file.name} beside it states none" if (file := prj_file(path)) else ""


def _beside(path: Path, endings: tuple[str, ...]) -> Path | None:
    files = (path.with_suffix(f".{form}") for ending in endings
             for form in (ending, ending.upper()))
    return next((file for file in files if file.is_file()), None)


def _transform(file: Path | None) -> Affine | None:
    """Return the grid that a world file states: its x and y are of the first pixel's centre."""
    if file is None:
        return None
    try:
        a, d, b, e, x, y = (float(line.replace(",", ".")) for line in _text(file).split())
    except ValueError:
        return None
    grid = Affine(a, b, x, d, e, y) @ Affine.translation(-0.5, -0.5)
    return grid if grid.determinant else None


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(_MOST_BYTES).decode("utf-8-sig", "replace")
