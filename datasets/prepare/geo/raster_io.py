"""The one way into raster files: by the drivers of their ending alone, and never to the network.

GDAL chooses a driver by content, so a file of any name could fetch a URL or run code. What a
raster refers to (a VRT's sources, overviews and masks beside it) is checked the same way.
"""

import math
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import MemoryFile

from datasets.prepare.geo.vrt import all_sources, local_sources
from utils.errors import PrepareError, one_line, printable

# What GDAL and rasterio raise of a file that they cannot open or decode.
RASTER_ERRORS = (RasterioError, CPLE_BaseError, ValueError, OverflowError, UnicodeError)
# Pictures refer to nothing, and chips of web maps are often JPEGs named .tif.
_PICTURES = ("GTiff", "JPEG", "PNG", "JP2OpenJPEG", "WEBP", "BMP", "GIF")
DRIVERS = {
    **dict.fromkeys((".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".webp", ".bmp", ".gif"),
                    _PICTURES),
    ".vrt": ("VRT",), ".img": ("HFA",), ".asc": ("AAIGrid",),
    ".bil": ("EHdr", "ENVI"), ".bip": ("EHdr", "ENVI"), ".bsq": ("EHdr", "ENVI"),
    ".flt": ("EHdr",), ".hgt": ("SRTMHGT",), ".nc": ("netCDF",), ".dem": ("USGSDEM",),
    ".grd": ("GSAG", "GSBG", "GS7BG", "RRASTER"),
}
ENDINGS = ", ".join(DRIVERS)
# how the pictures of web maps begin
_BEGINNINGS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"RIFF": "WEBP", b"II": "GTiff",
               b"MM": "GTiff"}
_JPEG_END, _JPEG_TAIL = b"\xff\xd9", 4096  # its last bytes, but for what a program adds
MOST_BLOCK_BYTES = 1 << 30  # of a block, which is decoded as a whole
# overviews and masks beside a raster, which GDAL opens by content
_COMPANIONS = (".ovr", ".OVR", ".msk", ".MSK")
_MOST_NESTED = 8  # VRTs in VRTs
_NO_NETWORK = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none", "GDAL_VRT_ENABLE_PYTHON": "NO"}


def is_raster_name(path: Path) -> bool:
    """Return whether a path ends as a kind of raster that is read."""
    return path.suffix.lower() in DRIVERS


def open_raster_file(path: Path, **options: Any) -> rasterio.DatasetReader:
    """Open a raster by the drivers of its ending, and without warnings, after a check of all that
    it refers to.

    Args:
        options: as in rasterio.open.

    Raises:
        PrepareError: an ending of no raster, a reference to the network, or one to a file that is
            missing or no raster.
        One of RASTER_ERRORS: not a raster, or damaged.
    """
    if not is_raster_name(path):
        raise PrepareError(f"{path}: the ending {path.suffix or 'is missing and'} is of no raster "
                           f"that is read here, which are {ENDINGS}. Give the file the ending of "
                           "what it is, or convert it to GeoTIFF.")
    _check_references(path, 0)
    return reopen_raster_file(path, **options)


def reopen_raster_file(path: Path, **options: Any) -> rasterio.DatasetReader:
    """Open a raster that `open_raster_file` has opened before, without the check.

    Raise PrepareError if a VRT's source has gone: GDAL would read nothing there, without an error.
    """
    all_sources(path)
    return _opened(path, DRIVERS[path.suffix.lower()], **options)


def open_picture(content: bytes, name: str,
                 remedy: str) -> tuple[MemoryFile, rasterio.DatasetReader]:
    """Open the picture that `content` holds: PNG, JPEG, WebP or TIFF, by how it begins.

    Returns:
        the file in memory, which is there until it is closed; and the picture.

    Raises:
        PrepareError: it is none of these, or ends too early; the message begins with `name` and
            ends with `remedy`.
        One of RASTER_ERRORS: it is damaged.
    """
    driver = next((driver for start, driver in _BEGINNINGS.items() if content.startswith(start)),
                  None)
    if driver is None:
        begins = f"begins with {printable(content[:24])}" if content else "is empty"
        raise PrepareError(f"{name}: {begins}, expected a picture (PNG, JPEG, WebP or TIFF). "
                           f"{remedy}")
    if driver == "JPEG" and _JPEG_END not in content[-_JPEG_TAIL:]:  # GDAL would draw the rest grey
        raise PrepareError(f"{name}: the JPEG ends before its picture does, so it was cut short. "
                           f"{remedy}")
    file = MemoryFile(content, filename=re.sub(r"[^\w.-]", "_", Path(name).name))
    try:
        return file, _opened(Path(file.name), (driver,))
    except BaseException:
        file.close()
        raise


def raster_reason(error: Exception) -> str:
    """Return what GDAL says of a file, in one short line."""
    return one_line(error.__cause__ or error)


def has_place(dataset: rasterio.DatasetReader) -> bool:
    """Return whether a geotransform places the pixels."""
    return is_place(dataset.transform, dataset.width, dataset.height)


def is_place(transform: Affine, width: int, height: int) -> bool:
    """Return whether a geotransform places pixels: finite, not flat, and not the identity that
    stands for none."""
    area = transform.determinant
    return (all(map(math.isfinite, (*transform[:6], *transform @ (width, height)))) and area != 0
            and math.isfinite(1 / area) and not transform.is_identity)


def check_blocks(path: Path, dataset: rasterio.DatasetReader) -> None:
    """Raise PrepareError if a raster can only be decoded in blocks too large for memory."""
    rows, columns = dataset.block_shapes[0]
    bands = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    size = rows * columns * bands * np.dtype(dataset.dtypes[0]).itemsize
    if dataset.driver != "VRT" and size > MOST_BLOCK_BYTES:
        quoted = shlex.quote(str(path))
        raise PrepareError(f"{path}: its blocks of {columns} x {rows} pixels take {size / 1e9:.1f} "
                           f"GB of memory each, expected {MOST_BLOCK_BYTES / 1e9:.1f} GB at most. "
                           "Write it in smaller ones with `rio convert --co tiled=true --co "
                           "blockxsize=512 --co blockysize=512 --co bigtiff=if_safer "
                           f"{quoted} tiled.tif`.")


def _opened(path: Path, drivers: tuple[str, ...], **options: Any) -> rasterio.DatasetReader:
    with rasterio.Env(**_NO_NETWORK), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an error says it better
        dataset, faults = None, []
        for driver in drivers:
            try:
                dataset = rasterio.open(path.absolute(), driver=driver, **options)
                break
            except RasterioIOError as error:
                faults.append(error)
        if dataset is None:
            raise faults[0]
        elsewhere = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if elsewhere:
        dataset.close()
        raise PrepareError(f"{path}: names {elsewhere} as the file of its overviews, which would "
                           "be opened whatever it is; expected overviews in the raster or in "
                           f"{path.name}.ovr. Remove {path.name}.aux.xml if it is there, or get "
                           "the file again.")
    return dataset


def _check_references(path: Path, depth: int) -> None:
    """Raise PrepareError if what a raster refers to is not local, or a raster of another kind than
    its ending says."""
    for name in (f"{path}{ending}" for ending in _COMPANIONS):
        if Path(name).is_file():
            _check_part(Path(name), ("GTiff",), path, depth)
    if path.suffix.lower() != ".vrt" or not path.is_file():
        return
    if depth > _MOST_NESTED:
        raise PrepareError(f"{path}: VRTs refer to VRTs more than {_MOST_NESTED} levels deep, "
                           "perhaps in a circle. Make one VRT of the rasters themselves.")
    for source in local_sources(path):
        if not is_raster_name(source):
            raise PrepareError(f"{path}: the VRT names {source}, whose ending is of no raster that "
                               f"is read here, which are {ENDINGS}. Convert it to GeoTIFF, and "
                               "make the VRT again.")
        _check_part(source, DRIVERS[source.suffix.lower()], path, depth)


def _check_part(part: Path, drivers: tuple[str, ...], whole: Path, depth: int) -> None:
    _check_references(part, depth + 1)
    try:
        _opened(part, drivers).close()
    except RASTER_ERRORS as error:
        raise PrepareError(f"{whole}: refers to {part}, which is not readable as {drivers[0]} "
                           f"({raster_reason(error)}). Get {part.name} again.") from error
